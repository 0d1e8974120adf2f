"""PostgreSQL as a source: ADBC converts its binary COPY to Arrow."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import adbc_driver_manager
import adbc_driver_postgresql
import pyarrow as pa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from . import readers

if TYPE_CHECKING:
    from collections.abc import Generator

    import sqlalchemy as sa


# Local to the transaction: behind a pooler, the next transaction may have another session.
SETTINGS = """
SELECT set_config(name, value, true) FROM (VALUES ('datestyle', 'ISO'), ('timezone', 'UTC'),
  ('intervalstyle', 'postgres'), ('extra_float_digits', '1'), ('bytea_output', 'hex'),
  ('xmloption', 'content'), ('standard_conforming_strings', 'on'), {}) AS setting (name, value)"""
"""Query that sets the session parameters; `{}` takes more of them."""


class Reader(readers.Reader):
    """A PostgreSQL database."""

    rules = (
        (r".*\[\]|row|int2vector|oidvector", "json", "to_json({})::text"),
        ("smallint|integer|bigint", "bigint", "{}"),
        ("oid", "bigint", "{}::bigint"),
        ("real|double precision", "double", "{}"),
        ("numeric.*", "decimal", "{}"),
        (r"(text|bpchar|character|character varying)( *\(.*)?", "text", "{}"),
        ("bytea", "binary", "{}"),
        ("boolean", "bool", "{}"),
        ("date", "date", "{}"),
        (r"time(\(\d\))? without time zone", "time", "{}"),
        (r"timestamp(\(\d\))? without time zone", "timestamp", "{}"),
        (r"timestamp(\(\d\))? with time zone", "timestamptz", "{}"),
        ("jsonb?", "json", "{}::text"),
        (".*", "text", "{}::text"),
    )
    catalog = """
SELECT c.relname::text, a.attname::text,
  CASE b.typtype WHEN 'c' THEN 'row' ELSE format_type(b.oid,
    CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE a.atttypmod END) END,
  coalesce(array_position(i.indkey::int2[], a.attnum) + 1, 0)::int8, a.attnotnull
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
WHERE a.attnum > 0 AND NOT a.attisdropped AND CASE
  WHEN {table} IS NULL THEN c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition
    AND c.relnamespace = to_regnamespace(quote_ident(coalesce({schema}, current_schema())))
  WHEN {schema} IS NULL THEN c.relname = {table} AND pg_table_is_visible(c.oid)
  ELSE c.relname = {table} AND c.relnamespace = to_regnamespace(quote_ident({schema})) END
ORDER BY c.oid, a.attnum"""
    unique = """
SELECT c.relname::text, i.indexrelid::int8, a.attname::text
FROM pg_index i
JOIN pg_class c ON c.oid = i.indrelid
CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, place)
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
WHERE i.indisunique AND i.indpred IS NULL AND NOT i.indisprimary AND k.place <= i.indnkeyatts
  AND c.relnamespace = to_regnamespace(quote_ident(coalesce({schema}, current_schema())))
ORDER BY i.indrelid, i.indexrelid, k.place"""
    foreign = """
SELECT t.relname::text, a.attname::text, r.relname::text, b.attname::text
FROM pg_constraint k
JOIN pg_class t ON t.oid = k.conrelid
JOIN pg_class r ON r.oid = k.confrelid AND r.relnamespace = t.relnamespace
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.conkey[1]
JOIN pg_attribute b ON b.attrelid = r.oid AND b.attnum = k.confkey[1]
WHERE k.contype = 'f' AND cardinality(k.conkey) = 1
  AND t.relnamespace = to_regnamespace(quote_ident(coalesce({schema}, current_schema())))
ORDER BY t.oid, a.attnum"""
    listing = """
SELECT n.nspname::text, c.relname::text, c.relkind IN ('v', 'm'),
  n.nspname = coalesce({schema}, current_schema())
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND NOT c.relispartition
  AND n.nspname !~ '^(pg_|information_schema$)' AND has_schema_privilege(n.oid, 'USAGE')"""
    settings = """('transaction_read_only', 'on'), ('client_encoding',
    CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)"""
    as_text = "{}::text"
    as_bytes = "convert_to({}::text, getdatabaseencoding())"
    as_time = "{}::{}"
    text_order = '({}) COLLATE "C"'

    def __init__(self, url: sa.URL) -> None:
        options = PGDialect_psycopg().create_connect_args(url)[1]
        options.pop("prepare_threshold", None)  # psycopg's; libpq refuses it
        database = _database(" ".join(map(_libpq, options.items())))
        super().__init__(adbc_driver_manager.AdbcConnection(database))
        self.connection.set_autocommit(False)
        self.query(SETTINGS.format(self.settings))

    def query(self, sql: str) -> list[Any]:
        """Return the rows of a small result."""
        small = [[column.to_pylist() for column in batch] for batch in self.batches(sql)]
        return [row for values in small for row in zip(*values, strict=True)]

    def batches(self, sql: str) -> Generator[pa.RecordBatch]:
        """Return rows in small batches."""
        with adbc_driver_manager.AdbcStatement(self.connection) as statement:
            size = {"adbc.postgresql.batch_size_hint_bytes": str(readers.BYTES)}
            statement.set_options(**size)
            statement.set_sql_query(sql)
            with pa.RecordBatchReader.from_stream(statement.execute_query()[0]) as reader:
                for batch in reader:
                    # A numeric is an extension array of text.
                    arrays = [getattr(array, "storage", array) for array in batch.columns]
                    yield pa.record_batch(arrays, batch.schema.names)


@functools.lru_cache(maxsize=32)
def _database(options: str) -> Any:
    """Return ADBC's database; cached, because it reads the server's types in 30 ms of CPU time."""
    return adbc_driver_postgresql.connect(options)


def _libpq(option: tuple[str, Any]) -> str:
    name, value = option
    return name + "='" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
