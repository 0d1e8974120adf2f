"""Extraction: reads the new rows of a source into a file of clean rows.

The rows wait in an Arrow file: memory stays bounded, a bad load can be kept out, and loading does
not need the source.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import math
import re
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from pyarrow import ipc

from . import columns as types
from . import db_utils, errors, failures, pages, readers, reporting, settings

if TYPE_CHECKING:
    from collections.abc import Generator

    from .receipts import Receipt
    from .table import Table

Rows = Callable[..., Iterable[Any]]
"""A function that yields rows, pages, DataFrames or Arrow tables, or returns a dlt resource.

If it has a parameter `since`, it gets the watermark: None at first."""

_ORDERED = (
    *(pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_string),
    *(pa.types.is_date, pa.types.is_timestamp),
)
"""What may be a cursor."""

SCRATCH = f"{settings.PROJECT}-run-"
"""Begins the names of temporary folders: those of killed runs are found by it."""

AHEAD = timedelta(days=1)
"""A time cursor further in the future is loaded, but does not move the watermark."""


_WRITE = (
    "write a date as 2026-01-31, a time as 2026-01-31T06:00 or 2026-01-31T06:00+01:00, or a number."
)


@dataclass(frozen=True, kw_only=True)
class Window:
    """Rows to read again: those whose cursor is at or above `since` and below `until`.

    A window never moves the watermark: rows between the two may not have been read yet.

    Attributes:
        since: Lowest cursor value, as text: a date or time in ISO format, or a number.
        until: End of the window, exclusive; None leaves it open.
    """

    since: str
    until: str | None = None

    @classmethod
    def parse(cls, since: str | None, until: str | None) -> Window | None:
        """Create a window from the parameters of a flow, or return None if both are empty."""
        if since is None and until is not None:
            raise errors.PermanentError("A window that ends needs a beginning: give `since` too.")
        for text in (since, until):
            if text is not None and not re.search(r"\d|^[+-]?inf$", text):  # such as `yesterday`
                raise errors.PermanentError(f"{text!r} is no cursor value: {_WRITE}")
        return None if since is None else cls(since=since, until=until)


@dataclass(frozen=True)
class Extraction:
    """Extracted rows of a table, ready to be loaded.

    Attributes:
        table: The table.
        source: Where the rows came from, without secrets.
        key: The key of the table; empty without one.
        file: Arrow IPC file with the rows.
        schema: The columns.
        json: Names of columns that hold JSON.
        rows_read: Rows read, including those that were dropped.
        rows: Rows in the file.
        watermark: Newest cursor value once the rows are loaded, as text.
        cursor_kind: Kind of that value.
        state: State of the dlt resource, as JSON.
        based_on: Id of the load whose watermark it started from.
        is_new: Whether the table is not in the warehouse yet.
        untyped: Columns of a function's rows that hold only nulls.
        adds: Whether a function's rows are appended without comparing them with existing rows.
        gone: Columns to drop from the warehouse after the load.
        rules_met: Rules that the rows were checked by.
    """

    table: Table
    source: str
    key: tuple[str, ...]
    file: Path
    schema: pa.Schema
    json: frozenset[str]
    rows_read: int
    rows: int
    watermark: str | None = None
    cursor_kind: str | None = None
    state: str | None = None
    based_on: str | None = None
    is_new: bool = False
    untyped: frozenset[str] = frozenset()
    adds: bool = False
    gone: tuple[str, ...] = ()
    rules_met: int | None = None


def extract(
    table: Table,
    folder: Path,
    *,
    receipt: Receipt | None,
    window: Window | None = None,
    rows: Rows | None = None,
) -> Extraction:
    """Read the new rows of a table.

    Args:
        table: The table.
        folder: Folder for the file of rows.
        receipt: The last load of the table; None reads all of it.
        window: Read this window again instead of new rows.
        rows: Function that yields the rows, if the table is not read from a database.

    Raises:
        PermanentError: The source or one of its values does not fit; the message says which.
        TransientError: The source is unavailable.
    """
    if window is not None and table.mode == "append" and table.cursor is None:
        message = f"Table {table.name!r} has no cursor, so no part of it can be read again."
        raise errors.PermanentError(message)
    # A watermark of another cursor does not tell what has been read.
    if receipt is not None and (receipt.mode == "reset" or receipt.cursor != table.cursor):
        receipt = dataclasses.replace(receipt, watermark=None, cursor_kind=None, state=None)
    watermark, based_on = (receipt.watermark, receipt.load_id) if receipt else (None, None)
    file = folder / "rows.arrow"
    with _places():
        if rows is None:
            found = _from_database(table, file, watermark, window)
        else:
            found = _from_function(table, file, receipt, window, rows)
    if receipt is not None and table.mode != "full" and receipt.cursor == table.cursor:
        _warn_of_change(found, receipt)
    if rows is None and watermark is not None and window is None and not found.rows_read:
        reporting.logger(__name__).warning(
            "%s: no row is at or above the watermark %s, so the newest row is gone from the source."
            " If the source was emptied or restored, new rows below the watermark are not read. %s",
            *(table.target_name, watermark, _reset(table)),
        )
    found = _clean(found, window)
    _check_shrink(found, receipt)
    if window is None:
        watermark = _watermark(found) or watermark
    else:
        found = dataclasses.replace(found, state=receipt.state if receipt else None)
    kind = receipt.cursor_kind if receipt else None
    if table.cursor in found.schema.names:
        kind = types.kind(found.schema.field(table.cursor).type)
    return dataclasses.replace(found, watermark=watermark, cursor_kind=kind, based_on=based_on)


def _warn_of_change(found: Extraction, receipt: Receipt) -> None:
    """Warn if the last load came from another source or with another selection."""
    table, changed = found.table, ""
    if not db_utils.is_same(receipt.source or found.source, found.source):
        changed = f"came from {receipt.source}, this one comes from {found.source}"
    elif receipt.selection not in {None, table.selection}:
        changed = "had another name, schema, where, columns or exclude than this one"
    if changed:
        reporting.logger(__name__).warning(
            "%s: the last load %s. This load continues where the last one ended: loaded rows stay"
            " as they are. %s",
            *(table.target_name, changed, _reset(table)),
        )


def _reset(table: Table) -> str:
    return f"To load the table again: {settings.command('reset', table.target_name, '--drop')}"


@functools.cache
def _places() -> threading.BoundedSemaphore:
    """Return the semaphore that limits how many threads of this process read at a time."""
    return threading.BoundedSemaphore(settings.load().max_workers)


def _from_database(
    table: Table, file: Path, watermark: str | None, window: Window | None
) -> Extraction:
    url = db_utils.source_url(table.source)
    described = db_utils.describe(url)
    _keep_apart(url, described)
    columns = readers.columns(url, table)
    schema = pa.schema([(column.name, column.type) for column in columns])
    primary = sorted((c.primary_key, c.name) for c in columns if c.primary_key)
    key = table.key or tuple(name for _, name in primary)
    _require(table, described, schema, key)
    since, until = _bounds(table, schema, watermark, window)
    # An older version of a row must not replace a newer one. If a key may have several rows, also
    # read those after the window; `_clean` drops them and the versions they replace.
    whole = set(key) == {name for _, name in primary}
    batches = readers.read(
        url,
        table,
        columns,
        since=since,
        until=until if whole else None,
        batch_bytes=settings.load().batch_bytes,
    )
    count = _write(file, schema, batches)
    json = frozenset(column.name for column in columns if column.is_json)
    source = db_utils.locate(url)
    return Extraction(table, source, key, file, schema, json, rows_read=count, rows=count)


def _keep_apart(url: str, described: str) -> None:
    source = db_utils.file_of(db_utils.parse_url(url))
    target = db_utils.file_of(db_utils.parse_url(db_utils.warehouse_url()))
    if source is not None and target is not None and source.resolve() == target.resolve():
        raise errors.PermanentError(f"Source and warehouse are one file, {described}: use two.")


def _require(table: Table, where: str, schema: pa.Schema, key: tuple[str, ...]) -> None:
    what = f"Table {table.name!r} in {where}"
    cursor = [table.cursor] if table.cursor else []
    if missing := [name for name in (*key, *cursor) if name not in schema.names]:
        raise errors.PermanentError(f"{what} has no column {', '.join(missing)}.")
    for type_ in (schema.field(name).type for name in cursor):
        if not any(is_a(type_) for is_a in _ORDERED):
            message = f"{what}: its column {table.cursor!r} is {type_}, which cannot be a cursor."
            raise errors.PermanentError(f"{message} Take a number, a date, a time or a text.")
    if table.mode == "incremental" and not key:
        raise errors.PermanentError(
            f"{what} has no primary key: give it a key, or load it with"
            " mode='full' or 'append', which keep every row."
        )


def _from_function(
    table: Table, file: Path, receipt: Receipt | None, window: Window | None, rows: Rows
) -> Extraction:
    """Run a function or resource with dlt, and keep its rows as Arrow."""
    import dlt
    from dlt.common.json import json as typed_json  # keeps times as times
    from dlt.extract import DltResource, DltSource
    from dlt.extract.items_transform import FilterItem

    class Last(FilterItem):
        placement_affinity = 2  # after all steps of dlt, such as its incremental cursor

    source = f"{rows.__module__}.{getattr(rows, '__qualname__', type(rows).__name__)}()"
    if table.where or table.schema or table.source:
        message = f"Table {table.name!r}: where, schema and source are for tables of a database."
        raise errors.PermanentError(f"{message} Leave them to {source}.")
    arguments: dict[str, Any] = {}
    if "since" in inspect.signature(rows).parameters:
        arguments["since"] = _since(table, receipt, window)
    with (
        failures.explained(f"{table.name} from {source}"),
        tempfile.TemporaryDirectory(prefix=SCRATCH) as folder,
    ):
        pipeline = dlt.pipeline("extract", pipelines_dir=folder)
        # A whole table or a window does not continue from the last load's state.
        if receipt is not None and receipt.state and window is None and table.mode != "full":
            with pipeline.managed_state() as state:
                state.update({"sources": typed_json.typed_loads(receipt.state)})
        given: Any = rows(**arguments)
        if given is None:
            message = f"{source} returns nothing: let it yield rows, or return a resource of dlt."
            raise errors.PermanentError(message)
        if isinstance(given, DltSource):
            found = [*given.selected_resources.values()]
            if len(found) != 1:
                names = ", ".join(one.name for one in found)
                message = f"{source} gives {len(found)} resources, and a table takes one: return"
                raise errors.PermanentError(f"{message} one of {names}.")
            given = found[0]
        resource = given if isinstance(given, DltResource) else dlt.resource(given, name=table.name)
        kept = pages.Pages(table, resource.columns, Path(folder, "pages.arrow"))
        pipeline.extract(resource.add_step(Last(kept.add)))
        kept.close()
        sources = pipeline.state.get("sources")
        size = min(settings.load().batch_bytes // 2, readers.BYTES)
        count = _write(file, kept.schema, readers.join(kept.batches(), size))
    key, schema = table.key or (), kept.schema
    if count:  # without a row, the columns are unknown
        _require(table, source, schema, key)
    json = frozenset(name for name, kind in kept.kinds.items() if kind == "json")
    state = typed_json.typed_dumps(sources) if sources else None
    # All rows are new if the function has no parameter `since`, or a state of its own.
    adds = table.mode == "append" and (state is not None or "since" not in arguments)
    return Extraction(
        *(table, source, key, file, schema, json),
        rows_read=count,
        rows=count,
        state=state,
        untyped=frozenset(kept.kinds.keys() - {*schema.names}),
        adds=adds,
    )


def _since(table: Table, receipt: Receipt | None, window: Window | None) -> Any:
    """Return the cursor value from which a function should read; None for all rows."""
    last = receipt.watermark if receipt else None
    text = window.since if window else last
    if text is None or table.cursor is None:
        return None
    cursor = table.cursor
    kind = table.types.get(cursor, receipt.cursor_kind if receipt else None)
    if kind is None:
        message = f"No load has told yet what the cursor {cursor!r} of {table.name!r} is: run it"
        message = f"{message} once without a window, or say what it is, as in"
        raise errors.PermanentError(f"{message} types={{{cursor!r}: 'timestamptz'}}.")
    since = _bound(text, pages.parse(table, cursor, kind))
    return since if table.lookback is None or window else _earlier(table, since)


def _write(file: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    count = 0
    try:
        with pa.OSFile(str(file), "wb") as sink, ipc.new_file(sink, schema) as writer:
            for batch in batches:
                if batch.num_rows:
                    writer.write_batch(batch)
                    count += batch.num_rows
    except OSError as error:
        message = f"Cannot keep the rows in {file.parent}: {error}. Make room, or set TMPDIR."
        raise errors.PermanentError(message) from error
    return count


@functools.cache
def _duckdb() -> duckdb.DuckDBPyConnection:
    """Return DuckDB for all tables of this process: to open one takes 20 ms of CPU time."""
    connection = duckdb.connect()
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    return connection


@contextlib.contextmanager
def query(extraction: Extraction) -> Generator[duckdb.DuckDBPyConnection]:
    """Run SQL on the rows of an extraction, as the table `rows`."""
    with (
        _duckdb().cursor() as connection,
        pa.memory_map(str(extraction.file)) as mapped,
        ipc.open_file(mapped) as reader,
    ):
        # Copies nothing: DuckDB reads only the columns that a query needs from the disk.
        connection.register("rows", reader.read_all())
        yield connection


def _clean(found: Extraction, window: Window | None) -> Extraction:
    """Drop rows without a key or cursor, and all but the newest row of each key."""
    table = found.table
    keep = [f"{quote(name)} IS NOT NULL" for name in found.key]
    cursor = quote(table.cursor) if table.cursor else "NULL"
    if table.cursor and table.cursor_nulls != "keep":
        keep.append(f"{cursor} IS NOT NULL")
    if not found.rows or not keep:
        return found
    keys = ", ".join(map(quote, found.key))
    with query(found) as connection:
        where = " AND ".join(keep)
        kept, nulls = _one(
            connection,
            f"SELECT count(*) FILTER (WHERE {where}), count(*) FILTER (WHERE {cursor} IS NULL)"
            " FROM rows",
        )
        if nulls and table.cursor and table.cursor_nulls == "fail":
            raise errors.PermanentError(
                f"{nulls:,} rows of {table.name!r} have no {table.cursor}. cursor_nulls='drop'"
                " leaves them out, 'keep' loads them each time."
            )
        doubled = 0
        if keys:
            groups = f"SELECT count(*) - 1 AS n FROM rows WHERE {where} GROUP BY {keys}"
            (doubled,) = _one(connection, f"SELECT coalesce(sum(n), 0) FROM ({groups})")
        if kept == found.rows and not doubled and not (window and window.until):
            return found
        statement = f"SELECT * FROM rows WHERE {where}"
        if doubled:
            # The newest row of a key stays; among equally new ones, any.
            number = f"row_number() OVER (PARTITION BY {keys} ORDER BY {cursor} DESC) = 1"
            statement += f" QUALIFY {number}"
        if window and window.until and table.cursor:
            until = _literal(_bound(window.until, found.schema.field(table.cursor).type))
            statement = f"SELECT * FROM ({statement}) WHERE {cursor} < {until}"
        file = found.file.with_name("clean.arrow")
        reader = connection.sql(statement).to_arrow_reader(20_000)
        count = _write(file, found.schema, (batch.cast(found.schema) for batch in reader))
    found.file.unlink()
    return dataclasses.replace(found, file=file, rows=count)


def _watermark(found: Extraction) -> str | None:
    """Return the newest plausible cursor value, as text."""
    cursor = found.table.cursor
    if cursor is None or not found.rows:
        return None
    type_, column = found.schema.field(cursor).type, quote(cursor)
    where = "TRUE"
    if pa.types.is_floating(type_):
        where = f"isfinite({column})"
    elif not (pa.types.is_integer(type_) or pa.types.is_decimal(type_)):
        limit = datetime.now(tz=UTC).replace(tzinfo=None) + AHEAD
        value = f"try_cast({column} AS TIMESTAMP)" if pa.types.is_string(type_) else column
        where = f"coalesce({value} <= TIMESTAMP '{limit.isoformat(' ')}', TRUE)"
    with query(found) as connection:
        newest, ahead = _one(
            connection,
            f"SELECT max({column}) FILTER (WHERE {where}),"
            f" count(*) FILTER (WHERE NOT ({where})) FROM rows",
        )
    if ahead:
        reporting.logger(__name__).warning(
            "%s: %s rows have a %s that is in the future or no number; they are loaded, and do"
            " not move the watermark",
            found.table.name,
            f"{ahead:,}",
            cursor,
        )
    if newest is None:
        return None
    return newest.isoformat() if isinstance(newest, date) else str(newest)


def _check_shrink(found: Extraction, receipt: Receipt | None) -> None:
    """Refuse a full load with far fewer rows than the last one."""
    table = found.table
    before = receipt.rows_loaded if receipt else 0
    if receipt and receipt.mode in {"incremental", "append"}:
        before = 1  # the table has at least one: an empty source must not replace it
    if table.mode != "full" or not before or table.max_shrink == 1:
        return
    # A table of fewer than 100 rows may shrink, but not become empty.
    if found.rows == 0 or (before >= 100 and found.rows < before * (1 - table.max_shrink)):
        raise errors.PermanentError(
            f"{table.name!r} has {found.rows:,} rows in {found.source}, after {before:,} in the"
            " last load: the published ones stay. If that is right, let the table go through"
            f" once: {settings.command('reset', table.target_name)}; or set max_shrink."
        )


def _bounds(
    table: Table, schema: pa.Schema, watermark: str | None, window: Window | None
) -> tuple[Any, Any]:
    """Return the lowest cursor value to read and the end; None leaves either open."""
    if table.cursor is None:
        return None, None
    type_ = schema.field(table.cursor).type
    if window is None:
        try:
            since = None if watermark is None else _bound(watermark, type_)
        except errors.PermanentError as error:
            message = f"Table {table.name!r}: its cursor {table.cursor!r} is {type_} now, but the"
            message = f"{message} last load ended at {watermark!r}. {_reset(table)}."
            raise errors.PermanentError(message) from error
        return since if table.lookback is None or since is None else _earlier(table, since), None
    since = _bound(window.since, type_)
    until = None if window.until is None else _bound(window.until, type_)
    if until is not None and until <= since:
        message = f"The window from {window.since} to {window.until} is empty."
        raise errors.PermanentError(message)
    return since, until


def _earlier(table: Table, since: Any) -> Any:
    """Return a cursor value minus the table's lookback."""
    lookback: Any = table.lookback
    if isinstance(lookback, timedelta) and not isinstance(since, datetime):
        lookback = -(-lookback // timedelta(days=1)) * timedelta(days=1)  # whole days, as in a date
    try:
        return since - lookback
    except (TypeError, OverflowError):
        message = f"Table {table.name!r}: lookback {table.lookback!r} does not fit its cursor."
        raise errors.PermanentError(message) from None


def _bound(text: str, type_: pa.DataType) -> Any:
    try:
        if pa.types.is_timestamp(type_):
            when = datetime.fromisoformat(text)
            if when.tzinfo is not None:
                when = when.astimezone(UTC)
            return when.replace(tzinfo=UTC if type_.tz else None)
        if pa.types.is_date(type_):
            return datetime.fromisoformat(text).date()
        if pa.types.is_integer(type_):
            return int(text)
        if pa.types.is_floating(type_):
            return float(text)
        return Decimal(text) if pa.types.is_decimal(type_) else text
    except (ValueError, ArithmeticError):
        message = f"{text!r} does not fit a cursor of type {type_}: {_WRITE}"
        raise errors.PermanentError(message) from None


def _literal(value: Any) -> str:
    text = value.isoformat(" ") if isinstance(value, datetime) else str(value)
    quoted = "'" + text.replace("'", "''") + "'"
    return text if isinstance(value, int | float | Decimal) and math.isfinite(value) else quoted


def quote(name: str) -> str:
    """Return a name quoted for the SQL of `query`."""
    return '"' + name.replace('"', '""') + '"'


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> Any:
    return connection.execute(sql).fetchall()[0]
