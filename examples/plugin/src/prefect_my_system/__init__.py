"""What other projects import: the blocks of this package. Tasks are in `tasks`."""

from .blocks import *  # noqa: F403 - its `__all__` is the list
