"""The two kinds of errors that tasks raise: those that a retry may cure, and all others."""


class PermanentError(RuntimeError):
    """A retry does not help: wrong settings, wrong data, wrong arguments.

    Tasks are not retried. The message is for the person who reads the alert: what is
    wrong, where, and what to do.
    """


class TransientError(RuntimeError):
    """May go away by itself: a lost connection, a timeout, a lock. Tasks are retried."""
