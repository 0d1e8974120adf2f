"""A table to ingest, described as data."""

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


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of the source, and how it gets into the warehouse.

    Attributes:
        name: Name of the table, in the source and in the warehouse.
        key: Columns that tell its rows apart. Rows without a key are rejected.
        mode: `full` reads the whole table each time and deletes what is gone from the source;
            `incremental` reads what the cursor says is new, and never deletes.
        cursor: Column that never falls as rows come in or change; for `incremental`.
        lookback: Rows this much older than the newest one are read again, for late arrivals.
        schema: Schema of the table in the source; none means the default one.
        rules: What must hold for it in the warehouse.
    """

    name: str
    key: tuple[str, ...]
    mode: Literal["full", "incremental"] = "full"
    cursor: str | None = None
    lookback: timedelta | None = None
    schema: str | None = None
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a description that could not work, where it is written."""
        if not self.key:
            raise ValueError(f"Table {self.name!r} needs a key.")
        if (self.mode == "incremental") != (self.cursor is not None):
            raise ValueError(f"Table {self.name!r}: a cursor goes with mode='incremental'.")
