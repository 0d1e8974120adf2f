"""A local PostgreSQL server, from the module that generated projects use in their tests."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import projects
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

sys.path.insert(
    0, str(projects.ROOT / "template" / "{{ pipeline }}" / "{{ postgres_extra }}" / "tests")
)
import postgres_server as module


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """Start a server; a test may restart it, but must leave it running."""
    if missing := module.missing():
        pytest.skip(missing)
    server = module.Server(module.find_programs())
    server.start()
    yield server
    server.remove()


@pytest.fixture
def postgres(postgres_server: Any) -> str:
    """A new database; yields the URL."""
    return str(postgres_server.create_database())
