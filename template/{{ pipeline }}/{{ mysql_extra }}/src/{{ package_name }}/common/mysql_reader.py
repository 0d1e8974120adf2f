"""MySQL or MariaDB as a source; the server sends all values as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pymysql import converters, cursors

from . import readers

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    from .columns import Column


class Reader(readers.RowReader):
    """A MySQL or MariaDB database."""

    rules = (
        ("bigint.* unsigned.*", "decimal(20,0)", "{}"),
        (r"bit\(64\)", "decimal(20,0)", "{} + 0"),
        ("bit.*", "bigint", "{} + 0"),
        (r"(tiny|small|medium|big)?int\b.*|year.*", "bigint", "{}"),
        # The server sends six digits of a float, but all digits of a double.
        ("float.*", "double", "{} + 0e0"),
        ("double.*", "double", "{}"),
        ("decimal.*", "decimal", "{}"),
        (r"((tiny|medium|long)?text|(var)?char|enum|set|time|uuid|inet\d)\b.*", "text", "{}"),
        ("date", "date", "{}"),
        ("datetime.*", "timestamp", "{}"),
        ("timestamp.*", "timestamptz", "{}"),
        ("json", "json", "{}"),
        (".*(blob|binary).*|.*(point|linestring|polygon|geometry|collection)", "binary", "{}"),
    )
    # With DISTINCT, MariaDB reads the keys first; without it, each table takes 30 ms more.
    catalog = """
SELECT c.table_name, c.column_name, c.column_type, coalesce(k.seq_in_index, 0),
  c.is_nullable = 'NO'
FROM information_schema.columns c LEFT JOIN (
  SELECT DISTINCT table_name, column_name, seq_in_index FROM information_schema.statistics
  WHERE index_name = 'PRIMARY' AND table_schema = coalesce({schema}, database())
    AND table_name = coalesce({table}, table_name)
) k ON k.table_name = c.table_name AND k.column_name = c.column_name
WHERE c.table_schema = coalesce({schema}, database())
  AND c.table_name = coalesce({table}, c.table_name) AND ({table} IS NOT NULL OR c.table_name IN (
    SELECT table_name FROM information_schema.tables
    WHERE table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')
      AND table_schema = coalesce({schema}, database())))
ORDER BY c.table_name, c.ordinal_position"""
    unique = """
SELECT table_name, index_name, column_name FROM information_schema.statistics
WHERE table_schema = coalesce({schema}, database()) AND NOT non_unique AND index_name <> 'PRIMARY'
ORDER BY table_name, index_name, seq_in_index"""
    foreign = """
SELECT table_name, min(column_name), min(referenced_table_name), min(referenced_column_name)
FROM information_schema.key_column_usage
WHERE table_schema = coalesce({schema}, database()) AND referenced_table_schema = table_schema
GROUP BY table_name, constraint_name HAVING count(*) = 1
ORDER BY table_name, min(ordinal_position)"""
    listing = """
SELECT table_schema, table_name, table_type LIKE '%VIEW',
  table_schema = coalesce({schema}, database())
FROM information_schema.tables
WHERE table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')"""
    mark = "`"
    text_order = "CAST(CONVERT({} USING utf8mb4) AS BINARY)"

    def __init__(self, url: sa.URL) -> None:
        options: dict[str, Any] = {"conv": converters.encoders, "cursorclass": cursors.SSCursor}
        if url.password:
            options["password"] = url.password.encode()  # PyMySQL sends str as Latin-1
        url = url.set(drivername="mysql+pymysql")
        super().__init__(readers.connect(url, charset="utf8mb4", **options))
        self.query("SET SESSION time_zone = '+00:00'")
        self.query("SET sql_mode = replace(@@sql_mode, 'NO_BACKSLASH_ESCAPES', '')")
        self.query("SET SESSION TRANSACTION READ ONLY")

    def close(self) -> None:
        """Close the connection without reading the rest of a result, as its own `close` would."""
        self.connection._force_close()

    def quote_text(self, text: str) -> str:
        """Return a text as an SQL literal."""
        return super().quote_text(text.replace("\\", "\\\\"))

    def array(self, values: Sequence[Any], column: Column) -> pa.Array:
        """Make an array from the texts or bytes of a column."""
        if pa.types.is_binary(column.type):
            return pa.array(values, column.type)
        array = pa.array(values, pa.string())
        # These texts have no time zone; the session's is UTC.
        naive = pa.types.is_timestamp(column.type) and not column.as_text
        return array.cast(pa.timestamp("us")) if naive else array
