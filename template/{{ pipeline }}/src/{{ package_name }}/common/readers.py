"""Tables of any database, read as Arrow record batches: exact values, memory bounded by bytes.

Each connection sets what it relies on, so that no role, database or server decides what a value
looks like, and reads in one transaction that writes nothing. What would not survive is refused by
the name of its column.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import json
import math
import re
import sqlite3
import uuid
from abc import ABC, abstractmethod
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

import duckdb
import pyarrow as pa
import pyarrow.compute
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from . import columns as kinds
from . import db_utils, errors, failures

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from .columns import Column
    from .table import Table

pc: Any = pyarrow.compute  # makes its functions when it is imported

Bound = datetime | date | int | float | Decimal | str
"""A value of a cursor."""

_ROWS = 500
"""Rows fetched from a driver at once, at the most. As Python objects they take several times
their size, and larger chunks are no faster."""
_BYTES = 16 * 2**20
"""Size of a batch, unless the setting asks for less."""

_YEARS = (-62_135_596_800_000_000, 253_402_300_799_999_999, pa.int64())
_RANGES = {
    pa.date32(): (-719_162, 2_932_896, pa.int32()),
    pa.time64("us"): (0, 86_399_999_999, pa.int64()),
    pa.timestamp("us"): _YEARS,
    pa.timestamp("us", "UTC"): _YEARS,
}
"""What dates and times hold in every database: years 1 to 9999, times before 24:00."""

_PYTHON: dict[pa.DataType, set[type]] = {
    pa.int64(): {int},  # no floats: Arrow would cut them
    pa.float64(): {int, float, Decimal},
    pa.bool_(): {int, bool},
    pa.string(): {str, int, float, bool, Decimal, uuid.UUID, dict, list},
    pa.binary(): {bytes, bytearray, memoryview},
    pa.date32(): {str, date},
    pa.time64("us"): {str, time},
    pa.timestamp("us"): {str, datetime},
    pa.timestamp("us", "UTC"): {str, datetime},
}
"""What drivers may give for a type; for a decimal any number, or its text."""

_EXTRAS = {
    "postgresql": ("PostgreSQL", "postgres"),
    "mysql": ("MySQL", "mysql"),
    "mariadb": ("MariaDB", "mysql"),
    "mssql": ("SQL Server", "mssql"),
    "snowflake": ("Snowflake", "snowflake"),
    "bigquery": ("BigQuery", "bigquery"),
    "redshift": ("Redshift", "redshift"),
    "databricks": ("Databricks", "databricks"),
    "clickhouse": ("ClickHouse", "clickhouse"),
}


def list_tables(url: str, schema: str | None = None) -> list[str]:
    """Return the names of a schema's tables, without its views.

    Raises:
        PermanentError: The source cannot be read.
        TransientError: The same, for a reason that may pass.
    """
    with _open(url) as source:
        return source.tables(schema)


def columns(url: str, table: Table) -> list[Column]:
    """Describe the columns of a table or view that are to be read, in the source's order.

    Raises:
        PermanentError: There is no such table or column, or a type that has no place in Arrow.
        TransientError: The source cannot be reached.
    """
    with _open(url) as source:
        found = source.describe(table)
        if not found:
            raise _missing_table(table, source.tables(table.schema))
    names = [name for name, _, _ in found]
    wrong = {*(table.key or ()), *([table.cursor] if table.cursor else [])}
    if table.on_missing_column == "fail":
        wrong |= {*(table.columns or ()), *table.exclude, *table.types}
    if wrong := wrong - {*names}:
        listed = ", ".join(map(repr, sorted(wrong)))
        message = f"Table {table.name!r} of the source has no column {listed}; it has"
        raise errors.PermanentError(f"{message} {', '.join(names)}.")
    read = [
        kinds.make(
            source.dialect, source.quote(name), name, declared, place, table.types.get(name, "")
        )
        for name, declared, place in found
        if name not in table.exclude and (table.columns is None or name in table.columns)
    ]
    if not read:
        raise errors.PermanentError(f"Table {table.name!r} has no column to read.")
    for column in read:
        if column.name == table.cursor and not column.order:
            message = f"Column {column.name!r} ({column.declared}) of table {table.name!r} cannot"
            message = f"{message} be a cursor of type {column.type}: take a column of numbers,"
            raise errors.PermanentError(f"{message} dates, times or texts, as it is declared.")
    return read


def _missing_table(table: Table, names: list[str]) -> errors.PermanentError:
    where = "" if table.schema is None else f" in the schema {table.schema!r}"
    close = " or ".join(map(repr, difflib.get_close_matches(table.name, names)))
    hint = f" Did you mean {close}?" if close else ""
    return errors.PermanentError(f"The source has no table {table.name!r}{where}.{hint}")


def read(
    url: str,
    table: Table,
    columns: Sequence[Column],
    *,
    since: Bound | None = None,
    until: Bound | None = None,
    batch_bytes: int = 4 * _BYTES,
) -> Iterator[pa.RecordBatch]:
    """Read a table, or the rows of it whose cursor lies in a window.

    Args:
        url: URL of the source, with its secrets.
        table: The table.
        columns: What `columns` returned for it.
        since: Lowest cursor; rows without one are read too, unless there is an `until`.
        until: Where the window ends, not included.
        batch_bytes: Bytes of rows to hold in memory. Where a driver counts rows, more may be held
            for once, when rows become longer on the way: 500 of them (DuckDB itself: 2,048).

    Yields:
        Batches of exactly the columns' names and types.

    Raises:
        PermanentError: A value is not of its column's type, or the source refuses the query.
        TransientError: The source is gone.
    """
    schema = pa.schema([(column.name, column.type) for column in columns])
    cursor = next((column for column in columns if column.name == table.cursor), None)
    with _open(url) as source:
        rows = ".".join(source.quote(part) for part in (table.schema, table.name) if part)
        rows += f" WHERE ({table.where or '1 = 1'}\n)"  # a comment ends with its line
        source.table, source.columns = table, columns
        if cursor is not None:
            rows += source.window(rows, cursor, since, until)
        query = f"SELECT {', '.join(column.select for column in columns)} FROM {rows}"
        with contextlib.closing(source.batches(query)) as small:
            for batch in _joined(small, min(batch_bytes // 2, _BYTES)):
                arrays = []
                for column, array in zip(columns, batch.columns, strict=True):
                    with _refusing(table, column):
                        arrays.append(_fit(array, column.type))
                made = pa.record_batch(arrays, schema=schema)
                yield made if cursor is None else _cut(made, cursor, since, until)


def _joined(batches: Iterator[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """Join small batches until they have a size."""
    held: list[pa.RecordBatch] = []
    waiting = 0
    for batch in batches:
        held.append(batch)
        waiting += batch.nbytes
        if waiting >= size:
            yield from pa.Table.from_batches(held).combine_chunks().to_batches()
            held.clear()
            waiting = 0
    if held:
        yield from pa.Table.from_batches(held).combine_chunks().to_batches()


def _fit(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """Give values their type; raise a ValueError if one would not survive."""
    if isinstance(array, pa.ExtensionArray):  # ADBC marks a numeric of PostgreSQL as one
        array = array.storage
    if pa.types.is_time(type_) and pa.types.is_string(array.type):
        array = pc.binary_join_element_wise("1970-01-01", array, " ").cast(pa.timestamp("us"))
    elif array.type == pa.time64("ns"):  # which a cast to microseconds would cut
        array = array.view(pa.timestamp("ns")).cast(pa.timestamp("us"))
    elif pa.types.is_boolean(type_) and pa.types.is_integer(array.type):
        array = array.cast(pa.string())  # of which only 0 and 1 are true or false
    given, array = array, array.cast(type_)
    if pa.types.is_decimal(type_):
        # Arrow 26 drops the upper bits of numbers that are too large, and the lower digits of
        # those with more than 38 of them, and says nothing: floats tell.
        exact, found = (part.cast(pa.float64(), safe=False) for part in (given, array))
        size, off = pc.abs(exact), pc.abs(pc.subtract(exact, found))
        limit = 1.5 * 10.0 ** (type_.precision - type_.scale)
        wrong = pc.or_(pc.greater(size, limit), pc.greater(off, pc.multiply(size, 1e-9)))
        if pc.any(wrong).as_py():
            raise ValueError("a number with too many digits")
    elif type_ in _RANGES:
        low, high, stored = _RANGES[type_]
        found = pc.min_max(array.view(stored)).as_py()
        if found["min"] is not None and not low <= found["min"] <= found["max"] <= high:
            raise ValueError("infinity, a year outside of 1 to 9999, or 24:00")
    elif pa.types.is_string(type_):
        array.validate(full=True)  # that it is UTF-8
    return array


def _cut(
    batch: pa.RecordBatch, cursor: Column, since: Bound | None, until: Bound | None
) -> pa.RecordBatch:
    """Drop the rows outside of a window of times, where SQL could not tell exactly."""
    if (since is None and until is None) or not pa.types.is_temporal(cursor.type):
        return batch
    values = batch.column(cursor.name)
    keep = pc.is_valid(values)
    for end, compare in ((since, pc.greater_equal), (until, pc.less)):
        if end is not None:
            bound = pa.scalar(_naive(end), pa.timestamp("us")).cast(cursor.type)
            keep = pc.and_(keep, pc.fill_null(compare(values, bound), fill_value=False))
    return batch.filter(pc.or_(keep, pc.is_null(values)))


# What a reach of two days around does not leave the years 1 to 9999.
_FIRST, _LAST = map(datetime.fromisoformat, ("0001-01-02", "9999-12-29"))


def _naive(value: Any) -> datetime:
    """Return a date or time as a time in UTC that does not say so."""
    if not isinstance(value, datetime):
        return datetime.combine(value, time.min)
    return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value


@contextlib.contextmanager
def _refusing(table: Table | None, column: Column) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise _refused(table, column, str(error).splitlines()[0]) from error


def _refused(table: Table | None, column: Column, what: str) -> errors.PermanentError:
    """Return the error for a value that is not of its column's type, with what would read it."""
    other = "text"
    if pa.types.is_string(column.type):
        other = "binary"
    elif column.type == kinds.TYPES["decimal"] and "loss" in what:
        other = "decimal(38,18)"
    elif "zone offset" in what:
        other = "timestamp" if "expected a zone" in what else "timestamptz"
    place = f"Column {column.name!r} ({column.declared}) of table {table and table.name!r}"
    message = f"{place} holds what {column.type} cannot: {what[:200]}. Correct it in the source, or"
    return errors.PermanentError(f"{message} set types={{{column.name!r}: {other!r}}}.")


