"""The warehouse: dlt's destination for its URL, locks for writers, and SQL.

This module holds DuckDB; the warehouses of extras have their own modules.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import re
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

# Set before dlt is imported: it reads its configuration from the environment.
for _name, _value in {
    "RUNTIME__DLTHUB_TELEMETRY": "false",  # dlt ignores DO_NOT_TRACK
    "RUNTIME__LOG_LEVEL": "CRITICAL",  # dlt logs errors that it retries; others are raised
    "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID": "true",  # links rows to their load
    "INGESTION__DATA_WRITER__BUFFER_MAX_ITEMS": "1",  # batches are large already
    "EXTRACT__DATA_WRITER__BUFFER_MAX_ITEMS": "500",  # a function's rows may be wide
    "DATA_WRITER__FILE_MAX_BYTES": "33554432",  # the PostgreSQL driver reads a whole file
    "RESTORE_FROM_DESTINATION": "false",  # the tables show their own columns
    "LOAD__WORKERS": "4",  # files loaded at the same time; bounds memory
    "LOAD__TRUNCATE_STAGING_DATASET": "true",  # leaves no second copy of the rows
}.items():
    os.environ.setdefault(_name, _value)

import dlt
import filelock
from dlt.common.configuration.exceptions import ConfigFieldMissingException
from dlt.common.exceptions import MissingDependencyException
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials

from . import db_utils, errors, failures, settings

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

    import sqlalchemy as sa
    from dlt.common.destination import Destination
    from dlt.common.schema.typing import TTableSchemaColumns
    from dlt.destinations.sql_client import SqlClientBase

_MODULES = {
    **dict.fromkeys(("duckdb", "motherduck", "md"), "warehouse"),
    "postgresql": "postgres",
    **dict.fromkeys(("redshift", "snowflake", "bigquery", "databricks"), "cloud"),
    **dict.fromkeys(("clickhouse", "mssql"), "cloud"),
    **dict.fromkeys(("file", "s3", "gs", "gcs", "az", "abfss"), "delta"),
}
"""By a URL's scheme: the module with the class for it, which comes with the extra."""

OPTIONS: dict[str, Any] = {
    # Keep names as they are: dlt's default replaces letters, so two tables may become one.
    "naming_convention": "direct",
    # A full load goes through a staging table, so that readers always see rows.
    "replace_strategy": "insert-from-staging",
}
"""Options of dlt's destinations."""

TRANSACTIONS: dict[str, Any] = {**OPTIONS, "supports_transactions": True}
"""Where dlt does not know of transactions: a load could otherwise die after its DELETE."""

_open = threading.local()
_held: set[str] = set()
_locks: dict[Path, filelock.FileLock] = {}


