"""Reads tables of any database as Arrow record batches: exact values, bounded memory.

Each connection sets its session parameters, so that values do not depend on the role, database or
server, and reads in one read-only transaction. A value that would change is refused; the error
names its column.

Functions that read a source raise a PermanentError if it cannot be read, or a TransientError if
a retry may help.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import math
import re
import sqlite3
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

import duckdb
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine.reflection import ObjectKind

from . import columns as kinds
from . import db_utils, errors, failures, settings
from .columns import Column

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from .table import Table

Bound = datetime | date | int | float | Decimal | str
"""A value of a cursor."""

ROWS = 500
"""Rows fetched from a driver at once, at the most. As Python objects they take several times
their size, and larger chunks are no faster."""
BYTES = 16 * 2**20
"""Size of a batch, unless the setting asks for less."""

_NUMBERS = {"bigint", "double", "decimal"}
_TIMES = {"date", "timestamp", "timestamptz"}
_SORTED = "dddd-dd-dd dd:dd:dd".replace("d", "[0-9]")
"""SQLite's times that sort as texts, as most do."""


@dataclass(frozen=True)
class Relation:
    """A table or view of a source, with its unique sets of columns.

    Foreign keys are a column, the referenced table and its column. A view that cannot be read has
    no columns; `fault` says why.
    """

    name: str
    columns: list[Column]
    unique: list[tuple[str, ...]]
    foreign: list[tuple[str, ...]]
    fault: str = ""


def list_tables(url: str, schema: str | None = None) -> list[str]:
    """Return the names of a schema's tables, without its views."""
    with _open(url) as source:
        return sorted(source.find(schema, None))


def list_rest(url: str, schema: str | None = None) -> tuple[list[str], list[str]]:
    """Return the names of a schema's views, and of other schemas with tables."""
    with _open(url) as source:
        listed = source.list_all(schema)
    views = [name for _, name, is_view, is_here in listed if is_view and is_here]
    return sorted(views), sorted({of for of, _, _, is_here in listed if not is_here})


def describe(
    url: str, schema: str | None = None, name: str | None = None, *, views: bool = False
) -> list[Relation]:
    """Describe the tables of a schema, optionally with its views, or one table or view."""
    with _open(url) as source, warnings.catch_warnings(action="ignore"):
        listed = source.list_all(schema) if views else []
        here = [(one, is_view) for _, one, is_view, is_here in listed if is_here]
        only_views = bool(here) and all(is_view for _, is_view in here)
        found: dict[str, list[Column]] = {} if only_views else source.find(schema, name)
        broken: list[Relation] = []
        for view in (one for one, is_view in here if is_view):
            try:
                with failures.explained(f"View {view!r} cannot be read"):
                    found |= source.find(schema, view)
            except errors.PermanentError as error:
                broken.append(Relation(view, [], [], [], fault=str(error)))
        foreign = source.list_foreign(schema)
        unique: dict[tuple[str, str], list[str | None]] = {}
        for table, index, column in source.list_unique(schema):
            unique.setdefault((table, index), []).append(column)
    # None is an expression.
    keys = [(table, names) for (table, _), names in unique.items() if None not in names]
    return broken + [
        Relation(
            table,
            columns,
            [tuple(map(str, names)) for of, names in keys if of == table],
            [(column, *rest) for of, column, *rest in foreign if of == table],
        )
        for table, columns in sorted(found.items())
    ]


