"""The columns of a source: kinds of values, and their exact conversion to Arrow."""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute

from . import errors

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from .table import Table

pc: Any = pyarrow.compute  # its functions are created on import

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

_ARROW = {
    "null": "",
    "bool": "bool",
    "u?int(8|16|32)|int64": "bigint",
    "uint64": "decimal(20,0)",
    "halffloat|float|double": "double",
    "(large_)?string(_view)?": "text",
    r"((large|fixed_size)_)?binary(_view|\[.*)?": "binary",
    "date.*": "date",
    "time(32|64).*": "time",
    r"timestamp\[..?\]": "timestamp",
    "timestamp.*": "timestamptz",
    r"(large_)?list.*|fixed_size_list.*|struct.*|map.*|extension<arrow\.(json|uuid)>": "json",
}
"""The kinds of Arrow's types, by what they look like; json for what Python has to look into."""

_YEARS = (-62_135_596_800_000_000, 253_402_300_799_999_999, pa.int64())
_RANGES = {
    pa.date32(): (-719_162, 2_932_896, pa.int32()),
    pa.time64("us"): (0, 86_399_999_999, pa.int64()),
    pa.timestamp("us"): _YEARS,
    pa.timestamp("us", "UTC"): _YEARS,
}
"""Dates and times that every database can hold: years 1 to 9999, times before 24:00."""

_DECIMAL = (Decimal, int, float, str)
_TIMES = (date, datetime, time)
_NESTED = (dict, list, tuple)
_PYTHON: dict[pa.DataType, tuple[type, ...]] = {
    pa.int64(): (int,),  # no floats: Arrow would truncate them
    pa.float64(): (float, int, Decimal),
    pa.bool_(): (bool, int),
    pa.string(): (str, int, float, bool, Decimal, uuid.UUID, *_NESTED),
    pa.binary(): (bytes, bytearray, memoryview),
    pa.date32(): (date, str),
    pa.time64("us"): (time, str),
    pa.timestamp("us"): (datetime, str),
    pa.timestamp("us", "UTC"): (datetime, str),
}
"""The Python types that drivers may return for an Arrow type."""

USUAL: dict[type, str] = {
    str: "text",
    uuid.UUID: "text",
    int: "bigint",
    float: "double",
    Decimal: "decimal",
    bool: "bool",
    date: "date",
    time: "time",
    datetime: "timestamp",
    **dict.fromkeys((bytes, bytearray, memoryview), "binary"),
    **dict.fromkeys(_NESTED, "json"),
}
"""The kinds of Python types."""


@dataclass(frozen=True)
class Column:
    """A column of a source.

    Attributes:
        name: Its name.
        type: Its Arrow type; null if its declared type is unknown.
        select: SQL that reads it, in the source's dialect.
        is_json: Whether its texts are JSON.
        primary_key: Its position in the primary key, from 1; 0 if it is not part of it.
        declared: Its type in the source.
        order: SQL that sorts by its values; empty if it cannot be a cursor.
        as_text: Whether its values are read as text and parsed, because `Table.types` says so.
        not_null: Whether the source forbids nulls.
    """

    name: str
    type: pa.DataType
    select: str
    is_json: bool = False
    primary_key: int = 0
    declared: str = ""
    order: str = ""
    as_text: bool = False
    not_null: bool = False


def parse(kind: str) -> pa.DataType | None:
    """Return the Arrow type of a kind such as `text` or `decimal(18,2)`, or None."""
    digits = re.fullmatch(r"decimal\( *(\d+) *(?:, *(-?\d+) *)?\)", kind)
    if digits is None:
        return TYPES.get(kind)
    precision, scale = int(digits[1]), int(digits[2] or 0)
    # PostgreSQL also has numeric(3,5) and numeric(3,-2).
    precision, scale = max(precision - min(scale, 0), scale), max(scale, 0)
    return pa.decimal128(precision, scale) if 1 <= precision <= 38 else None


def kind(type_: pa.DataType) -> str:
    """Return the kind of an Arrow type, or its name if it has none; empty for the null type."""
    if pa.types.is_dictionary(type_):
        return kind(type_.value_type)
    if pa.types.is_decimal(type_):
        return f"decimal({min(type_.precision, 38)},{type_.scale})"
    return next((of for name, of in _ARROW.items() if re.fullmatch(name, str(type_))), str(type_))


def kinds(values: Sequence[Any]) -> set[str]:
    """Return the kinds of Python values; for a type without a kind, its name."""
    given = {*map(type, values)} - {type(None)}
    found = {USUAL.get(_base(one), one.__name__) for one in given}
    times = [value.tzinfo for value in values if isinstance(value, datetime)]
    return found - {"timestamp"} | {"timestamptz" if zone else "timestamp" for zone in times}


