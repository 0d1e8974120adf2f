"""What must hold for a table, described as data; `common.checks` evaluates it.

Rules about the rows themselves (not null, unique, accepted values, range, row count, own SQL)
of severity `fail` are checked before the rows are published. Rules that compare tables, and all
of severity `warn`, are checked in the warehouse afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import date, datetime, timedelta
    from decimal import Decimal

    Value = bool | int | float | str | date | datetime | Decimal


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What must hold for a table. `warn` reports a violation, `fail` also fails the run."""

    severity: Literal["warn", "fail"] = "fail"


@dataclass(frozen=True, kw_only=True)
class NotNull(Rule):
    """No row has a null in the column."""

    column: str


@dataclass(frozen=True, kw_only=True)
class Unique(Rule):
    """No two rows agree in all of the columns; as in SQL, rows with a null agree with none."""

    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class AcceptedValues(Rule):
    """Every value of the column is one of these; nulls are left to `NotNull`."""

    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class Range(Rule):
    """Every value of the column lies between the bounds, which are included."""

    column: str
    minimum: Value | None = None
    maximum: Value | None = None


@dataclass(frozen=True, kw_only=True)
class RowCount(Rule):
    """The table has at least, and at most, so many rows."""

    minimum: int = 1
    maximum: int | None = None


@dataclass(frozen=True, kw_only=True)
class Dropped(Rule):
    """A load drops at most so many rows: those without a key or cursor, and duplicates."""

    maximum: int = 0


@dataclass(frozen=True, kw_only=True)
class Sql(Rule):
    """A condition of your own, in DuckDB's SQL, that every row fulfils; null counts as fulfilled.

    For example `Sql(name="arrives after it departs", condition="arrived >= departed")`.
    """

    name: str
    condition: str


@dataclass(frozen=True, kw_only=True)
class ForeignKey(Rule):
    """Every row's column has a partner in another table of the warehouse; null has none."""

    column: str
    references: str
    referenced_column: str


@dataclass(frozen=True, kw_only=True)
class Freshness(Rule):
    """The newest date or time is at most `max_age` before now (UTC).

    With `behind`, before the newest value of that other `(table, column)`.
    """

    column: str
    max_age: timedelta
    behind: tuple[str, str] | None = None
