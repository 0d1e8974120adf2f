"""The columns of a source's table: what they are in Arrow, and the SQL that reads them exactly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from . import errors

TYPES: dict[str, pa.DataType] = {
    "text": pa.string(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "decimal": pa.decimal128(38, 9),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "binary": pa.binary(),
    "json": pa.string(),
}
"""The kinds of values there are, as `Table.types` writes them; a decimal may have digits."""

_NUMBERS = {"bigint", "double", "decimal"}
_TIMES = {"date", "timestamp", "timestamptz"}

_DIGITS = r"( *\(.*)?"
# Types of DuckDB that become a float within JSON, or a text that is not theirs.
_INEXACT = r"u?hugeint|bignum|bit|interval|blob|decimal|time with time zone"

# What the values of a declared type are, and what reads them; the first that fits.
_RULES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "postgresql": (
        (r".*\[\]|row|int2vector|oidvector", "json", "to_json({})::text"),
        ("smallint|integer|bigint", "bigint", "{}"),
        ("oid", "bigint", "{}::bigint"),
        ("real|double precision", "double", "{}"),
        (f"numeric{_DIGITS}", "decimal", "{}"),
        (f"(text|character|character varying){_DIGITS}", "text", "{}"),
        ("bytea", "binary", "{}"),
        ("boolean", "bool", "{}"),
        ("date", "date", "{}"),
        (r"time(\(\d\))? without time zone", "time", "{}"),
        (r"timestamp(\(\d\))? without time zone", "timestamp", "{}"),
        (r"timestamp(\(\d\))? with time zone", "timestamptz", "{}"),
        ("jsonb?", "json", "{}::text"),
        (".*", "text", "{}::text"),
    ),
    "duckdb": (
        (rf"(?=.*\]|struct|map|union|variant).*\b({_INEXACT})\b.*", "text", "{}::VARCHAR"),
        (r".*\]|(struct|map|union)\(.*|variant", "json", "to_json({})::VARCHAR"),
        ("u?(tiny|small)int|u?integer|bigint", "bigint", "{}"),
        ("ubigint", "decimal(20,0)", "{}"),
        ("u?hugeint", "decimal(38,0)", "{}::VARCHAR"),
        ("float|double", "double", "{}"),
        (f"decimal{_DIGITS}", "decimal", "{}"),
        ("varchar", "text", "{}"),
        ("blob", "binary", "{}"),
        ("boolean", "bool", "{}"),
        ("date", "date", "{}"),
        ("time(_ns)?", "time", "{}"),
        ("timestamp(_s|_ms|_ns)?", "timestamp", "{}"),
        ("timestamp with time zone", "timestamptz", "{}"),
        ("json", "json", "{}::VARCHAR"),
        (".*", "text", "{}::VARCHAR"),
    ),
    "mysql": (
        ("bigint.* unsigned.*", "decimal(20,0)", "{}"),
        (r"bit\(64\)", "decimal(20,0)", "{} + 0"),
        ("bit.*", "bigint", "{} + 0"),
        (r"(tiny|small|medium|big)?int\b.*|year.*", "bigint", "{}"),
        # The server sends a float with six digits, and a double with all of them.
        ("float.*", "double", "{} + 0e0"),
        ("double.*", "double", "{}"),
        (f"decimal{_DIGITS}", "decimal", "{}"),
        (r"((tiny|medium|long)?text|(var)?char|enum|set|time|uuid|inet\d)\b.*", "text", "{}"),
        ("date", "date", "{}"),
        ("datetime.*", "timestamp", "{}"),
        ("timestamp.*", "timestamptz", "{}"),
        ("json", "json", "{}"),
        (".*(blob|binary).*|.*(point|linestring|polygon|geometry|collection)", "binary", "{}"),
    ),
    # SQLite takes any words for a type; this is what people mean by them.
    "sqlite": (
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
        (".*(dec|num|money|currency).*", "decimal", "{}"),
    ),
}
# What reads any column as its source writes it; MySQL sends nothing else.
_TEXTS = {"postgresql": "{}::text", "duckdb": "{}::VARCHAR"}
# What reads a text as its bytes, which may be no UTF-8.
_BYTES = {
    "postgresql": "convert_to({}::text, getdatabaseencoding())",
    "sqlite": "CAST({} AS BLOB)",
}
# Texts in the order of their code points, whatever the column's collation.
_ORDERS = {
    "postgresql": '({}) COLLATE "C"',
    "duckdb": "({}) COLLATE C",
    "mysql": "CAST(CONVERT({} USING utf8mb4) AS BINARY)",
    "sqlite": "{} COLLATE BINARY",
}


@dataclass(frozen=True)
class Column:
    """A column of a source.

    Attributes:
        name: Its name.
        type: What its values are in Arrow.
        select: SQL that reads it, in the source's dialect.
        is_json: Whether its texts are JSON.
        primary_key: Its place in the primary key, from 1; 0 if it is none of it.
        declared: Its type, as the source writes it.
        order: SQL that orders as its values do; empty if it cannot be a cursor.
        as_text: Whether its values are to be parsed from texts, by the will of `Table.types`.
    """

    name: str
    type: pa.DataType
    select: str
    is_json: bool = False
    primary_key: int = 0
    declared: str = ""
    order: str = ""
    as_text: bool = False


def parse(kind: str) -> pa.DataType | None:
    """Return the Arrow type of a kind such as `text` or `decimal(18,2)`; None if there is none."""
    digits = _digits(kind)
    if digits is None or not kind.startswith("decimal"):
        return TYPES.get(kind)
    precision, scale = digits
    # PostgreSQL has numeric(3,5) and numeric(3,-2) as well.
    precision, scale = max(precision - min(scale, 0), scale), max(scale, 0)
    return pa.decimal128(precision, scale) if 1 <= precision <= 38 else None


def _digits(declared: str) -> tuple[int, int] | None:
    found = re.search(r"\( *(\d+) *(?:, *(-?\d+) *)?\)", declared)
    return (int(found[1]), int(found[2] or 0)) if found else None


def _natural(dialect: str, declared: str | sa.types.TypeEngine[Any]) -> tuple[str, str]:
    """Return the kind of a declared type and the SQL that reads it; no kind if none is known."""
    if not isinstance(declared, str):
        return _generic(declared), "{}"
    for pattern, kind, select in _RULES[dialect]:
        if re.fullmatch(pattern, declared.lower()):
            if kind == "decimal" and (digits := _digits(declared)):
                return "decimal({},{})".format(*digits), select
            # SQLite keeps what is declared without digits as floats.
            return "double" if kind == "decimal" and dialect == "sqlite" else kind, select
    return "", "{}"


def _generic(declared: sa.types.TypeEngine[Any]) -> str:
    match declared:
        case sa.Boolean():
            return "bool"
        case sa.Integer():
            return "bigint"
        case sa.Float():
            return "double"
        case sa.Numeric(precision=int() as precision, scale=scale):
            return f"decimal({precision},{scale or 0})"
        case sa.Numeric():
            return "decimal"
        case sa.DateTime(timezone=zone):
            return "timestamptz" if zone else "timestamp"
        case sa.Date():
            return "date"
        case sa.Time(timezone=False):
            return "time"
        case sa.JSON():
            return "json"
        case sa.LargeBinary() | sa.BINARY() | sa.VARBINARY():
            return "binary"
        case sa.String() | sa.Uuid():
            return "text"
        case _:
            return ""


def make(
    dialect: sa.Dialect, quoted: str, name: str, declared: Any, primary_key: int, wanted: str = ""
) -> Column:
    """Describe a column.

    Args:
        dialect: Dialect of the source.
        quoted: The column's name, as it stands in SQL.
        name: The column's name.
        declared: Its type: the source's word for it, or SQLAlchemy's type.
        primary_key: Its place in the primary key, from 1; 0 if it is none of it.
        wanted: The kind that `Table.types` asks for; empty if it does not.

    Raises:
        PermanentError: The values of its type are of no kind, or the wanted kind is none.
    """
    natural, select = _natural(dialect.name, declared)
    type_ = parse(wanted or natural)
    if type_ is None and wanted:
        known = ", ".join(kind for kind in TYPES if kind != "decimal")
        message = f"types has {wanted!r} for column {name!r}; there are {known}, decimal(p,s)"
        raise errors.PermanentError(f"{message} with up to 38 digits.")
    if type_ is None:
        said = f"the type {str(declared)!r}, which the pipeline does not know"
        message = f"Column {name!r} has {said if str(declared) else 'no declared type'}: say what"
        message = f"{message} it holds, as in types={{{name!r}: 'text'}}, or leave it out with"
        raise errors.PermanentError(f"{message} exclude=({name!r},).")
    was, kind = natural.partition("(")[0], (wanted or natural).partition("(")[0]
    # Another kind is read as the source writes it, then parsed: whatever does not fit is seen.
    # A time without a zone is in UTC.
    other = was != kind and not (was in _TIMES and kind in {"timestamp", "timestamptz"})
    if other and kind == "binary":
        select = _BYTES.get(dialect.name, "{}") if was == "text" else select
    elif other and was not in {"text", "json"}:
        select = _TEXTS.get(dialect.name, select)
        if dialect.name not in _RULES:
            select = str(sa.cast(sa.literal_column("{}"), sa.Text).compile(dialect=dialect))
    select = select.format(quoted)
    return Column(
        name=name,
        type=type_,
        select=select,
        is_json=kind == "json",
        primary_key=primary_key,
        declared=str(declared),
        order=_order(dialect.name, quoted, select, was, kind, str(declared)),
        as_text=other and kind != "binary",
    )


def _order(dialect: str, quoted: str, select: str, was: str, kind: str, declared: str) -> str:
    """Return the SQL that orders a column as its values are ordered; empty if there is none."""
    free = dialect == "sqlite" and not was  # an expression of a view
    if kind in _NUMBERS and (was in _NUMBERS or free):
        return quoted
    if kind in _TIMES and (was in _TIMES or dialect == "sqlite"):
        return quoted
    if kind in _TIMES and dialect in _TEXTS:
        return f"{quoted}::{kind}"
    if kind != "text" or (was != "text" and dialect not in _TEXTS and not free):
        return ""
    if was == "text" and select != quoted and declared.lower() not in {"uuid", "name", "citext"}:
        return ""  # a type with an order of its own, such as an interval
    return _ORDERS.get(dialect, "{}").format(f"CAST({select} AS TEXT)" if free else select)