def columns(url: str, table: Table) -> list[Column]:
    """Describe the columns to read of a table or view, in the source's order."""
    with _open(url) as source:
        [found] = source.find(table.schema, table.name, table.types).values()
    names = [column.name for column in found]
    wanted = {*(table.key or ()), table.cursor} - {None}
    if table.on_missing_column == "fail":
        wanted |= {*(table.columns or ()), *table.exclude, *table.types}
    if missing := wanted - {*names}:
        listed = ", ".join(sorted(map(repr, missing)))
        message = f"Table {table.name!r} of the source has no column {listed}; it has"
        raise errors.PermanentError(f"{message} {', '.join(names)}.")
    chosen = {*(names if table.columns is None else table.columns)} - {*table.exclude}
    read = [column for column in found if column.name in chosen]
    if not read:
        raise errors.PermanentError(f"Table {table.name!r} has no column to read.")
    for column in read:
        declared = column.declared or "no declared type"
        what = f"Column {column.name!r} ({declared}) of table {table.name!r}"
        if pa.types.is_null(column.type):
            message = f"{what} is of a type that the pipeline does not know: say what it holds, as"
            message = f"{message} in types={{{column.name!r}: 'text'}}, or leave it out with"
            raise errors.PermanentError(f"{message} exclude=({column.name!r},).")
        if column.name == table.cursor and not column.order:
            message = f"{what} cannot be a cursor of type {column.type}: take a column of numbers,"
            raise errors.PermanentError(f"{message} dates, times or texts, as it is declared.")
    return read


