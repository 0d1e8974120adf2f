"""PostgreSQL as a warehouse: dlt's destination, with our own connections and locks."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from typing import TYPE_CHECKING, Any

import psycopg2
import sqlalchemy as sa
from adbc_driver_manager import AdbcConnection, AdbcDatabase, dbapi
from dlt.destinations import postgres
from dlt.destinations.impl.postgres.factory import get_adbc_driver_location
from dlt.destinations.impl.postgres.postgres import PostgresClient, PostgresParquetCopyJob
from dlt.destinations.impl.postgres.sql_client import Psycopg2SqlClient
from psycopg2 import sql

from . import db_utils, errors, failures, settings, swap
from .postgres_reader import SETTINGS
from .warehouse import TRANSACTIONS

if TYPE_CHECKING:
    from collections.abc import Generator

    from dlt.common.destination.client import LoadJob


class Warehouse(swap.Warehouse):
    """A PostgreSQL server."""

    @staticmethod
    def destination(url: sa.URL) -> _Destination:
        """Return dlt's destination, with the defaults that libpq finds itself."""
        query = _without_psycopg3(url)
        # Send UTF-8 to a database of any encoding: the server converts it, or refuses.
        query["client_encoding"] = "utf8"
        if not url.host:  # a socket: dlt requires a host, and libpq prefers the parameter
            query.setdefault("host", os.environ.get("PGHOST") or "/var/run/postgresql")
        login = {
            "drivername": "postgresql",
            "host": url.host or "localhost",
            "port": url.port or 5432,
            "username": url.username or "",
            "password": url.password or "",
            "database": url.database or "",
            "query": query,
        }
        return _Destination(login, **TRANSACTIONS)

    @classmethod
    @contextlib.contextmanager
    def locked(cls, url: sa.URL, tables: list[str], timeout: float) -> Generator[None]:
        """Hold an advisory lock for each table; it also works between machines.

        Raises:
            TransientError: Another run held one for too long, or the connection is lost.
        """
        if not tables:
            yield
            return
        digests = sorted(hashlib.sha256(table.encode()).digest()[:8] for table in tables)
        plain = url.set(drivername="postgresql+psycopg2", query=_without_psycopg3(url))
        engine = sa.create_engine(plain, poolclass=sa.NullPool)
        done = False
        try:
            # In one transaction, so that it also works behind a pooler.
            with failures.explained(db_utils.describe(url)), engine.begin() as connection:
                run = connection.exec_driver_sql
                run(f"SET LOCAL lock_timeout = {_milliseconds(timeout)}")
                run("SET LOCAL idle_in_transaction_session_timeout = 0")
                for digest in digests:
                    run(f"SELECT pg_advisory_xact_lock({int.from_bytes(digest, signed=True)})")
                yield
                done = True
        except errors.TransientError:
            if not done:  # after the work, a lost lock does not matter
                raise

    @contextlib.contextmanager
    def building(self) -> Generator[None]:
        """Begin the transaction that builds a derived table; only one at a time, on any machine."""
        timeout = settings.load().lock_timeout_seconds
        lock = f"SELECT pg_advisory_xact_lock(hashtext('{self.marts}'))"
        with super().building():
            self.client.execute_sql(f"SET LOCAL lock_timeout = {_milliseconds(timeout)}; {lock}")
            yield


def _without_psycopg3(url: sa.URL) -> dict[str, Any]:
    """Return the parameters of a URL without that of psycopg 3, which libpq refuses."""
    return {name: value for name, value in url.query.items() if name != "prepare_threshold"}


def _uri(credentials: Any) -> str:
    """Return dlt's URL with spaces as %20: libpq does not decode +, and refuses spaces."""
    login, mark, query = credentials.to_native_representation().partition("?")
    return f"{login.replace(' ', '%20')}{mark}{query.replace('+', '%20')}"


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))  # 0 means no timeout


class _Destination(postgres):
    """dlt's destination with our client."""

    @property
    def client_class(self) -> type[PostgresClient]:
        """The class of the client."""
        return _Client


def _session() -> str:
    """Return the query that sets the parameters of a transaction."""
    # Short, because a writer that waits for a table blocks later readers.
    timeout = _milliseconds(min(60, settings.load().lock_timeout_seconds))
    return SETTINGS.format(f"('lock_timeout', '{timeout}')")


class _SqlClient(Psycopg2SqlClient):
    def open_connection(self) -> Any:
        """Connect without dlt's search path: PgBouncer refuses that parameter.

        No statement needs it, because all names are qualified.
        """
        self._conn = psycopg2.connect(_uri(self.credentials))
        self._reset_connection()
        self._session = sql.SQL(f"{_session()};\n")
        return self._conn

    def _reset_connection(self) -> None:
        super()._reset_connection()
        # Set here, because a query is parsed before its own settings apply; poolers keep this one.
        self._conn.cursor().execute("SET standard_conforming_strings = on")

    def execute_query(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a query and its parameters in one transaction: a pooler may switch sessions."""
        run: Any = self._session + (query if isinstance(query, sql.Composable) else sql.SQL(query))
        return super().execute_query(run, *args, **kwargs)


class _Database(AdbcDatabase):
    def close(self) -> None:
        """Stay open for later connections."""


class _CopyJob(PostgresParquetCopyJob):
    def _connect(self) -> dbapi.Connection:
        database = _database(_uri(self._job_client.config.credentials))
        connection = dbapi.Connection(database, AdbcConnection(database))
        with connection.cursor() as cursor:
            cursor.execute(_session())
        return connection


class _Client(PostgresClient):
    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        known = self.sql_client
        self.sql_client = _SqlClient(
            known.dataset_name, known.staging_dataset_name, known.credentials, known.capabilities
        )

    def create_load_job(self, *given: Any, **named: Any) -> LoadJob:
        job = super().create_load_job(*given, **named)
        return _CopyJob(job._file_path) if isinstance(job, PostgresParquetCopyJob) else job


@functools.lru_cache(maxsize=4)
def _database(uri: str) -> _Database:
    """Return ADBC's database; cached, because it first reads all types of the server."""
    return _Database(driver=get_adbc_driver_location(), uri=uri)
