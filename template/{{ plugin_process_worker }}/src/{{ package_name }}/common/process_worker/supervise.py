"""Runs the command of a flow run within limits: `python supervise.py ORDER COMMAND…`. Linux only.

It outlives a killed worker. It exits with 0 if Prefect knows the outcome or the worker should ask.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

UNITS = {"memory_mib": "MiB of memory", "cpu_seconds": "CPU seconds", "wall_seconds": "seconds"}
SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # from <sys/prctl.h>
REPORT = [sys.executable, "-P", str(Path(__file__).with_name("report.py"))]


def main(order: dict[str, Any], command: list[str]) -> int:
    """Run a command until all of its processes have ended; return the exit code for the worker."""
    worker, started, attendant = os.getppid(), time.monotonic(), 0
    os.setsid()  # Ctrl-C in a terminal reaches only the worker
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    # All processes of the run stay descendants of this one, even daemons.
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    try:  # no threads yet, so that code between fork and exec is safe
        child = subprocess.Popen(  # noqa: S603 - the flow run's command
            command, stdout=pipe, stderr=pipe, preexec_fn=_prepare
        )
    except OSError as error:
        return _report(f"The run was not started: {command[0]}: {error.strerror}.", 127)
    os.setpriority(os.PRIO_PROCESS, child.pid, os.nice(0) + order["niceness"])
    for source, target in ((child.stdout, 1), (child.stderr, 2)):
        threading.Thread(target=_relay, args=(source, target)).start()

    limits = {name: order[name] or float("inf") for name in UNITS}
    most = limits["memory_mib"]
    message, deadline, used = "", float("inf"), dict.fromkeys(UNITS, 0.0)
    while (code := _reap(child.pid)) is None:
        woken = signal.sigtimedwait(SIGNALS, 0.1 if used["memory_mib"] > most / 2 else 0.5)
        if woken is not None and woken.si_signo != signal.SIGCHLD:
            if woken.si_signo == signal.SIGINT:
                message = "The run was ended with its worker, which was stopped."
            os.kill(child.pid, signal.SIGTERM)
            deadline = time.monotonic() + order["grace_seconds"]
        if not attendant and os.getppid() != worker:
            command = [*REPORT, str(os.getpid())]
            attendant = subprocess.Popen(  # noqa: S603 - this package's own program
                command, stdout=null, stderr=null
            ).pid
        used = {**_measure(most, attendant), "wall_seconds": time.monotonic() - started}
        over = next((name for name in UNITS if used[name] > limits[name]), None)
        if over:
            message = (
                f"The run was ended: it used {used[over]:,.2f} {UNITS[over]}, over its limit of"
                f" {order[over]:,}. Make it use less, or raise the job variable {over} of its"
                " deployment or its work pool."
            )
        if over or time.monotonic() > deadline:
            _kill()
    _kill()  # processes that the command left
    if code == 0 and os.getppid() == worker:
        return 0  # the worker asks Prefect for the state, which would take seconds here
    how = f"ended with exit code {code}" if code >= 0 else f"was killed by signal {-code}"
    last = ", ".join(f"{used[name]:,.1f} {unit}" for name, unit in UNITS.items())
    unknown = f"The command of the run {how}; no limit was broken, it last used {last}."
    return _report(message or unknown, code or 1)


def _prepare() -> None:
    """Make the kernel kill a process with its parent; called between fork and exec."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _relay(source: Any, target: int) -> None:
    """Pass output on; after the worker was killed, ignore that nobody reads it."""
    while chunk := os.read(source.fileno(), 2**16):
        with contextlib.suppress(OSError):
            os.write(target, chunk)


def _reap(main: int) -> int | None:
    """Reap children that have ended; return the exit code of the main one, or None."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            code = os.waitstatus_to_exitcode(ended[1]) if ended[0] == main else code
    return code


def _measure(most: float, attendant: int, *, exactly: bool = False) -> dict[str, float]:
    """Return the memory of the run's processes (shared pages count once) and their CPU time."""
    cpu, memory = sum(os.times()[2:4]), 0  # processes that have ended
    running = [each for each in psutil.Process().children(True) if each.pid != attendant]
    for process in running:
        with contextlib.suppress(psutil.Error):
            cpu += sum(process.cpu_times()[:4])
            memory += process.memory_full_info().pss if exactly else process.memory_info().rss
    if not exactly and memory > 2**20 * most / 2:  # below that, RSS is enough and 100 times faster
        return _measure(most, attendant, exactly=True)
    return {"memory_mib": memory / 2**20, "cpu_seconds": cpu}


def _kill() -> None:
    """Kill all descendants; suspend them first, so that none can start another."""
    stopped: set[psutil.Process] = set()
    while fresh := set(psutil.Process().children(recursive=True)) - stopped:
        stopped |= fresh
        for process in fresh:
            with contextlib.suppress(psutil.Error):
                process.suspend()
    for process in stopped:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _report(message: str, code: int) -> int:
    """Report to Prefect, trying for ten minutes; return 0, or the code if it does not answer."""
    for attempt in range(60):
        time.sleep(10 if attempt else 0)
        told = subprocess.run(  # noqa: S603 - this package's own program
            [*REPORT, message], capture_output=True, check=False
        )
        with contextlib.suppress(OSError):
            os.write(2, told.stderr)
        if told.returncode == 0:
            return 0
    return code


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1]), sys.argv[2:]))
