"""The warehouse: dlt's destination for its URL, one writer at a time, and SQL in it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib
import os
import re
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before dlt is imported, which reads its configuration from the environment.
for _name, _value in {
    "RUNTIME__DLTHUB_TELEMETRY": "false",  # it ignores DO_NOT_TRACK
    "RUNTIME__LOG_LEVEL": "CRITICAL",  # what matters is raised; what dlt tries again, it logs
    "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID": "true",  # ties rows to their load
    "INGESTION__DATA_WRITER__BUFFER_MAX_ITEMS": "1",  # batches are large already
    "EXTRACT__DATA_WRITER__BUFFER_MAX_ITEMS": "500",  # rows of a function, however wide
    "DATA_WRITER__FILE_MAX_BYTES": "33554432",  # its PostgreSQL driver reads a whole file
    "RESTORE_FROM_DESTINATION": "false",  # the tables themselves say what they are
    "LOAD__WORKERS": "4",  # files loaded at once, so that memory stays bounded
    "LOAD__TRUNCATE_STAGING_DATASET": "true",  # no second copy of the rows is left behind
}.items():
    os.environ.setdefault(_name, _value)

import dlt
import filelock
import sqlalchemy as sa
from dlt.common.configuration.exceptions import ConfigFieldMissingException
from dlt.destinations.impl.clickhouse.configuration import ClickHouseCredentials

from . import db_utils, errors, failures, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dlt.common.destination import Destination
    from dlt.common.schema.typing import TTableSchemaColumns
    from dlt.destinations.sql_client import SqlClientBase

FILES = {"file", "s3", "gs", "gcs", "az", "abfss"}
"""Schemes of URLs that name a folder or bucket of files rather than a database."""

_EXTRAS = {
    "postgresql": ("PostgreSQL", "postgres"),
    "redshift": ("Redshift", "redshift"),
    "snowflake": ("Snowflake", "snowflake"),
    "bigquery": ("BigQuery", "bigquery"),
    "databricks": ("Databricks", "databricks"),
    "clickhouse": ("ClickHouse", "clickhouse"),
    "mssql": ("SQL Server", "mssql"),
    "motherduck": ("MotherDuck", "motherduck"),
}
_open = threading.local()
_held: set[str] = set()


@dataclass(frozen=True)
class Warehouse:
    """An open connection to the warehouse.

    Attributes:
        url: Its URL, with secrets: keep it out of logs.
        raw: Schema of ingested tables.
        marts: Schema of derived tables.
        dialect: Its SQL dialect, as sqlglot calls it.
    """

    url: sa.URL
    raw: str
    marts: str
    dialect: str
    client: SqlClientBase[Any]
    jobs: Any

    @property
    def described(self) -> str:
        """Its URL without secrets, for messages."""
        return db_utils.describe(self.url)

    @property
    def is_files(self) -> bool:
        """Whether it is a folder or bucket of files, which SQL can read but not write."""
        return self.url.get_backend_name() in FILES

    @property
    def files(self) -> Any:
        """What works on files: the module `delta`, which comes with the extra `filesystem`."""
        return importlib.import_module(".delta", __package__)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query in the warehouse's own SQL and return its rows."""
        if self.is_files:
            with failures.explained(self.described):
                return self.files.query(self, sql)
        with failures.explained(self.described), self.client.execute_query(sql) as cursor:
            return cursor.fetchall()

    def execute(self, *statements: str) -> None:
        """Run statements in one transaction, where the warehouse has them.

        Raises:
            PermanentError: They fail, or the warehouse is one of files.
        """
        if self.is_files:
            message = f"{self.described} holds files, whose columns SQL cannot change: load the"
            message = f"{message} table anew with `uv run {settings.PROJECT} reset NAME --drop`."
            raise errors.PermanentError(message)
        with failures.explained(self.described), self.client.begin_transaction():
            for statement in statements:
                self.client.execute_sql(statement)

    def drop(self, table: str) -> None:
        """Drop an ingested table."""
        if self.is_files:
            with failures.explained(self.described):
                self.files.drop(self, table)
        else:
            self.execute(f"DROP TABLE {self.name(self.raw, table)}")

    def quote(self, name: str) -> str:
        """Return a name as it stands in SQL."""
        return self.client.escape_column_name(name, casefold=False)

    def name(self, schema: str, table: str) -> str:
        """Return the qualified name of a table, as it stands in SQL."""
        if self.is_files:
            return self.quote(f"{schema}.{table}")
        with self.client.with_alternative_dataset_name(schema):
            return self.client.make_qualified_table_name(table)

    def columns(self, schema: str, *tables: str) -> dict[str, TTableSchemaColumns]:
        """Return the columns of those of the tables that are there, by table and column."""
        if self.is_files:
            with failures.explained(self.described):
                return self.files.columns(self, schema, tables)
        with (
            failures.explained(self.described),
            self.client.with_alternative_dataset_name(schema),
        ):
            found = dict(self.jobs.get_storage_tables(tables))
        times = [
            (table, name)
            for table, columns in found.items()
            for name, column in columns.items()
            if column["data_type"] == "timestamp"
        ]
        if times and self.dialect in {"duckdb", "postgres"}:
            # dlt does not say which of them have a time zone.
            zoned = self.query(
                "SELECT table_name, column_name FROM information_schema.columns WHERE"
                f" table_schema = '{schema}' AND lower(data_type) = 'timestamp with time zone'"
            )
            for table, name in times:
                found[table][name]["timezone"] = (table, name) in zoned
        return {table: columns for table, columns in found.items() if columns}

    def forget_schema(self, *tables: str) -> None:
        """Let dlt look at the tables themselves: it takes a stored schema for what is there.

        Args:
            tables: Those whose copies in the staging schema, which may have columns of other
                types, are to be made anew.
        """
        if self.is_files:
            self.files.forget_schema(self)
            return
        staging = self.client.staging_dataset_name
        drop = [f"DROP TABLE {self.name(staging, name)}" for name in self.columns(staging, *tables)]
        forget = [
            f"DELETE FROM {self.name(schema, '_dlt_version')}"
            for schema in (self.raw, staging)
            if self.columns(schema, "_dlt_version")
        ]
        self.execute(*drop, *forget)


