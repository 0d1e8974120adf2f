"""What `transform_data` is told about a table, and what it tells about it; no pandas needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from ..common import errors

if TYPE_CHECKING:
    import pandas as pd

ColumnType = Literal["text", "category", "integer", "number", "boolean", "timestamp"]
Nulls = Literal["keep", "drop", "fail"]
Faults = Literal["drop", "null", "fail"]
NUMERIC = frozenset({"integer", "number"})
TEXTUAL = frozenset({"text", "category"})


@dataclass(frozen=True, kw_only=True)
class Column:
    """The rules of one column.

    Attributes:
        name: Name of the column.
        type: What its values are; text in the table is converted. `timestamp` reads ISO 8601
            and is in UTC.
        nulls: What happens to a row that has no value here.
        faults: What happens to a value that is not of the type, out of range or not allowed:
            its row is dropped, it becomes null, or the task fails.
        minimum: Smallest value allowed, for `integer` and `number`.
        maximum: Largest value allowed, for `integer` and `number`.
        allowed: The only values allowed, for `text` and `category`; empty allows all.
        required: Whether the table must have the column.
    """

    name: str
    type: ColumnType
    nulls: Nulls = "keep"
    faults: Faults = "drop"
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] = ()
    required: bool = True

    def __post_init__(self) -> None:
        """Check that the rules are known and fit together.

        Raises:
            PermanentError: They do not.
        """
        for rule, known in (("type", ColumnType), ("nulls", Nulls), ("faults", Faults)):
            if getattr(self, rule) not in get_args(known):
                choices = ", ".join(get_args(known))
                message = f"Column {self.name!r}: `{rule}` must be one of {choices}."
                raise errors.PermanentError(message)
        bounded = self.minimum is not None or self.maximum is not None
        if bounded and self.type not in NUMERIC:
            raise errors.PermanentError(f"Column {self.name!r}: only numbers have a range.")
        if self.allowed and self.type not in TEXTUAL:
            raise errors.PermanentError(f"Column {self.name!r}: only text has allowed values.")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules of a table.

    Attributes:
        name: Name of the table, for the log and the key of the artifact.
        columns: The columns to keep, in order; all others are left out.
        unique: Columns that together identify a row; the first row of each is kept. Empty
            means that rows may be equal.
        null_values: Text that stands for no value, after blanks around it are removed.
        minimum_rows: The task fails if fewer rows are left.
    """

    name: str
    columns: tuple[Column, ...]
    unique: tuple[str, ...] = ()
    null_values: tuple[str, ...] = ("", "NA")
    minimum_rows: int = 1

    def __post_init__(self) -> None:
        """Check that the rules fit together.

        Raises:
            PermanentError: They do not.
        """
        names = [column.name for column in self.columns]
        if len(set(names)) < len(names):
            raise errors.PermanentError(f"Table {self.name!r}: a column has two entries.")
        if unknown := [name for name in self.unique if name not in names]:
            message = f"Table {self.name!r}: `unique` names {', '.join(unknown)}, not a column."
            raise errors.PermanentError(message)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a rule changed.

    Attributes:
        column: The column; several are joined by a comma.
        rule: The rule in words.
        action: What was done: `row dropped`, `set to null` or `column left out`.
        rows: How many rows it concerns.
    """

    column: str
    rule: str
    action: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """A table that keeps its rules, and what was done to it.

    Attributes:
        table: The table, of shape (rows kept, columns of the rules), indexed from 0.
        read: Rows before.
        findings: What was dropped and why. Each dropped row counts once, for the first rule
            that it violates.
    """

    table: pd.DataFrame
    read: int
    findings: tuple[Finding, ...]

    @property
    def kept(self) -> int:
        """Rows after."""
        return len(self.table)
