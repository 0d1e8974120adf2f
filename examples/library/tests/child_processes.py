"""Processes that tests start: waits are bounded, and no process outlives the test run.

A run may begin with ignored signals (`nohup … &`, some CI systems). Its child processes would
inherit that, and Prefect's worker, which is stopped by an interrupt, would never end. If a run is
killed, a watcher process stops its servers.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

SECONDS = 15
"""How long a process may take to end when it is asked to."""

_MARK = "TESTS_STARTED_BY_"
"""Begins the name of a variable that everything has which a run started, directly or not."""

_watchers: dict[int, subprocess.Popen[bytes]] = {}
"""Who watches this process, by its id: a fork of it needs another one."""


def take_charge() -> None:
    """Give new child processes default signals, and end them with this process.

    They also end if this process is killed, even in their own sessions. This needs Linux, where
    the environment of other processes can be read.
    """
    for name in ("SIGINT", "SIGQUIT", "SIGTERM"):
        number = getattr(signal, name, None)
        # Only the main thread may set signal handlers.
        with contextlib.suppress(ValueError):
            if number is not None and signal.getsignal(number) == signal.SIG_IGN:
                default = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
                signal.signal(number, default)
    if os.getpid() in _watchers or not Path("/proc/self/environ").exists():
        return
    mark = f"{_MARK}{os.getpid()}_{secrets.token_hex(4)}"
    # Isolated: it needs only the standard library and no coverage measurement. In its own
    # session, so that Ctrl-C does not stop it.
    _watchers[os.getpid()] = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(os.getpid()), mark],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.environ[mark] = "1"


def start(command: Iterable[str | Path], **options: Any) -> subprocess.Popen[Any]:
    """Start a process that ends with this one.

    Args:
        command: The program and its arguments.
        **options: Arguments of `subprocess.Popen`.

    Returns:
        The process; it leads its own group, so that `stop` also ends its children.
    """
    take_charge()
    marks = {name: "1" for name in os.environ if name.startswith(_MARK)}
    if options.get("env") is not None:
        options["env"] = {**options["env"], **marks}
    words = [str(word) for word in command]
    return subprocess.Popen(words, start_new_session=True, **options)


def stop(process: subprocess.Popen[Any], seconds: float = SECONDS) -> None:
    """End a process that `start` started, and later kill the rest of its group."""
    if process.returncode is not None:
        # It was already waited for: its id may belong to another process now.
        return
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    _kill_group(process.pid)
    process.kill()
    process.wait(SECONDS)


def kill(process: subprocess.Popen[Any]) -> None:
    """Kill a process that `start` started, with its group."""
    if process.returncode is None:
        _kill_group(process.pid)
        process.kill()
        process.wait(SECONDS)


def _kill_group(leader: int) -> None:
    # Windows has no process groups; elsewhere the group may have ended.
    with contextlib.suppress(OSError, AttributeError):
        os.killpg(leader, signal.SIGKILL)


@contextlib.contextmanager
def running(
    command: Iterable[str | Path], seconds: float = SECONDS, **options: Any
) -> Generator[subprocess.Popen[Any]]:
    """Run a process during the `with` block, then end it with its group."""
    process = start(command, **options)
    try:
        with contextlib.ExitStack() as pipes:
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipes.enter_context(pipe)
            yield process
    finally:
        stop(process, seconds)


def _started(mark: str) -> set[int]:
    """Return the processes with a variable of this name in their environment."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        # A process may end meanwhile, or belong to another user.
        with contextlib.suppress(OSError):
            if f"{mark}=1".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
    return found


def _watch(parent: int, mark: str) -> None:
    """Wait until the parent has ended, then end the processes that it left."""
    while os.getppid() == parent:
        time.sleep(0.3)
    for number in (signal.SIGTERM, signal.SIGKILL):
        asked: set[int] = set()
        deadline = time.monotonic() + SECONDS
        while (left := _started(mark)) and time.monotonic() < deadline:
            # Only once: after a second signal, Prefect exits without cleaning up.
            for pid in left - asked:
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
            asked |= left
            time.sleep(0.1)


if __name__ == "__main__":
    _watch(int(sys.argv[1]), sys.argv[2])
