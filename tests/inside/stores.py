"""Databases of the fault tests, accessed without the tested code.

Modules that use it run inside a generated project with a driver for PostgreSQL.
"""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import psycopg2

POSTGRES = "TEST_POSTGRES_URL"
_numbers = itertools.count()


class Store:
    """A database, by its URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.kind = url.partition(":")[0]

    def __call__(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements in one transaction and return the rows of the last one."""
        path = self.url.partition(":///")[2]
        if self.kind == "duckdb":
            with duckdb.connect(path) as connection:
                for statement in statements:
                    rows = connection.execute(statement).fetchall()
                return rows
        connection: Any = sqlite3.connect(path) if self.kind == "sqlite" else connect(self.url)
        try:
            with connection:
                cursor = connection.cursor()
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def tables(self, schema: str) -> set[str]:
        """Return the names of a schema's tables."""
        listing = "SELECT table_name FROM information_schema.tables WHERE table_schema ="
        return {name for (name,) in self(f"{listing} '{schema}'")}


def connect(url: str) -> Any:
    """Open a connection to PostgreSQL that does not depend on settings of the database."""
    return psycopg2.connect(url, client_encoding="UTF8")


def execute(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements in PostgreSQL outside of a transaction."""
    connection = connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def create(kind: str, folder: Path, options: str = "") -> Store:
    """Create an empty database: a file in the folder, or one on the server with these options."""
    number = f"{os.getpid()}_{next(_numbers)}"
    if kind != "postgresql":
        return Store(f"{kind}:///{folder / f'{number}.db'}")
    server = os.environ[POSTGRES]
    name = f"faults_{number}"
    execute(server, f"DROP DATABASE IF EXISTS {name} (FORCE)", f"CREATE DATABASE {name} {options}")
    return Store(named(server, name))


def cut(url: str) -> None:
    """Make the server end all connections to a database."""
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    execute(url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")


def named(url: str, database: str) -> str:
    """Return the URL of another database on the same server."""
    base, question, query = url.partition("?")
    return f"{base.rpartition('/')[0]}/{database}{question}{query}"


def start(work: Callable[[], Any]) -> tuple[int, int]:
    """Start the work in a forked child; `finish` waits for it.

    Database libraries must not be used across a fork, so the parent never opens one. Call it in the
    main thread without other threads: their locks would stay locked in the child.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            result = work()
        except BaseException as error:
            result = error
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(result, pipe)
        os._exit(0)
    os.close(writing)
    return child, reading


def finish(started: tuple[int, int]) -> Any:
    """Return the result of a child, None if it was killed, or raise its exception."""
    child, reading = started
    with os.fdopen(reading, "rb") as pipe:
        sent = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        ending = signal.Signals(os.WTERMSIG(status))
        assert ending == signal.SIGKILL, f"a child ended by {ending.name}"
        return None
    result = pickle.loads(sent)
    if isinstance(result, BaseException):
        raise result
    return result


def fork(work: Callable[[], Any], kill_after: float | None = None) -> Any:
    """Do the work in a forked child and return its result; None if it was killed."""
    started = start(work)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(started[0], signal.SIGKILL)
    return finish(started)
