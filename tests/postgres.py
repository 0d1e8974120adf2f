"""A real PostgreSQL server of this machine: what generated projects use in their own tests."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

import projects
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = "{% if 'postgres' in extras %}postgres_server.py{% endif %}"


def load() -> Any:
    """Return the generated projects' module."""
    path = projects.ROOT / "template" / "{{ pipeline }}" / "tests" / FILE
    # Not imported: a compiled copy beside it would have a name that Copier takes for Jinja.
    module = types.ModuleType("postgres_server")
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    return module


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """Start a server; it may be restarted and must be running when a test ends."""
    module = load()
    if missing := module.missing():
        pytest.skip(missing)
    server = module.Server(module.find_programs())
    server.start()
    yield server
    server.remove()


@pytest.fixture
def postgres(postgres_server: Any) -> str:
    """Give a test a database of its own; the URL."""
    return str(postgres_server.create_database())