def read(
    url: str,
    table: Table,
    columns: Sequence[Column],
    *,
    since: Bound | None = None,
    until: Bound | None = None,
    batch_bytes: int = 4 * BYTES,
) -> Iterator[pa.RecordBatch]:
    """Read a table, or its rows whose cursor lies in a window.

    Args:
        url: URL of the source, with its secrets.
        table: The table.
        columns: The result of `columns` for it.
        since: Lowest cursor value; rows without a cursor are read too, unless `until` is given.
        until: End of the window, exclusive.
        batch_bytes: Bytes of rows to hold in memory. A driver that counts rows may exceed it once
            when rows become longer: by 500 rows (DuckDB itself: 2,048).

    Yields:
        Batches of exactly the columns' names and types.
    """
    schema = pa.schema([(column.name, column.type) for column in columns])
    with _open(url) as source:
        rows = ".".join(source.quote(part) for part in (table.schema, table.name) if part)
        rows += f" WHERE ({table.where or '1 = 1'}\n)"  # the line break ends a comment in `where`
        source.table, source.columns = table, columns
        for cursor in (column for column in columns if column.name == table.cursor):
            rows += source.window(rows, cursor, since, until)
        query = f"SELECT {', '.join(column.select for column in columns)} FROM {rows}"
        with contextlib.closing(source.batches(query)) as small:
            for batch in join(small, min(batch_bytes // 2, BYTES)):
                arrays = []
                for column, array in zip(columns, batch.columns, strict=True):
                    with kinds.refusing(table, column):
                        arrays.append(kinds.fit(array, column.type))
                yield pa.record_batch(arrays, schema=schema)


def join(batches: Iterator[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """Join small batches into batches of the given size in bytes."""
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


class Reader(ABC):
    """An open connection to a source, with its SQL dialect."""

    rules: ClassVar[tuple[tuple[str, str, str], ...]] = ()
    """What the values of a declared type are, and what reads them; the first that fits."""
    catalog: ClassVar[str] = ""
    """Query for table, column, declared type, place in the primary key and whether it holds no
    nulls, of all tables of a schema, or of one table or view."""
    unique: ClassVar[str] = ""
    """Query for the table, name and columns of the unique constraints of a schema."""
    foreign: ClassVar[str] = ""
    """Query for the table, column, referenced table and its column of the foreign keys within a
    schema that have one column."""
    listing: ClassVar[str] = ""
    """Query for the schema and name of all tables and views, whether it is a view, and whether
    the schema is the one in question."""
    mark = '"'  # quotes names
    as_text = ""  # SQL that reads any column as text; empty if `rules` do so
    as_bytes = "{}"  # SQL that reads a text as bytes, which need not be UTF-8
    as_time = ""  # SQL that orders other types as times; empty if there is none
    text_order = "{}"  # SQL that orders texts by code points, whatever the collation
    sorts_times = True

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.table: Table | None = None
        self.columns: Sequence[Column] = ()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    @abstractmethod
    def query(self, sql: str) -> list[Any]:
        """Return the rows of a small result."""

    @abstractmethod
    def batches(self, sql: str) -> Generator[pa.RecordBatch]:
        """Return rows in small batches, of types that can be cast to those of the columns."""

    def describe(self, schema: str | None, name: str | None = None) -> Iterable[Any]:
        """Return the result of `catalog`."""
        names = {"schema": self.literal(schema), "table": self.literal(name)}
        return self.query(self.catalog.format(**names))

    def list_unique(self, schema: str | None) -> Iterable[Any]:
        """Return the result of `unique`."""
        return self.query(self.unique.format(schema=self.literal(schema)))

    def list_foreign(self, schema: str | None) -> list[Any]:
        """Return the result of `foreign`."""
        return self.query(self.foreign.format(schema=self.literal(schema)))

    def list_all(self, schema: str | None) -> list[Any]:
        """Return the result of `listing`."""
        found = self.query(self.listing.format(schema=self.literal(schema)))
        # MySQL sends numbers as text.
        return [(of, name, bool(int(view)), bool(int(here))) for of, name, view, here in found]

    def find(
        self, schema: str | None, name: str | None, types: Mapping[str, str] | None = None
    ) -> dict[str, list[Column]]:
        """Return the columns of the tables of a schema, or of one table or view."""
        found: dict[str, list[Column]] = {}
        for table, column, *described in self.describe(schema, name):
            wanted = (types or {}).get(column, "")
            found.setdefault(table, []).append(self.column(column, *described, wanted=wanted))
        if found:  # MySQL may ignore the case of names
            return {name: found[name]} if name in found else found
        where = "" if schema is None else f" in the schema {schema!r}"
        if name is None:
            schemas = ", ".join(sorted({row[0] for row in self.list_all(schema)}))
            message = f"The source has no tables{where}."
            raise errors.PermanentError(f"{message} Schemas: {schemas}." if schemas else message)
        known = sorted({row[0] for row in self.describe(schema)})
        close = " or ".join(map(repr, difflib.get_close_matches(name, known)))
        more = ", …" if len(known) > 8 else ""
        hint = f" It has {', '.join(known[:8])}{more}." if known else ""
        hint = f" Did you mean {close}?" if close else hint
        raise errors.PermanentError(f"The source has no table {name!r}{where}.{hint}")

    def column(
        self, name: str, declared: Any, primary_key: Any, not_null: Any, *, wanted: str
    ) -> Column:
        """Describe a column; `wanted` is its kind in `Table.types`, if any."""
        natural, select = self.kind(declared)
        type_ = kinds.parse(wanted or natural)
        if type_ is None and wanted:
            known = ", ".join(kind for kind in kinds.TYPES if kind != "decimal")
            message = f"types has {wanted!r} for column {name!r}; there are {known}, decimal(p,s)"
            raise errors.PermanentError(f"{message} with up to 38 digits.")
        was, kind = natural.partition("(")[0], (wanted or natural).partition("(")[0]
        # For another kind, read the value as text and parse it, so that values that do not fit
        # raise an error. A time without a zone is taken as UTC.
        other = was != kind and not (was in _TIMES and kind in {"timestamp", "timestamptz"})
        if other and kind == "binary":
            select = self.as_bytes if was == "text" else select
        elif other and was not in {"text", "json"}:
            select = self.as_text or select
        # Texts of other types, such as intervals, sort differently from their values.
        as_texts = select == "{}" or str(declared).lower() in {"uuid", "name", "citext"}
        quoted, order = self.quote(name), ""
        if kind in _NUMBERS and was in {*_NUMBERS, "any"}:
            order = quoted
        elif kind in _TIMES:
            in_order = was in _TIMES and self.sorts_times
            order = quoted if in_order else self.as_time.format(quoted, kind)
        elif kind == was == "text" and as_texts:
            order = self.text_order.format(select.format(quoted))
        return Column(
            name=name,
            type=type_ or pa.null(),
            select=select.format(quoted),
            is_json=kind == "json",
            primary_key=int(primary_key),
            declared=str(declared),
            order=order,
            as_text=other and kind != "binary",
            not_null=bool(int(not_null)),
        )

    def kind(self, declared: Any) -> tuple[str, str]:
        """Return the kind of a declared type, empty if none fits, and the SQL that reads it."""
        for pattern, kind, select in self.rules:
            if re.fullmatch(pattern, declared.lower()):
                digits = re.search(r"\([-\d, ]+\)", declared) if kind == "decimal" else None
                return kind + (digits[0] if digits else ""), select
        return "", "{}"

    def quote(self, name: str) -> str:
        """Return a name quoted for SQL."""
        return self.mark + name.replace(self.mark, self.mark * 2) + self.mark

    def quote_text(self, text: str) -> str:
        """Return a text as an SQL literal."""
        return "'" + text.replace("'", "''") + "'"

    def literal(self, value: Bound | None) -> str:
        """Return a value as an SQL literal; times in UTC, the time zone of all sessions."""
        if value is None:
            return "NULL"
        if isinstance(value, int | float | Decimal) and math.isfinite(value):
            return format(value, "f") if isinstance(value, Decimal) else repr(value)
        return self.quote_text(plain_time(value) if isinstance(value, datetime) else str(value))

    def window(self, rows: str, cursor: Column, since: Bound | None, until: Bound | None) -> str:
        """Return the condition on the cursor, which begins with AND."""
        if pa.types.is_string(cursor.type):
            self.check_texts(rows, cursor, since)
        sql = ""
        if since is not None:
            null = f"{self.quote(cursor.name)} IS NULL"
            sql += f" AND ({null} OR {cursor.order} >= {self.literal(since)})"
        return sql if until is None else f"{sql} AND {cursor.order} < {self.literal(until)}"

    def check_texts(self, rows: str, cursor: Column, since: Bound | None) -> None:
        """Refuse a text cursor whose values are times in forms that do not sort as times."""
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


def plain_time(value: datetime) -> str:
    """Return a time in UTC as text that sorts as times do."""
    value = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    return value.isoformat(" ")


class RowReader(Reader):
    """A database whose driver returns rows of Python values."""

    def query(self, sql: str) -> list[Any]:
        """Return the rows of a small result."""
        with contextlib.closing(self.connection.cursor()) as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    def batches(self, sql: str) -> Generator[pa.RecordBatch]:
        """Return rows in small batches."""
        cursor = self.connection.cursor()
        cursor.execute(sql)
        names = [column.name for column in self.columns]
        rows = 20
        while chunk := cursor.fetchmany(rows):
            arrays = []
            for column, values in zip(self.columns, zip(*chunk, strict=True), strict=True):
                with kinds.refusing(self.table, column):
                    arrays.append(self.array(values, column))
            batch = pa.record_batch(arrays, names)
            yield batch
            rows = max(1, min(ROWS, BYTES // 4 // (batch.nbytes // len(chunk) + 1)))

    def array(self, values: Sequence[Any], column: Column) -> pa.Array:
        """Make an array from the values of a column, or raise a ValueError."""
        return kinds.from_python(values, column)


class _SQLite(RowReader):
    """An SQLite file; any column may hold any value."""

    # SQLite accepts any word as a type; these are the usual ones. Expressions have no type.
    rules = (
        ("", "any", "{}"),
        (".*bool.*|bit", "bool", "{}"),
        (".*(timestamptz|with time ?zone).*", "timestamptz", "{}"),
        (".*(timestamp|datetime).*", "timestamp", "{}"),
        ("date", "date", "{}"),
        ("time", "time", "{}"),
        (".*json.*", "json", "{}"),
        (".*int.*", "bigint", "{}"),
        (".*(char|clob|text|uuid|guid).*|uniqueidentifier", "text", "{}"),
        (".*(blob|binary).*|image", "binary", "{}"),
        (".*(real|floa|doub).*", "double", "{}"),
        (r".*(dec|num|money|currency).*\(.*", "decimal", "{}"),
        (".*(dec|num|money|currency).*", "double", "{}"),  # without digits, SQLite stores floats
    )
    catalog = """
SELECT t.name, c.name, c.type, c.pk, c."notnull"
FROM pragma_table_list({table}) t, pragma_table_xinfo(t.name, t.schema) c
WHERE t.schema = coalesce({schema}, 'main') AND c.hidden <> 1 AND ({table} IS NOT NULL
  OR t.type IN ('table', 'virtual') AND t.name NOT GLOB 'sqlite_*')"""
    unique = """
SELECT t.name, i.name, c.name FROM pragma_table_list t,
  pragma_index_list(t.name, coalesce({schema}, 'main')) i,
  pragma_index_info(i.name, coalesce({schema}, 'main')) c
WHERE t.schema = coalesce({schema}, 'main') AND i."unique" AND NOT i.partial
ORDER BY t.name, i.seq DESC, c.seqno"""
    foreign = """
SELECT t.name, f."from", f."table", coalesce(f."to", (
  SELECT name FROM pragma_table_info(f."table", coalesce({schema}, 'main')) WHERE pk = 1))
FROM pragma_table_list t, pragma_foreign_key_list(t.name, coalesce({schema}, 'main')) f
WHERE t.schema = coalesce({schema}, 'main')
GROUP BY t.name, f.id HAVING count(*) = 1 ORDER BY t.name, f.id DESC"""
    listing = """
SELECT schema, name, type = 'view', schema = coalesce({schema}, 'main') FROM pragma_table_list
WHERE schema <> 'temp' AND type <> 'shadow' AND name NOT GLOB 'sqlite_*'"""
    mark = "`"  # SQLite reads an unknown name in double quotes as a text
    as_bytes = "CAST({} AS BLOB)"
    as_time = f"""CASE WHEN '{{1}}' = 'timestamp' AND {{0}} GLOB '{_SORTED}' THEN {{0}}
  ELSE instant({{0}}, '{{1}}') END"""
    sorts_times = False  # SQLite stores times as text
    text_order = "{} COLLATE BINARY"

    def __init__(self, url: sa.URL) -> None:
        self.odd: Any = None  # the last value that `instant` refused
        super().__init__(connect(url.set(drivername="sqlite")))
        self.connection.execute("PRAGMA query_only = on")
        self.connection.create_function("instant", 2, self.instant, deterministic=True)

    def instant(self, value: Any, kind: str) -> str | None:
        """Return a time as text that sorts as times do; called from SQL.

        Stored texts may have a space or a T, optional seconds and fractions, and offsets, so
        they do not sort themselves. A text that is not a time is refused.
        """
        if value is None:
            return None
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            if kind == "date":
                return date.fromisoformat(value).isoformat()
            when = datetime.fromisoformat(value)
            if (when.tzinfo is not None) == (kind == "timestamptz"):
                return plain_time(when)
        self.odd = value
        raise ValueError(value)

    def batches(self, sql: str) -> Generator[pa.RecordBatch]:
        try:
            yield from super().batches(sql)
        except sqlite3.OperationalError as error:
            cursor = self.table.cursor if self.table else None
            for column in self.columns:
                if f"decode to UTF-8 column '{column.name}'" in str(error):
                    what = "bytes that are not UTF-8"
                elif column.name == cursor and "user-defined" in str(error):
                    what = f"{self.odd!r}, whose place among the others is unknown"
                else:
                    continue
                raise kinds.refused(self.table, column, what) from error
            raise


class _DuckDB(Reader):
    """A DuckDB file."""

    # Types that become a float or another text within JSON.
    _inexact = r"u?hugeint|bignum|bit|interval|blob|decimal|time with time zone"
    rules = (
        (rf"(?=.*\]|struct|map|union|variant).*\b({_inexact})\b.*", "text", "{}::VARCHAR"),
        (r".*\]|(struct|map|union)\(.*|variant", "json", "to_json({})::VARCHAR"),
        ("u?(tiny|small)int|u?integer|bigint", "bigint", "{}"),
        ("ubigint", "decimal(20,0)", "{}"),
        ("u?hugeint", "decimal(38,0)", "{}::VARCHAR"),
        ("float|double", "double", "{}"),
        ("decimal.*", "decimal", "{}"),
        ("varchar", "text", "{}"),
        ("blob", "binary", "{}"),
        ("boolean", "bool", "{}"),
        ("date", "date", "{}"),
        ("time", "time", "{}"),
        ("time_ns", "time", "{}::VARCHAR"),  # Arrow would cut digits
        ("timestamp(_s|_ms|_ns)?", "timestamp", "{}"),
        ("timestamp with time zone", "timestamptz", "{}"),
        ("json", "json", "{}::VARCHAR"),
        (".*", "text", "{}::VARCHAR"),
    )
    catalog = """
SELECT table_name, column_name, data_type, coalesce(list_position(key, column_name), 0),
  NOT is_nullable
FROM duckdb_columns() c LEFT JOIN (
  SELECT table_oid, any_value(constraint_column_names) AS key FROM duckdb_constraints()
  WHERE constraint_type = 'PRIMARY KEY' AND database_name = current_database() GROUP BY ALL
) k ON c.table_oid = k.table_oid
WHERE database_name = current_database() AND schema_name = coalesce({schema}, current_schema())
  AND table_name = coalesce({table}, table_name)
  AND ({table} IS NOT NULL OR c.table_oid IN (SELECT table_oid FROM duckdb_tables()))
ORDER BY c.table_oid, column_index"""
    unique = """
SELECT table_name, constraint_index, unnest(constraint_column_names)
FROM duckdb_constraints() WHERE constraint_type = 'UNIQUE'
  AND database_name = current_database() AND schema_name = coalesce({schema}, current_schema())"""
    foreign = """
SELECT table_name, constraint_column_names[1], referenced_table, referenced_column_names[1]
FROM duckdb_constraints() WHERE constraint_type = 'FOREIGN KEY' AND len(constraint_column_names) = 1
  AND database_name = current_database() AND schema_name = coalesce({schema}, current_schema())"""
    listing = """
SELECT schema_name, name, is_view, schema_name = coalesce({schema}, current_schema())
FROM (SELECT database_name, schema_name, table_name AS name, false AS is_view FROM duckdb_tables()
  UNION ALL SELECT database_name, schema_name, view_name, true FROM duckdb_views()
  WHERE NOT internal)
WHERE database_name = current_database()"""
    as_text = "{}::VARCHAR"
    as_time = "{}::{}"
    text_order = "({}) COLLATE C"

    def __init__(self, url: sa.URL) -> None:
        file, config = str(db_utils.file_of(url)), dict[str, Any](url.query)
        super().__init__(duckdb.connect(file, read_only=True, config=config))
        self.connection.execute("SET TimeZone = 'UTC'")

    def query(self, sql: str) -> list[Any]:
        return self.connection.execute(sql).fetchall()

    def batches(self, sql: str) -> Generator[pa.RecordBatch]:
        with self.connection.sql(sql).to_arrow_reader(ROWS) as reader:
            yield from reader


class _Other(RowReader):
    """Any other database that SQLAlchemy has a dialect for."""

    def __init__(self, url: sa.URL) -> None:
        self.engine = sa.create_engine(url, poolclass=sa.NullPool)
        super().__init__(self.engine.raw_connection())
        # In this parameter style, percent signs in SQL need no escape.
        dialect: Any = type(self.engine.dialect)
        self.dialect = dialect(paramstyle="named")
        text = sa.cast(sa.literal_column("{}"), sa.Text)
        self.as_text = str(text.compile(dialect=self.dialect))

    def describe(self, schema: str | None, name: str | None = None) -> Iterable[Any]:
        which: Any = {"schema": schema, "kind": ObjectKind.TABLE}
        if name is not None:
            which = {"schema": schema, "kind": ObjectKind.ANY, "filter_names": [name]}
        look = sa.inspect(self.engine)
        keys = look.get_multi_pk_constraint(**which)
        for place, columns in look.get_multi_columns(**which).items():
            key = [*(keys.get(place) or {}).get("constrained_columns", ())]
            for column in columns:
                at = key.index(column["name"]) + 1 if column["name"] in key else 0
                yield place[1], column["name"], column["type"], at, not column["nullable"]

    def list_unique(self, schema: str | None) -> Iterable[Any]:
        look = sa.inspect(self.engine)
        for find in (look.get_multi_unique_constraints, look.get_multi_indexes):
            with contextlib.suppress(NotImplementedError):
                for (_, table), found in find(schema=schema).items():
                    for one in found:
                        partial = "where" in str(one.get("dialect_options"))
                        if one.get("unique", True) and not partial:
                            yield from ((table, one["name"], name) for name in one["column_names"])

    def list_foreign(self, schema: str | None) -> list[Any]:
        return [
            (table, *one["constrained_columns"], one["referred_table"], *one["referred_columns"])
            for (_, table), found in sa.inspect(self.engine).get_multi_foreign_keys(schema).items()
            for one in found
            if len(one["constrained_columns"]) == 1 and one["referred_schema"] in {None, schema}
        ]

    def list_all(self, schema: str | None) -> list[Any]:
        look = sa.inspect(self.engine)
        here = schema or look.default_schema_name
        found = [(here, name, False, True) for name in look.get_table_names(schema)]
        found += [(here, name, True, True) for name in look.get_view_names(schema)]
        return found + [(of, "", False, False) for of in look.get_schema_names() if of != here]

    def kind(self, declared: Any) -> tuple[str, str]:
        kind = "json" if isinstance(declared, sa.JSON) else ""
        with contextlib.suppress(NotImplementedError):
            kind = kind or kinds.USUAL.get(declared.python_type, "")
        if kind == "decimal" and getattr(declared, "precision", None) is not None:
            kind = f"decimal({declared.precision},{declared.scale or 0})"
        if getattr(declared, "timezone", False):
            kind = "timestamptz" if kind == "timestamp" else ""
        return kind, "{}"

    def quote(self, name: str) -> str:
        return self.dialect.identifier_preparer.quote(name)

    def quote_text(self, text: str) -> str:
        bound = {"literal_binds": True}
        return str(sa.literal(text).compile(dialect=self.dialect, compile_kwargs=bound))


_READERS: dict[str, Any] = {"sqlite": _SQLite, "duckdb": _DuckDB}
_MODULES = {"postgresql": "postgres_reader", "mysql": "mysql_reader", "mariadb": "mysql_reader"}
"""Modules of extras, with a reader each."""


def connect(url: sa.URL, **options: Any) -> Any:
    """Connect with the driver of SQLAlchemy's dialect, without an engine."""
    dialect: Any = url.get_dialect()()
    arguments, given = dialect.create_connect_args(url)
    try:
        return dialect.import_dbapi().connect(*arguments, **given | options)
    except TypeError as error:
        message = f"The driver does not know a parameter of the URL: {error}."
        raise errors.PermanentError(message) from error


@contextlib.contextmanager
def _open(url: str) -> Generator[Reader]:
    parsed = db_utils.parse_url(url)
    described, backend = db_utils.describe(parsed), parsed.get_backend_name()
    path = db_utils.file_of(parsed)
    if path is not None and not path.is_file() and ":" not in str(path):
        message = f"Cannot read from {described}: there is no such file; name yours in"
        raise errors.PermanentError(f"{message} {settings.ENV_PREFIX}SOURCE_URL or SOURCE_URLS.")
    with failures.explained(f"Cannot read from {described}"), contextlib.ExitStack() as stack:
        try:
            reader = _READERS.get(backend, _Other)
            if backend in _MODULES:
                reader = importlib.import_module(f".{_MODULES[backend]}", __package__).Reader
            source: Reader = stack.enter_context(contextlib.closing(reader(parsed)))
        except (ImportError, exc.NoSuchModuleError) as error:
            if backend in db_utils.DRIVERS:
                raise db_utils.missing_driver(backend) from error
            message = f"There is no driver for a source of type {backend!r} ({error}): install it"
            raise errors.PermanentError(f"{message} and its dialect of SQLAlchemy.") from error
        yield source