@dataclass(frozen=True)
class Warehouse:
    """An open connection to the warehouse: DuckDB, or MotherDuck.

    Attributes:
        url: Its URL, with secrets: keep it out of logs.
        raw: Schema of ingested tables.
        marts: Schema of derived tables.
        dialect: Its SQL dialect, as sqlglot calls it.
        is_files: Whether it is a folder or bucket of files, which SQL can read but not write.
        files: The module for files, if it is one.
    """

    url: sa.URL
    raw: str
    marts: str
    dialect: str
    client: SqlClientBase[Any]
    jobs: Any

    is_files: ClassVar[bool] = False
    files: ClassVar[Any] = None

    @staticmethod
    def destination(url: sa.URL) -> Destination[Any, Any]:
        """Return dlt's destination for a URL; its parameters are DuckDB's settings."""
        if url.get_backend_name() != "duckdb":
            native = url.set(drivername="md").render_as_string(hide_password=False)
            return dlt.destinations.motherduck(native, **TRANSACTIONS)
        Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
        login = DuckDbCredentials(str(url.database), global_config=dict(url.query))
        return dlt.destinations.duckdb(login, **TRANSACTIONS)

    @classmethod
    @contextlib.contextmanager
    def locked(cls, url: sa.URL, tables: list[str], timeout: float) -> Generator[None]:
        """Lock the DuckDB file, or else these tables, against other processes of this machine.

        The threads of this process share the lock. It ends with the process.

        Raises:
            PermanentError: The folder cannot be written.
            TransientError: Another process still holds it.
        """
        if (file := db_utils.file_of(url)) is not None:
            paths = [file.absolute().with_name(f"{file.name}.lock")]
        else:
            place = url.set(password=None, query={}).render_as_string()
            digests = [hashlib.sha256(f"{place} {table}".encode()) for table in tables]
            folder = Path(tempfile.gettempdir())
            paths = [folder / f"ingest-{digest.hexdigest()[:24]}.lock" for digest in digests]
        described = db_utils.describe(url)
        with contextlib.ExitStack() as stack:
            for path in sorted(paths):
                lock = _locks.setdefault(path, filelock.FileLock(path, thread_local=False))
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(lock.acquire(timeout, poll_interval=0.05))
                except filelock.Timeout:
                    message = f"Another process is using {described} (waited {timeout:.0f} s)."
                    raise errors.TransientError(f"{message} Try again when it ends.") from None
                except OSError as error:
                    message = f"Cannot write to {described}: {error.strerror}: {error.filename}."
                    raise errors.PermanentError(message) from error
            yield

    @property
    def described(self) -> str:
        """The URL without secrets, for messages."""
        return db_utils.describe(self.url)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query in the warehouse's own SQL and return its rows."""
        with failures.explained(self.described), self.client.execute_query(sql) as cursor:
            return cursor.fetchall()

    def execute(self, *statements: str) -> None:
        """Run statements in one transaction if the warehouse has transactions; files refuse all."""
        with self.client.begin_transaction():
            for statement in statements:
                self.client.execute_sql(statement)

    def drop(self, table: str) -> None:
        """Drop an ingested table."""
        with failures.explained(f"{table} in {self.described}"):
            self.jobs.drop_tables(table, delete_schema=False)

    def quote(self, name: str) -> str:
        """Return a name quoted for SQL."""
        return self.client.escape_column_name(name, casefold=False)

    def name(self, schema: str, table: str) -> str:
        """Return the qualified name of a table, quoted for SQL."""
        with self.client.with_alternative_dataset_name(schema):
            return self.client.make_qualified_table_name(table)

    def columns(self, schema: str, *tables: str) -> dict[str, TTableSchemaColumns]:
        """Return the columns of those of the tables that exist, by table and column."""
        with (
            failures.explained(self.described),
            self.client.with_alternative_dataset_name(schema),
        ):
            found = dict(self.jobs.get_storage_tables(tables))
        times = {
            (table, name): column
            for table, columns in found.items()
            for name, column in columns.items()
            if column["data_type"] == "timestamp"
        }
        if times and self.dialect in {"duckdb", "postgres"}:
            # dlt does not tell which timestamps have a time zone.
            zoned = self.query(
                "SELECT table_name, column_name FROM information_schema.columns WHERE"
                f" table_schema = '{schema}' AND lower(data_type) = 'timestamp with time zone'"
            )
            for name, column in times.items():
                column["timezone"] = name in zoned
        return {table: columns for table, columns in found.items() if columns}

    def forget_schema(self, *tables: str) -> None:
        """Make dlt read the columns of these tables again instead of its stored schema.

        Their staging tables are dropped, because they may have other columns.
        """
        for schema, stale in ((self.raw, ()), (self.client.staging_dataset_name, tables)):
            if self.columns(schema, "_dlt_version"):
                with (
                    failures.explained(self.described),
                    self.client.with_alternative_dataset_name(schema),
                ):
                    self.jobs.drop_tables(*stale)

    def find(self, schema: str, *tables: str) -> dict[str, str]:
        """Return the tables and views with these names, by name; some warehouses ignore case."""
        if self.client.capabilities.has_case_sensitive_identifiers:
            return {name: name for name in self.columns(schema, *tables)}
        listed = f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{schema}'"
        there = {name.lower(): name for (name,) in self.query(listed)}
        return {name: there[name.lower()] for name in tables if name.lower() in there}

    def building(self) -> AbstractContextManager[Any]:
        """Begin the transaction that builds a derived table."""
        return self.client.begin_transaction()

    def replace(self, table: str, select: str, *, is_old: bool) -> None:
        """Replace a derived table by the result of a query; `is_old` says whether it exists."""
        word = "CREATE OR REPLACE" if is_old else "CREATE"
        self.client.execute_sql(f"{word} TABLE {self.name(self.marts, table)} AS {select}")