def pipeline(folder: str) -> dlt.Pipeline:
    """Make dlt's pipeline into the warehouse.

    Args:
        folder: Where it works. A new one for each run: dlt retries a package that failed for
            ever, and two processes in one folder break each other.
    """
    config = settings.load()
    return dlt.pipeline(
        "ingestion",
        pipelines_dir=folder,
        destination=_destination(db_utils.parse_url(db_utils.warehouse_url())),
        dataset_name=config.raw_schema,
    )


def _destination(url: sa.URL) -> Destination[Any, Any]:
    """Return dlt's destination for a URL.

    Names stay as they are (`direct`); dlt's default would make one table of two that differ in
    letters it does not know. A full load goes through a staging table, so that readers never
    see a moment without rows.
    """
    backend = url.get_backend_name()
    options: dict[str, Any] = {
        "naming_convention": "direct",
        "replace_strategy": "insert-from-staging",
    }
    if backend in {"duckdb", "motherduck", "md", "postgresql"}:
        # What dlt does not know of them: without, a load that dies after its DELETE leaves that.
        options["supports_transactions"] = True
    # SQLAlchemy's URLs may name a driver (mssql+pyodbc), and Snowflake's a schema behind the
    # database (analytics/public), which dlt does not know.
    database = (url.database or "").partition("/")[0] if backend == "snowflake" else url.database
    plain = url.set(drivername=backend, database=database)
    native = plain.render_as_string(hide_password=False)
    query: dict[str, Any] = dict(url.query)
    try:
        match backend:
            case "duckdb":
                Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
                return dlt.destinations.duckdb(str(url.database), **options)
            case "motherduck" | "md":
                native = url.set(drivername="md").render_as_string(hide_password=False)
                return dlt.destinations.motherduck(native, **options)
            case "postgresql":
                query.pop(_PREPARE, None)
                # UTF-8 whatever the database's own encoding is: the server converts, or refuses.
                own = importlib.import_module(".postgres", __package__)  # of an extra
                return own.Destination(
                    _postgres(url.set(query={**query, "client_encoding": "utf8"})), **options
                )
            case "redshift":
                return dlt.destinations.redshift(_postgres(url), **options)
            case "snowflake" | "mssql":
                return getattr(dlt.destinations, backend)(native, **options)
            case "clickhouse":
                port = int(query.pop("http_port", 8443))
                native = plain.set(query=query).render_as_string(hide_password=False)
                credentials = ClickHouseCredentials(native)
                credentials.http_port = port  # through which files are loaded
                return dlt.destinations.clickhouse(credentials, **options)
            case "databricks":
                who = {"access_token": url.password}
                if url.username != "token":
                    who = {"client_id": url.username, "client_secret": url.password}
                where = {name: query.get(name) for name in ("http_path", "catalog")}
                login = {**who, **where, "server_hostname": url.host}
                return dlt.destinations.databricks(login, **options)
            case "bigquery":
                return dlt.destinations.bigquery(
                    _google(query),
                    location=query.get("location", "US"),
                    project_id=url.host,
                    **options,
                )
            case scheme if scheme in FILES:
                folder = sa.URL.create(scheme, host=url.host, database=url.database)
                return dlt.destinations.filesystem(
                    folder.render_as_string(), _bucket(url), naming_convention="direct"
                )
            case "sqlite":
                message = "SQLite is a source, no warehouse: use duckdb:///data/warehouse.duckdb."
                raise errors.PermanentError(message)
            case name:
                known = ", ".join(sorted(("duckdb", *_EXTRAS, *FILES)))
                message = f"A warehouse of type {name!r} is not supported. There are: {known}."
                raise errors.PermanentError(message)
    except ImportError as error:
        raise db_utils.missing_driver(*_EXTRAS.get(backend, (backend, backend))) from error