class _Source(ABC):
    """An open connection to a source, its SQL, and what its driver gives."""

    catalog: ClassVar[str]
    """Query for name, declared type and place in the primary key of a table's columns."""
    listing: ClassVar[str]
    """Query for the names of a schema's tables."""

    def __init__(self, connection: Any, dialect: sa.Dialect) -> None:
        self.connection = connection
        self.dialect = dialect
        self.table: Table | None = None
        self.columns: Sequence[Column] = ()

    @classmethod
    @abstractmethod
    def open(cls, url: sa.URL) -> contextlib.AbstractContextManager[_Source]: ...

    @abstractmethod
    def query(self, sql: str) -> list[Any]:
        """Return the rows of a small result."""

    @abstractmethod
    def batches(self, sql: str) -> Generator[pa.RecordBatch]:
        """Return rows in small batches, of types that a cast makes those of the columns."""

    def describe(self, table: Table) -> list[tuple[str, Any, int]]:
        names = {"table": self.literal(table.name), "schema": self.literal(table.schema)}
        return self.query(self.catalog.format(**names))

    def tables(self, schema: str | None) -> list[str]:
        rows = self.query(self.listing.format(schema=self.literal(schema)))
        return sorted(name for (name,) in rows)

    def quote(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def literal(self, value: Bound | None) -> str:
        """Return a value as it stands in SQL; times in UTC, as all sessions are."""
        match value:
            case None:
                return "NULL"
            case int():
                return str(value)
            case float() | Decimal() if math.isfinite(value):
                return format(value, "f") if isinstance(value, Decimal) else repr(value)
            case float() if self.dialect.name == "sqlite":
                return "9e999" if value > 0 else "-9e999"
            case datetime():
                value = _naive(value).isoformat(" ")
            case date():
                value = value.isoformat()
        bound = {"literal_binds": True}
        return str(sa.literal(str(value)).compile(dialect=self.dialect, compile_kwargs=bound))

    def window(self, rows: str, cursor: Column, since: Bound | None, until: Bound | None) -> str:
        """Return the condition on the cursor, to be added to others.

        Raises:
            PermanentError: It does not order the rows.
        """
        if pa.types.is_string(cursor.type):
            self.check_texts(rows, cursor, since)
        low, high = (None if end is None else self.literal(end) for end in (since, until))
        return _between(cursor.order, low, high)

    def check_texts(self, rows: str, cursor: Column, since: Bound | None) -> None:
        """Refuse texts that are times, but do not sort as times."""
        if since is not None and not re.match(r"\d{4}-\d\d-\d\d[ T]", str(since)):
            return
        text = cursor.select
        zoned = " OR ".join(f"{text} LIKE '{'_' * 11}%{sign}%'" for sign in "+-")
        query = f"""
SELECT min(length({text})), max(length({text})), min(substr({text}, 11, 1)),
  max(substr({text}, 11, 1)), max(CASE WHEN {zoned} THEN 1 ELSE 0 END)
FROM {rows} AND ({text} LIKE '____-__-__ %' OR {text} LIKE '____-__-__T%')"""
        ((shortest, longest, first, last, offsets),) = self.query(query)
        if (shortest, first, int(offsets or 0)) != (longest, last, 0):
            other = "timestamptz" if int(offsets) else "timestamp"
            message = f"Column {cursor.name!r} ({cursor.declared}) cannot be a cursor: its texts"
            message = f"{message} are times in several forms, which do not sort as times. Set"
            raise errors.PermanentError(f"{message} types={{{cursor.name!r}: {other!r}}}.")


def _between(name: str, low: str | None, high: str | None) -> str:
    above = f" AND ({name} >= {low} OR {name} IS NULL)" if low is not None else ""
    return above + (f" AND {name} < {high}" if high is not None else "")


class _Postgres(_Source):
    """PostgreSQL: ADBC makes Arrow of its binary COPY."""

    # Local to the transaction: behind a pooler, the next one may be another session's.
    settings = """
SELECT set_config(name, value, true) FROM (VALUES ('transaction_read_only', 'on'),
  ('datestyle', 'ISO'), ('timezone', 'UTC'), ('intervalstyle', 'postgres'),
  ('extra_float_digits', '1'), ('bytea_output', 'hex'), ('xmloption', 'content'),
  ('standard_conforming_strings', 'on'), ('client_encoding',
    CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)
) AS setting (name, value)"""
    catalog = """
SELECT a.attname::text,
  CASE b.typtype WHEN 'c' THEN 'row' ELSE format_type(b.oid,
    CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE a.atttypmod END) END,
  coalesce(array_position(i.indkey::int2[], a.attnum) + 1, 0)::int8
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
WHERE c.relname = {table} AND a.attnum > 0 AND NOT a.attisdropped
  AND CASE WHEN {schema} IS NULL THEN pg_table_is_visible(c.oid)
    ELSE c.relnamespace = to_regnamespace(quote_ident({schema})) END
ORDER BY a.attnum"""
    listing = """
SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p', 'f') AND NOT relispartition
  AND relnamespace = to_regnamespace(quote_ident(coalesce({schema}, current_schema())))"""

    @classmethod
    @contextlib.contextmanager
    def open(cls, url: sa.URL) -> Iterator[_Source]:
        manager = importlib.import_module("adbc_driver_manager")  # of an extra, as all drivers
        dialect = PGDialect_psycopg(paramstyle="named")
        options = dialect.create_connect_args(url)[1]
        options.pop("prepare_threshold", None)  # of psycopg; libpq refuses to know it
        with manager.AdbcConnection(_adbc(" ".join(map(_libpq, options.items())))) as connection:
            connection.set_autocommit(False)
            source = cls(connection, dialect)
            source.query(cls.settings)
            yield source

    def query(self, sql: str) -> list[Any]:
        small = [[column.to_pylist() for column in batch] for batch in self.batches(sql)]
        return [row for values in small for row in zip(*values, strict=True)]

    def batches(self, sql: str) -> Generator[pa.RecordBatch]:
        manager = importlib.import_module("adbc_driver_manager")
        with manager.AdbcStatement(self.connection) as statement:
            statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(_BYTES)})
            statement.set_sql_query(sql)
            with pa.RecordBatchReader.from_stream(statement.execute_query()[0]) as reader:
                yield from reader


