"""The columns of a source: what kinds of values there are, and how they become Arrow exactly."""

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
    from collections.abc import Iterator, Sequence

    from .table import Table

pc: Any = pyarrow.compute  # makes its functions when it is imported

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

_YEARS = (-62_135_596_800_000_000, 253_402_300_799_999_999, pa.int64())
_RANGES = {
    pa.date32(): (-719_162, 2_932_896, pa.int32()),
    pa.time64("us"): (0, 86_399_999_999, pa.int64()),
    pa.timestamp("us"): _YEARS,
    pa.timestamp("us", "UTC"): _YEARS,
}
"""What dates and times hold in every database: years 1 to 9999, times before 24:00."""

_DECIMAL = (Decimal, int, float, str)
_PYTHON: dict[pa.DataType, tuple[type, ...]] = {
    pa.int64(): (int,),  # no floats: Arrow would cut them
    pa.float64(): (float, int, Decimal),
    pa.bool_(): (bool, int),
    pa.string(): (str, int, float, bool, Decimal, uuid.UUID, dict, list),
    pa.binary(): (bytes, bytearray, memoryview),
    pa.date32(): (date, str),
    pa.time64("us"): (time, str),
    pa.timestamp("us"): (datetime, str),
    pa.timestamp("us", "UTC"): (datetime, str),
}
"""What drivers may give for a type, the usual one first."""


@dataclass(frozen=True)
class Column:
    """A column of a source.

    Attributes:
        name: Its name.
        type: Its type in Arrow; null if its declared type is unknown.
        select: SQL that reads it, in the source's dialect.
        is_json: Whether its texts are JSON.
        primary_key: Its place in the primary key, from 1; 0 if it is not part of it.
        declared: Its type, as the source writes it.
        order: SQL that orders as its values do; empty if it cannot be a cursor.
        as_text: Whether its values are parsed from texts, because `Table.types` says so.
        not_null: Whether the source allows no nulls in it.
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
    """Return the Arrow type of a kind such as `text` or `decimal(18,2)`; None if there is none."""
    digits = re.fullmatch(r"decimal\( *(\d+) *(?:, *(-?\d+) *)?\)", kind)
    if digits is None:
        return TYPES.get(kind)
    precision, scale = int(digits[1]), int(digits[2] or 0)
    # PostgreSQL has numeric(3,5) and numeric(3,-2) as well.
    precision, scale = max(precision - min(scale, 0), scale), max(scale, 0)
    return pa.decimal128(precision, scale) if 1 <= precision <= 38 else None


def usual(given: type) -> str:
    """Return the kind whose values drivers usually give as a Python type; empty if none."""
    found = (kind for kind, type_ in TYPES.items() if _PYTHON.get(type_, _DECIMAL)[0] is given)
    return "text" if given is uuid.UUID else next(found, "")


def from_python(values: Sequence[Any], column: Column) -> pa.Array:
    """Make an array of what a driver gave; `fit` gives it the column's type.

    Raises:
        ValueError: A value is not of the column's type, though Arrow would accept it.
    """
    type_ = pa.string() if column.as_text else column.type
    found = {*map(type, values)} - {type(None)}
    if odd := found - {*_PYTHON.get(type_, _DECIMAL)}:
        names = ", ".join(sorted(kind.__name__ for kind in odd))
        raise ValueError(f"values of type {names}")
    if pa.types.is_timestamp(type_):
        zones = {value.tzinfo is not None for value in values if isinstance(value, datetime)}
        if zones - {type_.tz is not None}:
            raise ValueError("times with a zone, or some without one")
    # As texts come what Arrow would not take, and integers of which 0 and 1 alone are booleans.
    texts = pa.types.is_string(type_) or pa.types.is_decimal(type_) or pa.types.is_boolean(type_)
    if found == {str} or texts:
        return pa.array(values if found == {str} else map(_text, values), pa.string())
    return pa.array(values, type_)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value) if type(value) in {dict, list} else str(value)


def fit(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """Give values their type.

    Raises:
        ValueError: A value would change; also as an ArrowInvalid.
    """
    if pa.types.is_time(type_) and pa.types.is_string(array.type):  # Arrow parses only whole times
        array = pc.binary_join_element_wise("1970-01-01", array, " ").cast(pa.timestamp("us"))
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


@contextlib.contextmanager
def refusing(table: Table | None, column: Column) -> Iterator[None]:
    """Turn an error about a value into one that names its column."""
    try:
        yield
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise refused(table, column, str(error).splitlines()[0]) from error


def refused(table: Table | None, column: Column, what: str) -> errors.PermanentError:
    """Return the error for a value that is not of its column's type, with what would read it."""
    other = "text"
    if pa.types.is_string(column.type):
        other = "binary"
    elif column.type == TYPES["decimal"] and "loss" in what:
        other = "decimal(38,18)"
    elif "zone offset" in what:
        other = "timestamp" if "expected a zone" in what else "timestamptz"
    place = f"Column {column.name!r} ({column.declared}) of table {table and table.name!r}"
    message = f"{place} holds what {column.type} cannot: {what[:200]}. Correct it in the source, or"
    return errors.PermanentError(f"{message} set types={{{column.name!r}: {other!r}}}.")
