"""A warehouse of files: Delta tables in a folder or bucket, which SQL can read but not write.

DuckDB reads them through `deltalake`, because its own Delta extension is downloaded when a query
runs.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import deltalake
import dlt
import duckdb
import pyarrow as pa
import sqlalchemy as sa
import sqlglot
from dlt.common.libs.deltalake import (
    deltalake_storage_options,
    ensure_delta_compatible_arrow_data,
)
from dlt.common.libs.pyarrow import py_arrow_to_table_schema_columns
from sqlglot import exp

from . import derived, errors, extraction, failures, settings, warehouse

if TYPE_CHECKING:
    from collections.abc import Generator

    from dlt.common.destination import Destination
    from dlt.common.schema.typing import TTableSchemaColumns

    from .extraction import Extraction

BATCH_ROWS = 100_000


class Warehouse(warehouse.Warehouse):
    """A folder or bucket of Delta tables."""

    is_files = True
    files = sys.modules[__name__]

    @staticmethod
    def destination(url: sa.URL) -> Destination[Any, Any]:
        """Return dlt's destination for a URL."""
        folder = sa.URL.create(url.get_backend_name(), host=url.host, database=url.database)
        return dlt.destinations.filesystem(
            folder.render_as_string(), _login(url), naming_convention="direct"
        )

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query and return its rows."""
        with failures.explained(self.described), _reader(self, sql) as connection:
            return connection.execute(sql).fetchall()

    def execute(self, *statements: str) -> None:
        """Refuse statements.

        Raises:
            PermanentError: There is at least one.
        """
        if statements:
            raise errors.PermanentError(
                f"{self.described} holds files, whose columns SQL cannot change: load the table"
                f" again after `uv run {settings.PROJECT} reset NAME --drop`."
            )

    def name(self, schema: str, table: str) -> str:
        """Return the qualified name of a table, quoted for SQL."""
        return self.quote(f"{schema}.{table}")

    def columns(self, schema: str, *tables: str) -> dict[str, TTableSchemaColumns]:
        """Return the columns of those of the tables that exist, by table and column."""
        with failures.explained(self.described):
            found = {name: table for name in tables if (table := _table(self, schema, name))}
            return {
                name: py_arrow_to_table_schema_columns(pa.schema(table.schema().to_arrow()))
                for name, table in found.items()
            }

    def forget_schema(self, *_tables: str) -> None:
        """Delete the schema that dlt has stored, so that it reads the tables again."""
        with failures.explained(self.described):
            folder = _folder(self, self.raw, "_dlt_version")
            for file in self.jobs.fs_client.glob(f"{folder}/*.jsonl"):
                self.jobs.fs_client.rm_file(file)


def _login(url: sa.URL) -> dict[str, Any] | None:
    """Return the credentials of an S3 bucket; with None, those of the machine are used."""
    if url.get_backend_name() != "s3" or not (url.username or url.query):
        return None
    keys = {"aws_access_key_id": url.username, "aws_secret_access_key": url.password}
    places = {"region_name": url.query.get("region"), "endpoint_url": url.query.get("endpoint_url")}
    return {name: value for name, value in {**keys, **places}.items() if value}


def prepare(w: Warehouse, found: Extraction) -> None:
    """Refuse what Delta cannot hold, and delete rows of `append` tables that are loaded again.

    These are rows of incomplete loads, and rows with a cursor value that was read again.

    Raises:
        PermanentError: Delta does not have the type of a column, or cannot merge by a key's name.
    """
    target = found.table.target_name
    for field in found.schema:
        if pa.types.is_time(field.type):
            message = f"Column {field.name!r} of {target!r} is a time of day, which Delta does not"
            message = f"{message} have: read it with types={{{field.name!r}: 'text'}}, or leave it"
            raise errors.PermanentError(f"{message} out with exclude=({field.name!r},).")
    if found.table.mode == "incremental":
        for name in found.key:
            if not name.isidentifier():  # dlt merges without quotes
                message = f"Key column {name!r} of {target!r} has a name that a warehouse of files"
                raise errors.PermanentError(f"{message} cannot merge by: read a view without it.")
    table = _table(w, w.raw, target)
    if table is not None and found.table.mode == "full" and not found.schema.names:
        table.delete()  # a function yielded no row: without columns, dlt cannot replace the table
    if table is None or found.table.mode != "append":
        return
    dead = w.query(
        f"SELECT DISTINCT _dlt_load_id FROM {w.name(w.raw, target)} WHERE _dlt_load_id"
        f" NOT IN (SELECT load_id FROM {w.name(w.raw, '_dlt_loads')})"
    )
    for (load,) in dead:
        table.delete(f"_dlt_load_id = '{load}'")
    if found.table.cursor is None or found.adds or not found.rows:
        return
    cursor = w.quote(found.table.cursor)
    with extraction.query(found) as connection:
        again = connection.sql(f"SELECT DISTINCT {cursor} FROM rows").to_arrow_table()
    same = f"target.{cursor} = source.{cursor}"
    merge = table.merge(again, same, source_alias="source", target_alias="target")
    merge.when_matched_delete().execute()


def build(w: Warehouse, query: derived.Query) -> int:
    """Build a derived table as a new version of a Delta table, and return its number of rows.

    Raises:
        PermanentError: Its SQL fails, or another table has the name.
        TransientError: The folder or bucket is unavailable.
    """
    mark = f"Built from sql/{query.name}.sql of {settings.PROJECT}."
    with failures.explained(f"sql/{query.name}.sql in {w.described}"):
        old = _table(w, w.marts, query.name)
        folder = _folder(w, w.marts, query.name)
        if (old and old.metadata().description != mark) or (
            old is None and w.jobs.fs_client.exists(folder)
        ):
            raise derived.not_ours(w, query.name)
        select = query.sql(w.dialect, lambda layer, table: w.name(getattr(w, layer), table))
        with _reader(w, select) as connection:
            rows = connection.sql(select).to_arrow_reader(BATCH_ROWS)
            deltalake.write_deltalake(
                w.jobs.make_remote_url(folder),
                ensure_delta_compatible_arrow_data(rows),
                mode="overwrite",
                schema_mode="overwrite",
                description=mark,
                storage_options=_options(w),
            )
        url = w.jobs.make_remote_url(folder)
        built = deltalake.DeltaTable(url, storage_options=_options(w))
        built.vacuum(dry_run=False)  # deletes files that have been unused for a week
        return int(built.to_pyarrow_dataset().count_rows())


@contextlib.contextmanager
def _reader(w: Warehouse, sql: str) -> Generator[duckdb.DuckDBPyConnection]:
    """Yield a DuckDB connection with the tables that a query reads."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name in {table.name for table in sqlglot.parse_one(sql, "duckdb").find_all(exp.Table)}:
            for schema in (w.raw, w.marts):
                if name.startswith(f"{schema}."):
                    rows = _rows(w, schema, name.removeprefix(f"{schema}."))
                    connection.register(name, rows)
        yield connection


def _rows(w: Warehouse, schema: str, name: str) -> Any:
    if name == "_dlt_loads":  # one file for each complete load, named by its id
        files = w.jobs.fs_client.glob(f"{_folder(w, schema, name)}/*.jsonl")
        loads = [file.rpartition("__")[2].removesuffix(".jsonl") for file in files]
        return pa.table({"load_id": pa.array(loads, pa.string()), "status": [0] * len(loads)})
    table = _table(w, schema, name)
    if table is None:
        raise errors.PermanentError(f"There is no table {schema}.{name} in {w.described}.")
    return table.to_pyarrow_dataset()


def _table(w: Warehouse, schema: str, name: str) -> deltalake.DeltaTable | None:
    url = w.jobs.make_remote_url(_folder(w, schema, name))
    if not deltalake.DeltaTable.is_deltatable(url, _options(w)):
        return None
    return deltalake.DeltaTable(url, storage_options=_options(w))


def _folder(w: Warehouse, schema: str, name: str) -> str:
    return str(w.jobs.pathlib.join(w.jobs.bucket_path, schema, name))


def _options(w: Warehouse) -> dict[str, str]:
    config = w.jobs.config
    return deltalake_storage_options(config.credentials, config.deltalake_storage_options)
