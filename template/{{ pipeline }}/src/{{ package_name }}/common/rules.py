"""What must hold for a table, described as data; `common.quality` evaluates it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import timedelta


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
    """No two rows agree in all of the columns."""

    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ForeignKey(Rule):
    """Every row's column has a partner in another table of the warehouse; null has none."""

    column: str
    references: str
    referenced_column: str


@dataclass(frozen=True, kw_only=True)
class RowCount(Rule):
    """The table has at least, and at most, so many rows."""

    minimum: int = 1
    maximum: int | None = None


@dataclass(frozen=True, kw_only=True)
class Freshness(Rule):
    """The newest value of a date or time column is recent enough.

    Recent means: at most `max_age` before now (UTC) or, with `behind`, before the newest
    value of that other `(table, column)`.
    """

    column: str
    max_age: timedelta
    behind: tuple[str, str] | None = None