def _find() -> tuple[sa.URL, type[Warehouse]]:
    """Return the warehouse's URL from the settings, and its class.

    Raises:
        PermanentError: There is no such warehouse, or its extra is missing.
    """
    url = db_utils.parse_url(db_utils.warehouse_url())
    backend = url.get_backend_name()
    if backend == "sqlite":
        message = "SQLite is a source, no warehouse: use duckdb:///data/warehouse.duckdb."
        raise errors.PermanentError(message)
    if backend not in _MODULES:
        message = f"A warehouse of type {backend!r} is not supported. There are:"
        raise errors.PermanentError(f"{message} {', '.join(sorted(_MODULES))}.")
    with _drivers(url):
        module = importlib.import_module(f".{_MODULES[backend]}", __package__)
    return url, module.Warehouse


@contextlib.contextmanager
def _drivers(url: sa.URL) -> Generator[None]:
    """Turn an error about a missing driver or login into one sentence."""
    backend = url.get_backend_name()
    what, _ = db_utils.DRIVERS.get(backend, ("DuckDB", ""))
    try:
        yield
    except (ModuleNotFoundError, MissingDependencyException) as error:
        if backend not in db_utils.DRIVERS:
            raise
        raise db_utils.missing_driver(backend) from error
    except ImportError as error:  # it is installed, but lacks a system library
        raise errors.PermanentError(f"The driver for {what} cannot be loaded: {error}.") from error
    except ConfigFieldMissingException as error:
        named = re.findall(r"missing field\(s\): ([^(\n]+)", str(error))
        fields = " or ".join(found.strip().replace("`", "") for found in named) or "its login"
        message = f"{db_utils.describe(url)} lacks {fields}: put it into the URL of the warehouse,"
        raise errors.PermanentError(f"{message} or where {what} looks for it.") from error


def pipeline(folder: str) -> dlt.Pipeline:
    """Create dlt's pipeline that loads into the warehouse.

    Args:
        folder: Its working folder, a new one for each run: dlt retries a failed package for
            ever, and two processes in one folder disturb each other.
    """
    url, kind = _find()
    return dlt.pipeline(
        "ingestion",
        pipelines_dir=folder,
        destination=kind.destination(url),
        dataset_name=settings.load().raw_schema,
    )


@contextlib.contextmanager
def connect(wait: float | None = None) -> Generator[Warehouse]:
    """Open the warehouse, or return the connection that this thread has open.

    One process at a time can open a DuckDB file; the others wait here.

    Args:
        wait: Seconds to wait; None takes the settings' value.

    Raises:
        PermanentError: Its URL or login is wrong, or its driver is not installed.
        TransientError: It is unavailable, or another process held it for too long.
    """
    if (opened := getattr(_open, "warehouse", None)) is not None:
        yield opened
        return
    config = settings.load()
    url, kind = _find()
    with contextlib.ExitStack() as stack:
        seconds = config.lock_timeout_seconds if wait is None else wait
        stack.enter_context(kind.locked(url, [], seconds))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="warehouse-"))
        with failures.explained(db_utils.describe(url)), _drivers(url):
            jobs: Any = pipeline(folder).destination_client()
            stack.enter_context(jobs)
        client = jobs.sql_client
        dialect = str(client.capabilities.sqlglot_dialect or "duckdb")
        _open.warehouse = kind(url, config.raw_schema, config.marts_schema, dialect, client, jobs)
        try:
            yield _open.warehouse
        finally:
            _open.warehouse = None


@contextlib.contextmanager
def table_locks(tables: list[str]) -> Generator[None]:
    """Lock tables, so that no other run loads them.

    Raises:
        TransientError: Another run held one of them for longer than the settings allow.
    """
    config = settings.load()
    url, kind = _find()
    names = sorted(f"{config.raw_schema}.{table}" for table in tables if table not in _held)
    with kind.locked(url, names, config.lock_timeout_seconds):
        yield


@contextlib.contextmanager
def alone(table: str) -> Generator[None]:
    """Lock a table against other processes while this one reads and loads it."""
    with table_locks([table]):
        _held.add(table)
        try:
            yield
        finally:
            _held.discard(table)
