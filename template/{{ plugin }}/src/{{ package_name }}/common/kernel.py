"""What only Linux can do for processes; imported by the supervisor alone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
"""From <sys/prctl.h>."""

FIRST_TO_GO = b"500"
"""Out of -1000 to 1000: the kernel, short of memory, ends such a process before others."""

_LIBC = ctypes.CDLL(None)


def adopt_orphans() -> None:
    """Make this process the parent of all its descendants whose parent ends.

    Otherwise they would be handed to the system. So what a run started stays below its
    supervisor, also what went into a session of its own.
    """
    _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def prepare_child(parent: int, niceness: int, cpu_seconds: int | None) -> None:
    """Prepare a process, between its fork and its program.

    Args:
        parent: Id of the process that forked it; it is killed when that one ends.
        niceness: How far it stands back for others, 0 to 19.
        cpu_seconds: Processor time at which the kernel ends any one process of the run, in
            case nobody watches them any more; none for never.
    """
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before it could be watched
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.nice(niceness)
    if cpu_seconds is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    with contextlib.suppress(OSError):
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(descriptor, FIRST_TO_GO)
        os.close(descriptor)


def cpu_time_of_ended() -> float:
    """Return the processor time of all that ended below this process, in seconds."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime
