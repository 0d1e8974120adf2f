"""The processes of a flow run: all that it started, directly or not."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable

MEBIBYTE = 2**20


def below() -> list[psutil.Process]:
    """Return all that this process started, directly or not, and that has not ended."""
    return [process for process in psutil.Process().children(recursive=True) if _lives(process)]


def marked(variable: str) -> dict[str, list[psutil.Process]]:
    """Find processes of this user by a variable of the environment they were started with.

    Args:
        variable: Name of the variable.

    Returns:
        The processes by its value, without this one.
    """
    found: dict[str, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            value = process.environ().get(variable)
            if value is not None and process.pid != os.getpid() and _lives(process):
                found.setdefault(value, []).append(process)
    return found


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def memory(processes: Iterable[psutil.Process], enough: float) -> float:
    """Measure the memory of processes, in MiB, with shared pages counted once.

    Args:
        processes: The processes.
        enough: If even the sum of their resident sizes is below this, return that: it is
            measured a hundred times faster.

    Returns:
        MiB in use, with what was moved to swap.
    """
    resident = 0
    chosen = list(processes)
    for process in chosen:
        with contextlib.suppress(psutil.Error):
            resident += process.memory_info().rss
    if resident / MEBIBYTE < enough:
        return resident / MEBIBYTE
    used = 0
    for process in chosen:
        with contextlib.suppress(psutil.Error):
            measured = process.memory_full_info()
            used += measured.pss + measured.swap
    return used / MEBIBYTE


def cpu_time(processes: Iterable[psutil.Process]) -> float:
    """Measure the processor time of processes and of their children that ended, in seconds."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            total += sum(process.cpu_times()[:4])
    return total


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to processes; those that have ended are left out."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def kill(processes: list[psutil.Process]) -> None:
    """Kill processes and all that they started; first nobody can start another one."""
    stopped: set[psutil.Process] = set()
    while fresh := {*processes, *_descendants(processes)} - stopped:
        send(fresh, signal.SIGSTOP)
        stopped |= fresh
    send(stopped, signal.SIGKILL)


def _descendants(processes: Iterable[psutil.Process]) -> set[psutil.Process]:
    found: set[psutil.Process] = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found |= set(process.children(recursive=True))
    return found


def end(processes: list[psutil.Process], grace_seconds: float) -> None:
    """Ask processes to end; kill those that are still there after a while.

    Args:
        processes: The processes.
        grace_seconds: How long they may take, in seconds; 0 kills them at once.
    """
    if grace_seconds > 0:
        send(processes, signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        while any(map(_lives, processes)) and time.monotonic() < deadline:
            time.sleep(0.05)
    kill([process for process in processes if _lives(process)])