def _postgres(url: sa.URL) -> dict[str, Any]:
    """Return dlt's credentials, which need what libpq finds elsewhere: a file, the environment."""
    query: dict[str, Any] = dict(url.query)
    if not url.host:  # a socket: to libpq the parameter goes before the host that dlt demands
        query.setdefault("host", os.environ.get("PGHOST") or "/var/run/postgresql")
    return {
        "drivername": "postgresql",
        "host": url.host or "localhost",
        "port": url.port or (5439 if url.get_backend_name() == "redshift" else 5432),
        "username": url.username or "",
        "password": url.password or "",
        "database": url.database or "",
        "query": query,
    }


def _google(query: dict[str, Any]) -> Any:
    """Return the key of a service account; None leaves it to Google's default credentials."""
    if "credentials_base64" in query:
        return base64.b64decode(query["credentials_base64"]).decode()
    path = query.get("credentials_path")
    return Path(path).read_text(encoding="utf-8") if path else None


def _bucket(url: sa.URL) -> dict[str, Any] | None:
    """Return the credentials of an S3 bucket; None leaves them to what the machine has."""
    if url.get_backend_name() != "s3" or not (url.username or url.query):
        return None
    keys = {"aws_access_key_id": url.username, "aws_secret_access_key": url.password}
    places = {"region_name": url.query.get("region"), "endpoint_url": url.query.get("endpoint_url")}
    return {name: value for name, value in {**keys, **places}.items() if value}


_PREPARE = "prepare_threshold"  # of psycopg 3; libpq refuses to know it


@contextlib.contextmanager
def connect() -> Iterator[Warehouse]:
    """Open the warehouse of the settings; inside of itself, give the one that is open.

    A DuckDB file can be open in one process at a time: the others wait for it here.

    Yields:
        The warehouse.

    Raises:
        PermanentError: Its URL or login is wrong, or its driver is not installed.
        TransientError: It cannot be reached, or another process had it for too long.
    """
    if (opened := getattr(_open, "warehouse", None)) is not None:
        yield opened
        return
    config = settings.load()
    url = db_utils.parse_url(db_utils.warehouse_url())
    described = db_utils.describe(url)
    with contextlib.ExitStack() as stack:
        stack.enter_context(file_lock(url, config.lock_timeout_seconds))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="warehouse-"))
        with failures.explained(described), _drivers(url):
            made = pipeline(folder)
            if url.get_backend_name() in FILES:
                importlib.import_module(".delta", __package__)
            jobs: Any = made.destination_client()
            stack.enter_context(jobs)
        client = jobs.sql_client
        dialect = str(client.capabilities.sqlglot_dialect or "duckdb")
        opened = Warehouse(url, config.raw_schema, config.marts_schema, dialect, client, jobs)
        _open.warehouse = opened
        try:
            yield opened
        finally:
            _open.warehouse = None