@functools.lru_cache(maxsize=32)
def _adbc(options: str) -> Any:
    """Return ADBC's database, which reads the server's types first: 30 ms of CPU time."""
    return importlib.import_module("adbc_driver_postgresql").connect(options)


def _libpq(option: tuple[str, Any]) -> str:
    name, value = option
    return name + "='" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"


class _DuckDB(_Source):
    """A DuckDB file."""

    catalog = """
SELECT column_name, data_type, coalesce(list_position(key, column_name), 0)
FROM duckdb_columns() c LEFT JOIN (
  SELECT table_oid, any_value(constraint_column_names) AS key FROM duckdb_constraints()
  WHERE constraint_type = 'PRIMARY KEY' AND database_name = current_database() GROUP BY ALL
) k ON c.table_oid = k.table_oid
WHERE database_name = current_database() AND table_name = {table}
  AND schema_name = coalesce({schema}, current_schema()) ORDER BY column_index"""
    listing = """
SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()
  AND schema_name = coalesce({schema}, current_schema())"""

    @classmethod
    @contextlib.contextmanager
    def open(cls, url: sa.URL) -> Iterator[_Source]:
        config: dict[str, Any] = dict(url.query)
        file = str(db_utils.file_of(url))
        with duckdb.connect(file, read_only=True, config=config) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            dialect = PGDialect_psycopg(paramstyle="named")  # whose literals are the same
            dialect.name = "duckdb"
            yield cls(connection, dialect)

    def query(self, sql: str) -> list[Any]:
        return self.connection.execute(sql).fetchall()

    def batches(self, sql: str) -> Generator[pa.RecordBatch]:
        with self.connection.sql(sql).to_arrow_reader(_ROWS) as reader:
            yield from reader