def join(*kinds: str) -> str | None:
    """Return the kind that can hold the values of all given kinds, or None."""
    found = {*kinds} - {""}
    if len(found) == 2 and "bigint" in found:  # `fit` refuses integers that a double cannot hold
        found -= {"bigint"} if found & {"double", "decimal"} else set()
    joined = "".join(found) if len(found) < 2 else "?"
    return None if joined and parse(joined) is None else joined


def _base(given: type) -> type:
    return next((base for base in given.__mro__ if base in USUAL), given)


def from_python(values: Sequence[Any], column: Column) -> pa.Array:
    """Make an array from a driver's values; `fit` casts it to the column's type.

    Raises:
        ValueError: A value is not of the column's type, though Arrow would accept it.
    """
    type_ = pa.string() if column.as_text else column.type
    found = {*map(_base, {*map(type, values)} - {type(None)})}
    if odd := found - {*_PYTHON.get(type_, _DECIMAL), *(_TIMES if column.as_text else ())}:
        names = ", ".join(sorted(kind.__name__ for kind in odd))
        raise ValueError(f"values of type {names}")
    if pa.types.is_timestamp(type_) or pa.types.is_time(type_):
        times = [value for value in values if isinstance(value, datetime | time)]
        if {value.tzinfo is not None for value in times} - {getattr(type_, "tz", None) is not None}:
            raise ValueError("times with a zone, or some without one")
        if any(getattr(value, "nanosecond", 0) for value in times):  # pandas.Timestamp
            raise ValueError("nanoseconds, or NaT")
    # As text: values that Arrow refuses, and integers, of which only 0 and 1 are booleans.
    as_texts = pa.types.is_string(type_) or pa.types.is_decimal(type_) or pa.types.is_boolean(type_)
    if found == {str} or as_texts:
        texts = values if found == {str} else [_text(value, column.is_json) for value in values]
        return pa.array(texts, pa.string())
    return pa.array(values, type_)


def _text(value: Any, is_json: bool) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return _json(value) if is_json or _base(type(value)) in _NESTED else str(value)


def _json(value: Any) -> str:
    """Return a value as JSON; times, decimals and UUIDs become text."""
    waiting = [value]
    for part in waiting:
        match part:
            case list() | tuple():
                waiting += part
            case dict():
                waiting += part.values()
                if odd := [key for key in part if not isinstance(key, str)]:
                    raise ValueError(f"a dict whose key {odd[0]!r} is no text")
    options: Any = {"ensure_ascii": False, "separators": (",", ":"), "allow_nan": False}
    return json.dumps(value, default=_plain, **options)


def _plain(value: Any) -> str:
    if isinstance(value, date | time | Decimal | uuid.UUID):
        return value.isoformat() if isinstance(value, date | time) else str(value)
    raise ValueError(f"values of type {type(value).__name__} in a list or dict")


def fit(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """Cast values to a type.

    Raises:
        ValueError: A value would change; may be an ArrowInvalid.
    """
    if pa.types.is_time(type_) and pa.types.is_string(array.type):  # Arrow parses timestamps only
        array = pc.binary_join_element_wise("1970-01-01", array, " ").cast(pa.timestamp("us"))
    given, array = array, array.cast(type_)
    if pa.types.is_decimal(type_):
        # Arrow 26 silently drops the upper bits of numbers that are too large, and digits beyond
        # 38: a comparison with floats shows it.
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
        array.validate(full=True)  # raises if it is not UTF-8
    return array


@contextlib.contextmanager
def refusing(table: Table | None, column: Column) -> Generator[None]:
    """Raise errors about a value with the name of its column."""
    try:
        yield
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise refused(table, column, str(error).splitlines()[0]) from error


def refused(table: Table | None, column: Column, what: str) -> errors.PermanentError:
    """Return the error for a value that does not fit its column, with the setting that reads it."""
    other = "text"
    if pa.types.is_string(column.type) and not column.select:  # from a function
        other = ""
    elif pa.types.is_string(column.type):
        other = "binary"
    elif column.type == TYPES["decimal"] and "loss" in what:
        other = "decimal(38,18)"
    elif "zone offset" in what:
        other = "timestamp" if "expected a zone" in what else "timestamptz"
    place = f"Column {column.name!r} ({column.declared}) of table {table and table.name!r}"
    message = f"{place} holds what {column.type} cannot: {what[:200]}. Correct it in the source"
    advice = f", or set types={{{column.name!r}: {other!r}}}" if other else ""
    return errors.PermanentError(f"{message}{advice}.")