@contextlib.contextmanager
def _drivers(url: sa.URL) -> Iterator[None]:
    """Say in one sentence which driver or which part of a login is missing."""
    what, extra = _EXTRAS.get(url.get_backend_name(), (url.get_backend_name(), "filesystem"))
    try:
        yield
    except (ModuleNotFoundError, dlt.common.exceptions.MissingDependencyException) as error:
        raise db_utils.missing_driver(what, extra) from error
    except ImportError as error:  # it is installed, and needs something of the machine
        raise errors.PermanentError(f"The driver for {what} cannot be loaded: {error}.") from error
    except ConfigFieldMissingException as error:
        named = re.findall(r"missing field\(s\): ([^(\n]+)", str(error))
        fields = " or ".join(found.strip().replace("`", "") for found in named) or "its login"
        message = f"{db_utils.describe(url)} lacks {fields}: put it into the URL of the warehouse,"
        raise errors.PermanentError(f"{message} or where {what} looks for it.") from error


_file_locks: dict[Path, filelock.FileLock] = {}


@contextlib.contextmanager
def file_lock(url: sa.URL, timeout: float) -> Iterator[None]:
    """Hold the lock of an embedded warehouse's file, which the threads of this process share.

    Whoever dies holding it gives it up. Other warehouses need none.

    Raises:
        PermanentError: The folder cannot be written.
        TransientError: Another process still holds it.
    """
    path = db_utils.file_of(url)
    if path is None:
        yield
        return
    path = path.absolute().with_name(f"{path.name}.lock")
    lock = _file_locks.setdefault(path, filelock.FileLock(path, thread_local=False))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout, poll_interval=0.05)
    except filelock.Timeout:
        message = f"Another process has had {db_utils.describe(url)} for {timeout:.0f} s."
        raise errors.TransientError(message) from None
    except OSError as error:
        message = f"Cannot write to {db_utils.describe(url)}: {error.strerror}: {error.filename}."
        raise errors.PermanentError(message) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def table_locks(tables: list[str]) -> Iterator[None]:
    """Keep other runs from loading the same tables meanwhile.

    PostgreSQL has advisory locks, which end with their connection. DuckDB's file is this
    process's already. Elsewhere the lock holds on this machine alone: the deployments' limit of
    one run at a time keeps machines apart.

    Raises:
        TransientError: Another run had one of them for longer than the settings allow.
    """
    config = settings.load()
    url = db_utils.parse_url(db_utils.warehouse_url())
    timeout = config.lock_timeout_seconds
    if url.get_backend_name() == "duckdb":
        with file_lock(url, timeout):
            yield
        return
    names = [f"{config.raw_schema}.{table}" for table in tables if table not in _held]
    digests = sorted(hashlib.sha256(name.encode()).digest() for name in names)
    if url.get_backend_name() == "postgresql":
        keys = [int.from_bytes(digest[:8], signed=True) for digest in digests]
        with _advisory_locks(url, keys, timeout):
            yield
        return
    where = hashlib.sha256(url.set(password=None, query={}).render_as_string().encode())
    with contextlib.ExitStack() as stack:
        for key in digests:
            path = Path(tempfile.gettempdir()) / f"ingest-{where.hexdigest()[:12]}-{key.hex()[:12]}"
            try:
                stack.enter_context(filelock.FileLock(path, timeout=timeout))
            except filelock.Timeout:
                raise errors.TransientError("Another run is loading the same tables.") from None
        yield


@contextlib.contextmanager
def alone(table: str) -> Iterator[None]:
    """Keep other processes from loading a table while this one reads and loads it."""
    with table_locks([table]):
        _held.add(table)
        try:
            yield
        finally:
            _held.discard(table)


@contextlib.contextmanager
def _advisory_locks(url: sa.URL, keys: list[int], timeout: float) -> Iterator[None]:
    kept = {key: value for key, value in url.query.items() if key != _PREPARE}
    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg2", query=kept), poolclass=sa.NullPool
    )
    done = False
    try:
        # Within one transaction, so that it works behind a pooler as well.
        with failures.explained(db_utils.describe(url)), engine.begin() as connection:
            # 0 would wait for ever.
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {max(1, int(timeout * 1000))}")
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            for key in keys:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({key})")
            yield
            done = True
    except errors.TransientError:
        if not done:  # a lock that is lost once all is done has done its duty
            raise
