"""Values as the drivers of SQLite and DuckDB give them, a column of a batch at a time.

What comes out is the same for every database: Python's own `int`, `float`, `Decimal`, `str`,
`bool`, `date`, `time`, `datetime` (with UTC where the column has a time zone), `bytes`, `UUID`,
and None. Times without a zone may stay texts in the usual form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC
from datetime import date
from datetime import datetime
from datetime import time
from decimal import Decimal
from decimal import InvalidOperation
from typing import Any

Values = Sequence[Any]
Convert = Callable[[Values], Values]

NONE = type(None)

_USUAL = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{1,6})?\Z").match

# What DuckDB gives for infinity.
_LAST = datetime.max  # noqa: DTZ901 - without a time zone, as it comes


class RefusedError(ValueError):
    """A column holds a value that would not survive; the text says which kind of value."""


def _only(values: Values, *types: type) -> None:
    if odd := set(map(type, values)) - {*types, NONE}:
        names = ", ".join(sorted(type_.__name__ for type_ in odd))
        raise RefusedError(f"holds values of type {names}, which its declared type does not tell")


def _check(*types: type) -> Convert:
    def check(values: Values) -> Values:
        _only(values, *types)
        return values

    return check


def parse(values: Values, read: Callable[[Any], Any], *types: type) -> Values:
    """Turn each value of some types into another; refuse those that cannot be.

    Args:
        values: A column.
        read: What turns one value into another.
        types: Types that the values may have; null is always fine.

    Returns:
        The column.

    Raises:
        RefusedError: A value is of another type, or `read` fails on it.
    """
    _only(values, *types)
    try:
        return [None if value is None else read(value) for value in values]
    except (ValueError, InvalidOperation):
        raise RefusedError("holds text that is not a value of its declared type") from None


def _decimal(value: float | str) -> Decimal:
    return Decimal(value if isinstance(value, (int, str)) else repr(value))


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else repr(value)


def _float(value: float | str) -> float:
    # SQLite has no NaN of its own; it is kept as text.
    if isinstance(value, str) and value != "NaN":
        raise ValueError(value)
    return float(value)


def _boolean(value: int) -> bool:
    if value not in {0, 1}:
        raise ValueError(value)
    return bool(value)


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _timestamp(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)


def _floats(values: Values) -> Values:
    return values if {float, NONE}.issuperset(map(type, values)) else _parse_floats(values)


def _parse_floats(values: Values) -> Values:
    return parse(values, _float, float, int, str)


def _texts(values: Values) -> Values:
    return values if {str, NONE}.issuperset(map(type, values)) else _parse_texts(values)


def _parse_texts(values: Values) -> Values:
    return parse(values, _text, str, int, float)


def _timestamps(values: Values) -> Values:
    """Leave the usual texts as they are: other databases read them faster than Python."""
    _only(values, str)
    if all(map(_USUAL, filter(None, values))) and "" not in values:
        return values
    return parse(values, _timestamp, str)


FROM_SQLITE: dict[str, Convert] = {
    "integer": _check(int),
    "float": _floats,
    "decimal": lambda values: parse(values, _decimal, int, float, str),
    "text": _texts,
    "any": _texts,
    "boolean": lambda values: parse(values, _boolean, int),
    "date": lambda values: parse(values, date.fromisoformat, str),
    "time": lambda values: parse(values, time.fromisoformat, str),
    "timestamp": _timestamps,
    "timestamptz": lambda values: parse(values, lambda v: _utc(datetime.fromisoformat(v)), str),
    "bytes": _check(bytes),
}
"""SQLite takes any value in any column, so each has to be looked at."""


def _finite(type_: type, highest: object) -> Convert:
    def check(values: Values) -> Values:
        # The driver gives a text for what Python cannot hold, and the highest for infinity.
        if not {type_, NONE}.issuperset(map(type, values)) or highest in values:
            raise RefusedError("holds infinity, or a date after the year 9999")
        return values

    return check


def _with_utc(values: Values) -> Values:
    _finite(datetime, _LAST)(values)
    return [None if value is None else value.replace(tzinfo=UTC) for value in values]


FROM_DUCKDB: dict[str, Convert] = {
    "date": _finite(date, date.max),
    "timestamp": _finite(datetime, _LAST),
    "timestamptz": _with_utc,
}
