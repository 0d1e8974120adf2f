"""The two kinds of error that a task may raise on purpose."""


class PermanentError(RuntimeError):
    """Running again does not help: wrong settings, wrong data, wrong arguments.

    Tasks are not retried on it. The message is for the person who reads the alert: what is
    wrong, where, and what to do.
    """


class TransientError(RuntimeError):
    """May be gone in a moment: a lost connection, a time-out, a lock. Tasks are retried."""
