"""Fixtures for all tests: a web server and a Prefect server, both real and both local."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import tenacity

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from email.message import Message

    from local_server import FileServer

    from prefect_my_system import blocks

pytest_plugins = ["local_server", "prefect_server"]

TOKEN = "s3cret-token"


def blocking(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Return a function that runs an async function."""

    def call(*arguments: Any, **named: Any) -> Any:
        return asyncio.run(function(*arguments, **named))

    return call


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry requests at once, unless the server asks for a pause."""
    # Imported here and below: Prefect must not be imported before its settings are set.
    from prefect_my_system.common import http

    monkeypatch.setattr(http, "BACKOFF", tenacity.wait_none())
    monkeypatch.setattr(http, "JITTER", tenacity.wait_none())


def is_open(request: tuple[str, Message], credentials: Any, token: str = TOKEN) -> bool:
    """Return whether a request has the token as the credentials send it."""
    auth = credentials.get_client().auth
    return token in auth.hidden and request[1][auth.header] == auth.value


@pytest.fixture
def credentials(web: FileServer) -> blocks.MySystemCredentials:
    """Credentials for `web`, with the base path `/api`."""
    from prefect_my_system import blocks

    return blocks.MySystemCredentials.model_validate(
        {"base_url": f"{web.url}/api", "token": TOKEN, "timeout_seconds": 5}
    )
