"""The blocks of this package, for other projects. Tasks are in `tasks`."""

from .blocks import *  # noqa: F403 - its `__all__` is the list
