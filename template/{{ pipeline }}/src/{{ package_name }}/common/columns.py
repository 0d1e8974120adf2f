"""The columns of a table, as its database declares them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import sqlalchemy as sa

POSTGRES = """
SELECT a.attname, format_type(b.oid, CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE a.atttypmod END),
       n.nspname = 'pg_catalog', b.typcategory, b.typtype
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
JOIN pg_namespace n ON n.oid = b.typnamespace
WHERE a.attrelid = to_regclass(:table) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
DUCKDB = """
SELECT column_name, data_type FROM duckdb_columns()
WHERE database_name = current_database() AND lower(table_name) = lower(:table)
  AND schema_name = coalesce(:schema, current_schema())
ORDER BY column_index
"""
SQLITE = """
SELECT name, type FROM pragma_table_xinfo(:table, coalesce(:schema, 'main')) WHERE hidden <> 1
"""

KINDS = {
    **dict.fromkeys(("smallint", "integer", "bigint", "oid", "tinyint"), "integer"),
    **dict.fromkeys(("utinyint", "usmallint", "uinteger"), "integer"),
    **dict.fromkeys(("real", "double precision", "double", "float"), "float"),
    **dict.fromkeys(("numeric", "decimal"), "decimal"),
    **dict.fromkeys(("text", "character varying", "character", "varchar"), "text"),
    **dict.fromkeys(("name", '"char"'), "text"),
    **dict.fromkeys(("bytea", "blob"), "bytes"),
    **dict.fromkeys(("time", "time without time zone"), "time"),
    **dict.fromkeys(("timestamp without time zone", "timestamp"), "timestamp"),
    **dict.fromkeys(("timestamp_s", "timestamp_ms", "datetime"), "timestamp"),
    **dict.fromkeys(("json", "jsonb"), "json"),
    "timestamp with time zone": "timestamptz",
    "boolean": "boolean",
    "date": "date",
    "uuid": "uuid",
}
"""What the values of a declared type are; of all others, the database's own text is taken."""

WIDE = {"ubigint": 20, "hugeint": 39, "uhugeint": 39}
"""Whole numbers of DuckDB with more than 64 bits, and their digits."""

# SQLite takes any word for a type, and looks for these in it, in this order.
SQLITE_KINDS = (
    ("bool", "boolean"),
    ("timestamptz|time zone", "timestamptz"),
    ("timestamp|datetime", "timestamp"),
    ("^date$", "date"),
    ("^time$", "time"),
    ("int", "integer"),
    ("char|clob|text", "text"),
    ("blob", "bytes"),
    ("real|floa|doub", "float"),
    ("dec|numeric|money", "decimal"),
)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column as its database declares it.

    Attributes:
        name: Its name.
        declared: Its type, as its database writes it.
        kind: What its values are, whatever the database: `integer`, `text`, `timestamptz` ...
        digits: Digits of a decimal, and those after the point; none means any number.
        own: How the database hands its own kind of value over: `text` or `json`; or empty.
        portable: Whether every database of this kind has the type.
    """

    name: str
    declared: str
    kind: str
    digits: tuple[int, int] | None = None
    own: str = ""
    portable: bool = True


def read(connection: sa.Connection, table: str, schema: str | None = None) -> list[Column]:
    """Return the columns of a table or view, in order.

    Args:
        connection: Connection to its database.
        table: Its name.
        schema: Its schema; none means the default one.

    Returns:
        The columns; none if there is no such table.
    """
    match connection.dialect.name:
        case "postgresql":
            quoted = ".".join(_quote(part) for part in (schema, table) if part is not None)
            rows = connection.execute(sa.text(POSTGRES), {"table": quoted})
            return [from_postgres(*row) for row in rows]
        case "duckdb":
            rows = connection.execute(sa.text(DUCKDB), {"table": table, "schema": schema})
            return [from_duckdb(name, declared) for name, declared in rows]
        case _:
            rows = connection.execute(sa.text(SQLITE), {"table": table, "schema": schema})
            return [from_sqlite(name, declared) for name, declared in rows]


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def split(declared: str) -> tuple[str, tuple[int, int] | None]:
    """Take a declared type apart: its name in lower case, and its digits or length."""
    found = re.search(r"\( *(\d+) *(?:, *(\d+) *)?\)", declared)
    name = re.sub(r" *\(.*?\)", "", declared).strip().lower()
    return name, (int(found[1]), int(found[2] or 0)) if found else None


def from_postgres(name: str, declared: str, builtin: bool, category: str, type_: str) -> Column:
    """Return a column of PostgreSQL, from what its catalogue says."""
    base, digits = split(declared)
    kind = KINDS.get(base, "text") if builtin and category != "A" else "text"
    own = "text" if kind == "json" or (kind == "text" and base not in KINDS) else ""
    if category == "A" or type_ == "c":
        kind, own = "json", "json"
    return Column(
        name=name,
        declared=declared,
        kind=kind,
        digits=digits if kind == "decimal" else None,
        own=own,
        portable=builtin,
    )


def from_duckdb(name: str, declared: str) -> Column:
    """Return a column of DuckDB, from what its catalogue says."""
    base, digits = split(declared)
    if base in WIDE:
        return Column(name=name, declared=declared, kind="decimal", digits=(WIDE[base], 0))
    if re.search(r"\]$|^(STRUCT|MAP|UNION)\b", declared):
        return Column(name=name, declared=declared, kind="json", own="json")
    kind = KINDS.get(base, "text")
    own = "text" if kind == "json" or base not in KINDS else ""
    return Column(name=name, declared=declared, kind=kind, digits=digits, own=own)


def from_sqlite(name: str, declared: str) -> Column:
    """Return a column of SQLite, from what its catalogue says."""
    declared = declared.removesuffix(" GENERATED ALWAYS")
    base, _ = split(declared)
    kind = next((kind for part, kind in SQLITE_KINDS if re.search(part, base)), "any")
    if not re.fullmatch(r"[\w ]*(\([\d ,]*\))?", declared):
        declared = _quote(declared)  # any text may stand there, as long as it is quoted
    return Column(name=name, declared=declared, kind=kind)
