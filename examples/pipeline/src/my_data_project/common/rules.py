"""Quality rules of a table, described as data; `common.checks` evaluates them.

Rules of severity `fail` about the rows themselves (not null, unique, accepted values, range, row
count, own SQL) are checked before the rows are published. Rules that compare tables, and all
rules of severity `warn`, are checked in the warehouse afterwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from datetime import date, datetime

    Value = bool | int | float | str | date | datetime | Decimal


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A quality rule. Severity `warn` reports a violation, `fail` also fails the run."""

    severity: Literal["warn", "fail"] = "fail"

    def __post_init__(self) -> None:
        """Refuse wrong arguments where the rule is written."""
        if fault := _fault(self):
            raise ValueError(f"{self}: {fault}.")


@dataclass(frozen=True, kw_only=True)
class NotNull(Rule):
    """No row has a null in the column."""

    column: str


@dataclass(frozen=True, kw_only=True)
class Unique(Rule):
    """No two rows have the same values in all of the columns; as in SQL, nulls are not equal."""

    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class AcceptedValues(Rule):
    """Every value of the column is one of these; nulls are left to `NotNull`."""

    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class Range(Rule):
    """Every value of the column lies between the bounds, both inclusive."""

    column: str
    minimum: Value | None = None
    maximum: Value | None = None


@dataclass(frozen=True, kw_only=True)
class RowCount(Rule):
    """The number of rows lies between the bounds, both inclusive."""

    minimum: int = 1
    maximum: int | None = None


@dataclass(frozen=True, kw_only=True)
class Dropped(Rule):
    """A load drops at most `maximum` rows: those without a key or cursor, and duplicates."""

    maximum: int = 0


@dataclass(frozen=True, kw_only=True)
class Sql(Rule):
    """A condition in DuckDB's SQL that every row meets; null counts as met.

    For example `Sql(name="arrives after it departs", condition="arrived >= departed")`.
    """

    name: str
    condition: str


@dataclass(frozen=True, kw_only=True)
class ForeignKey(Rule):
    """Every value of the column is in another table of the warehouse; a null is a violation."""

    column: str
    references: str
    referenced_column: str


@dataclass(frozen=True, kw_only=True)
class Freshness(Rule):
    """The newest date or time is at most `max_age` before now (UTC).

    With `behind`, it is compared with the newest value of that other `(table, column)`.
    """

    column: str
    max_age: timedelta
    behind: tuple[str, str] | None = None


def _fault(rule: Any) -> str:
    """Return what is wrong with the arguments of a rule, or an empty text."""
    match rule:
        case Rule(severity=severity) if severity not in ("warn", "fail"):
            return "severity is 'warn' or 'fail'"
        case Unique(columns=many) | AcceptedValues(values=many) if not _is_filled(many):
            return "columns and values are tuples, neither empty nor with NaN, such as ('a',)"
        case Range(minimum=low, maximum=high) if {low, high} == {None} or _is_odd(low, high):
            return "it needs a minimum or a maximum, other than NaN and infinity"
        case RowCount(minimum=low, maximum=high) if not _are_counts(low, high or 0):
            return "minimum and maximum are numbers of rows"
        case Dropped(maximum=high) if not _are_counts(high):
            return "maximum is a number of rows"
        case Freshness(max_age=age) if not isinstance(age, timedelta):
            return "max_age is a timedelta"
        case Freshness(behind=other) if other and not (_is_filled(other) and len(other) == 2):
            return "behind is a table and its column, such as ('orders', 'changed_at')"
    return ""


def _is_filled(many: Any) -> bool:
    return isinstance(many, tuple) and not {*many} <= {None} and not _is_odd(*many)


def _is_odd(*values: Any) -> bool:
    return any(isinstance(one, float | Decimal) and not math.isfinite(one) for one in values)


def _are_counts(*values: Any) -> bool:
    return all(isinstance(one, int) and one >= 0 for one in values)
