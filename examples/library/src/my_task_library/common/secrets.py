"""Secrets: from the environment, or from a Secret block by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from . import errors

if TYPE_CHECKING:
    from pydantic import SecretStr

BLOCK_PREFIX = "block:"


class MissingBlockError(errors.PermanentError):
    """A setting names a Secret block that does not exist."""


def reveal(secret: SecretStr) -> str:
    """Return the text of a secret, loading it from Prefect if it names a block.

    A setting such as `block:warehouse-url` stands for the Secret block `warehouse-url`, so
    that the secret itself is in no environment, no file and no deployment. Call this as late
    as possible and keep the result out of logs, arguments and return values of tasks.

    Raises:
        MissingBlockError: There is no such block; it is a PermanentError.
        PermanentError: Prefect's server refuses to give it, or it holds no text.
        TransientError: Prefect's server does not answer.
    """
    text = secret.get_secret_value()
    if not text.startswith(BLOCK_PREFIX):
        return text
    # Imported late: code that reads settings does not always need Prefect.
    from prefect.blocks.system import Secret

    from . import prefect_api

    name = text.removeprefix(BLOCK_PREFIX)
    try:
        with prefect_api.explained():
            # `_sync` makes it return the block in an event loop too; the types lack it.
            loaded = Secret.load(name, _sync=True)  # pyrefly: ignore[unexpected-keyword]
    except ValueError as error:
        message = f"There is no Secret block called {name!r}."
        raise MissingBlockError(f"{message} Create it in Prefect's UI.") from error
    # Not with `get`: it parses a text such as 1e5 as JSON.
    value = cast("Secret[Any]", loaded).value.get_secret_value()
    if not isinstance(value, str | int):
        message = f"The Secret block {name!r} holds no text: save the secret alone in it."
        raise errors.PermanentError(message)
    return str(value)