class _Rows(_Source):
    """A database whose driver gives rows of Python's values."""

    def query(self, sql: str) -> list[Any]:
        with contextlib.closing(self.connection.cursor()) as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    def batches(self, sql: str) -> Generator[pa.RecordBatch]:
        cursor = self.connection.cursor()
        cursor.execute(sql)
        names = [column.name for column in self.columns]
        rows = 20
        while chunk := cursor.fetchmany(rows):
            arrays = []
            for column, values in zip(self.columns, zip(*chunk, strict=True), strict=True):
                with _refusing(self.table, column):
                    arrays.append(self.array(values, column))
            batch = pa.record_batch(arrays, names)
            yield batch
            rows = max(1, min(_ROWS, _BYTES // 4 // (batch.nbytes // len(chunk) + 1)))

    def array(self, values: Sequence[Any], column: Column) -> pa.Array:
        """Refuse values that the declared type does not tell; Arrow would take some of them."""
        type_ = pa.string() if column.as_text else column.type
        found = {*map(type, values)} - {type(None)}
        if odd := found - _PYTHON.get(type_, {int, float, Decimal, str}):
            names = ", ".join(sorted(kind.__name__ for kind in odd))
            raise ValueError(f"values of type {names}")
        if found == {str} and not pa.types.is_binary(type_):
            return pa.array(values, pa.string())
        if pa.types.is_string(type_) or pa.types.is_decimal(type_):
            return pa.array(map(_text, values), pa.string())
        if pa.types.is_boolean(type_) and int in found:
            return pa.array(values, pa.int64())
        if pa.types.is_timestamp(type_):
            zones = {value.tzinfo is not None for value in values if value is not None}
            if zones - {type_.tz is not None}:
                raise ValueError("times with a zone, or some without one")
        return pa.array(values, type_)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value) if type(value) in {dict, list} else str(value)


class _SQLite(_Rows):
    """An SQLite file, in which any column may hold any value."""

    catalog = """
SELECT name, type, pk FROM pragma_table_xinfo({table}, coalesce({schema}, 'main'))
WHERE hidden <> 1"""
    listing = """
SELECT name FROM pragma_table_list WHERE schema = coalesce({schema}, 'main')
  AND type IN ('table', 'virtual') AND name NOT GLOB 'sqlite_*'"""

    @classmethod
    @contextlib.contextmanager
    def open(cls, url: sa.URL) -> Iterator[_Source]:
        url = url.set(drivername="sqlite+pysqlite")
        with contextlib.closing(_connect(url)) as connection:
            connection.execute("PRAGMA query_only = on")
            yield cls(connection, _dialect(url))

    def quote(self, name: str) -> str:
        # SQLite takes a name in double quotes that is none for a text.
        return "`" + name.replace("`", "``") + "`"

    def batches(self, sql: str) -> Generator[pa.RecordBatch]:
        try:
            yield from super().batches(sql)
        except sqlite3.OperationalError as error:
            for column in self.columns:
                if f"decode to UTF-8 column '{column.name}'" in str(error):
                    raise _refused(self.table, column, "bytes that are not UTF-8") from error
            raise

    def window(self, rows: str, cursor: Column, since: Bound | None, until: Bound | None) -> str:
        """Read more than the window of times, which `_cut` then looks at closely.

        Times are texts: a space sorts before the letter T, seconds and fractions may be left
        out, and an offset, of less than 16 hours, is not looked at.

        Raises:
            PermanentError: A text outside is no such time, so it may belong inside.
        """
        if not pa.types.is_temporal(cursor.type):
            return super().window(rows, cursor, since, until)
        name, zoned = cursor.order, cursor.type == kinds.TYPES["timestamptz"]
        low = high = None
        if since is not None:
            first = max(_naive(since), _FIRST) - timedelta(hours=16 * zoned)
            low = self.literal(first.isoformat(" ", "hours").removesuffix(" 00"))
        if until is not None:
            last = min(_naive(until), _LAST) + timedelta(days=2)
            high = self.literal(last.date().isoformat())
        odd = f"{name} NOT GLOB '????-??-??'"
        if zoned:
            odd = f"{name} NOT GLOB '????-??-??*[-+Zz]*'"
        elif cursor.type == kinds.TYPES["timestamp"]:
            odd = f"{name} NOT GLOB '????-??-??*' OR instr({name}, '+') OR instr({name}, 'Z')"
            odd += f" OR instr(substr({name}, 12), '-')"
        outside = f"{name} < {low or 'NULL'} OR {name} >= {high or 'NULL'}"
        for (value,) in self.query(
            f"SELECT {name} FROM {rows} AND ({outside}) AND ({odd}) LIMIT 1"
        ):
            what = f"{value!r}, whose place among the others is unknown"
            raise _refused(self.table, cursor, what)
        return _between(name, low, high)


class _MySQL(_Rows):
    """MySQL or MariaDB; all values come as the texts that the server sends."""

    catalog = """
SELECT c.column_name, c.column_type, coalesce(k.ordinal_position, 0)
FROM information_schema.columns c LEFT JOIN information_schema.key_column_usage k
  ON k.constraint_name = 'PRIMARY' AND k.table_schema = c.table_schema
  AND k.table_name = c.table_name AND k.column_name = c.column_name
WHERE c.table_name = {table} AND c.table_schema = coalesce({schema}, database())
ORDER BY c.ordinal_position"""
    listing = """
SELECT table_name FROM information_schema.tables
WHERE table_type = 'BASE TABLE' AND table_schema = coalesce({schema}, database())"""

    @classmethod
    @contextlib.contextmanager
    def open(cls, url: sa.URL) -> Iterator[_Source]:
        converters = importlib.import_module("pymysql.converters")
        cursors = importlib.import_module("pymysql.cursors")
        url = url.set(drivername="mysql+pymysql")
        options = {"conv": converters.encoders, "cursorclass": cursors.SSCursor}
        connection = _connect(url, charset="utf8mb4", **options)
        try:
            source = cls(connection, _dialect(url))
            source.query("SET SESSION time_zone = '+00:00'")
            source.query("SET sql_mode = replace(@@sql_mode, 'NO_BACKSLASH_ESCAPES', '')")
            source.query("SET SESSION TRANSACTION READ ONLY")
            yield source
        finally:
            connection._force_close()  # `close` would read what is left of a result

    def describe(self, table: Table) -> list[tuple[str, Any, int]]:
        return [(name, type_, int(place)) for name, type_, place in super().describe(table)]

    def quote(self, name: str) -> str:
        return "`" + name.replace("`", "``") + "`"

    def array(self, values: Sequence[Any], column: Column) -> pa.Array:
        if pa.types.is_binary(column.type):
            return pa.array(values, column.type)
        array = pa.array(values, pa.string())
        # Without a zone, in UTC by the session's setting.
        naive = pa.types.is_timestamp(column.type) and not column.as_text
        return array.cast(pa.timestamp("us")) if naive else array


class _Generic(_Rows):
    """Any other database that SQLAlchemy has a dialect for."""

    engine: sa.Engine

    @classmethod
    @contextlib.contextmanager
    def open(cls, url: sa.URL) -> Iterator[_Source]:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with contextlib.closing(engine.raw_connection()) as connection:
            source = cls(connection, _dialect(url))
            source.engine = engine
            yield source

    def describe(self, table: Table) -> list[tuple[str, Any, int]]:
        inspector = sa.inspect(self.engine)
        with contextlib.suppress(sa.exc.NoSuchTableError):
            key = inspector.get_pk_constraint(table.name, table.schema)["constrained_columns"]
            found = inspector.get_columns(table.name, table.schema)
            places = {name: place for place, name in enumerate(key, start=1)}
            return [(one["name"], one["type"], places.get(one["name"], 0)) for one in found]
        return []

    def tables(self, schema: str | None) -> list[str]:
        return sorted(sa.inspect(self.engine).get_table_names(schema))

    def quote(self, name: str) -> str:
        return self.dialect.identifier_preparer.quote(name)


_SOURCES: dict[str, type[_Source]] = {
    "postgresql": _Postgres,
    "duckdb": _DuckDB,
    "sqlite": _SQLite,
    "mysql": _MySQL,
    "mariadb": _MySQL,
}


def _dialect(url: sa.URL) -> sa.Dialect:
    """Return the dialect, with which a percent sign in SQL is one."""
    dialect: Any = url.get_dialect()
    return dialect(paramstyle="named")


def _connect(url: sa.URL, **options: Any) -> Any:
    dialect = _dialect(url)
    arguments, given = dialect.create_connect_args(url)
    return dialect.import_dbapi().connect(*arguments, **given, **options)


@contextlib.contextmanager
def _open(url: str) -> Iterator[_Source]:
    parsed = db_utils.parse_url(url)
    described, backend = db_utils.describe(parsed), parsed.get_backend_name()
    path = db_utils.file_of(parsed)
    if path is not None and not path.is_file() and ":" not in str(path):
        raise errors.PermanentError(f"Cannot read from {described}: there is no such file.")
    with (
        failures.explained(f"Cannot read from {described}"),
        contextlib.ExitStack() as stack,
    ):
        try:
            source = stack.enter_context(_SOURCES.get(backend, _Generic).open(parsed))
        except (ImportError, sa.exc.NoSuchModuleError) as error:
            if backend in _EXTRAS:
                raise db_utils.missing_driver(*_EXTRAS[backend]) from error
            message = f"There is no driver for a source of type {backend!r} ({error}): install it"
            raise errors.PermanentError(f"{message} and its dialect of SQLAlchemy.") from error
        yield source
