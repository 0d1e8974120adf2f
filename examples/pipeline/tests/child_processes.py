"""Processes that tests start: none is waited for without end, and none outlives the run.

A run may begin with ignored signals (`nohup … &`, some CI systems). What it starts would
ignore them too, and Prefect's worker, which ends by an interrupt, would never end. And a run
may be killed: then nobody is left to stop its servers, unless somebody watches.
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
    """Give what is started from now on default signals, and an end with this process.

    The end comes also when this process is killed, for processes in sessions of their own too.
    It needs Linux, where the environment of other processes can be read.
    """
    for name in ("SIGINT", "SIGQUIT", "SIGTERM"):
        number = getattr(signal, name, None)
        # Only the main thread may change that.
        with contextlib.suppress(ValueError):
            if number is not None and signal.getsignal(number) == signal.SIG_IGN:
                default = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
                signal.signal(number, default)
    if os.getpid() in _watchers or not Path("/proc/self/environ").exists():
        return
    mark = f"{_MARK}{os.getpid()}_{secrets.token_hex(4)}"
    # Isolated, because it needs nothing but the standard library, and gets no measuring of
    # coverage; in a session of its own, because Control-C is not meant for it.
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
        **options: What `subprocess.Popen` takes.

    Returns:
        The process; it leads a group of its own, so that `stop` ends its children too.
    """
    take_charge()
    marks = {name: "1" for name in os.environ if name.startswith(_MARK)}
    if options.get("env") is not None:
        options["env"] = {**options["env"], **marks}
    words = [str(word) for word in command]
    return subprocess.Popen(words, start_new_session=True, **options)


def stop(process: subprocess.Popen[Any], seconds: float = SECONDS) -> None:
    """End a process that `start` started, and kill what is left of its group after a while."""
    if process.returncode is not None:
        # Somebody has waited for it: its number may be another's by now.
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
    # Windows has no groups; elsewhere this one may have ended.
    with contextlib.suppress(OSError, AttributeError):
        os.killpg(leader, signal.SIGKILL)


@contextlib.contextmanager
def running(
    command: Iterable[str | Path], seconds: float = SECONDS, **options: Any
) -> Generator[subprocess.Popen[Any]]:
    """Have a process for a while, and end it with its group."""
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
    """Return the processes that have a variable of this name."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        # Others end meanwhile, or belong to somebody else.
        with contextlib.suppress(OSError):
            if f"{mark}=1".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
    return found


def _watch(parent: int, mark: str) -> None:
    """Wait for the parent's end, then end what it started and left behind."""
    while os.getppid() == parent:
        time.sleep(0.3)
    for number in (signal.SIGTERM, signal.SIGKILL):
        asked: set[int] = set()
        deadline = time.monotonic() + SECONDS
        while (left := _started(mark)) and time.monotonic() < deadline:
            # Only once: Prefect takes the second for a wish to leave everything as it is.
            for pid in left - asked:
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
            asked |= left
            time.sleep(0.1)


if __name__ == "__main__":
    _watch(int(sys.argv[1]), sys.argv[2])
