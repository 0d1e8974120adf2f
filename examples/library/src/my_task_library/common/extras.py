"""Optional dependencies: one clear error if an extra is not installed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from . import errors

if TYPE_CHECKING:
    from collections.abc import Generator

DISTRIBUTION = "my-task-library"
PACKAGE = __name__.partition(".")[0]


class MissingExtraError(errors.PermanentError):
    """A task needs an extra that is not installed here."""


@contextlib.contextmanager
def required(extra: str) -> Generator[None]:
    """Explain a failed import in the `with` block: name the extra that installs the module.

    Put imports of extras there and not at the top of a module of tasks, so that the tasks can be
    imported without the extra, and quickly.

    Raises:
        MissingExtraError: A module is missing; the message has the command that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == PACKAGE:
            raise
        message = (
            f"This needs {error.name}, which comes with the extra {extra!r}:"
            f" pip install '{DISTRIBUTION}[{extra}]'"
        )
        raise MissingExtraError(message) from None
