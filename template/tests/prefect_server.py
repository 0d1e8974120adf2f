"""A Prefect server for the tests: one for the whole run, started only if a test needs it.

A pytest plugin, named in `conftest.py`. It provides the fixture `prefect_server`; a test without
the fixture that starts a flow or task by mistake fails at once, because it has no server.

Why not `prefect_test_harness`: its server migrates an empty database each time. This one
keeps a migrated database in `.prefect-test-db`, starts while the other tests run, and turns
off the heartbeat, which makes every flow end a second later. It ends with the run, even if the
run is killed.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import child_processes
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED_SERVER = "PREFECT_TEST_API_URL"
"""Names a server made for tests, to use instead of an own one."""

STARTUP_SECONDS = 180


class Server:
    """A Prefect server in its own process, with a temporary database."""

    def __init__(self, migrated: Path, python: str = sys.executable) -> None:
        """Choose the address, the migrated database and the Python; `start` starts the server."""
        self.migrated = migrated
        self.python = python
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.home = Path(tempfile.mkdtemp(prefix="prefect-test-"))
        self.database = self.home / "prefect.db"
        self.log = self.home / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and return at once."""
        if self.migrated.is_file():
            shutil.copy(self.migrated, self.database)
        database = f"sqlite+aiosqlite:///{self.database}"
        env = {
            **os.environ,
            "PREFECT_HOME": str(self.home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
        }
        command = [self.python, "-m", "prefect", "server", "start", "--no-ui"]
        with self.log.open("wb") as log:
            self.process = child_processes.start(
                [*command, "--host", "127.0.0.1", "--port", str(self.port)],
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> None:
        """Wait until the server answers, and keep its migrated database for the next run.

        Raises:
            RuntimeError: It ended or did not answer in time; the message has the end of its log.
        """
        deadline = time.monotonic() + STARTUP_SECONDS
        while not self._answers():
            ended = self.process is None or self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                log = self.log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"The Prefect server for the tests did not start:\n{log}")
            time.sleep(0.1)
        if not self.migrated.is_file():
            self.migrated.parent.mkdir(parents=True, exist_ok=True)
            unfinished = self.home / "migrated.db"
            with (
                contextlib.closing(sqlite3.connect(self.database)) as source,
                contextlib.closing(sqlite3.connect(unfinished)) as target,
            ):
                source.backup(target)
            shutil.move(unfinished, self.migrated)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{self.url}/health", timeout=1).close()
            return True
        return False

    def stop(self) -> None:
        """Stop the server if it runs, and remove its folder."""
        if self.process is not None:
            child_processes.stop(self.process)
        shutil.rmtree(self.home, ignore_errors=True)


_SERVER = pytest.StashKey[Server]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests away from the user's own Prefect, before Prefect is imported."""
    child_processes.take_charge()
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        if name != SHARED_SERVER:
            del os.environ[name]
    client_home = tempfile.mkdtemp(prefix="prefect-test-client-")
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ["PREFECT_HOME"] = client_home
    os.environ["PREFECT_SERVER_EPHEMERAL_ENABLED"] = "false"
    version = metadata.version("prefect")
    server = Server(config.rootpath / "tests" / ".prefect-test-db" / f"{version}.db")
    config.stash[_SERVER] = server
    # Registered before Prefect is imported, so that it runs after Prefect has sent its last logs:
    # without a server, Prefect would retry for a minute.
    atexit.register(shutil.rmtree, client_home, ignore_errors=True)
    atexit.register(server.stop)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the tests without a server first, while the server starts."""
    items.sort(key=_needs_server)
    if SHARED_SERVER not in os.environ and any(map(_needs_server, items)):
        config.stash[_SERVER].start()


def _needs_server(item: pytest.Item) -> bool:
    return "prefect_server" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def _server_url(pytestconfig: pytest.Config) -> str:
    if shared := os.environ.get(SHARED_SERVER):
        return shared
    server = pytestconfig.stash[_SERVER]
    server.wait()
    return server.url


@pytest.fixture
def prefect_server(_server_url: str) -> Iterator[str]:
    """Provide a Prefect server.

    Yields:
        The URL of its API, which is already in Prefect's settings.
    """
    from prefect import settings

    quiet = {settings.PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    with settings.temporary_settings({settings.PREFECT_API_URL: _server_url, **quiet}):
        yield _server_url
