"""How a table is read, typed and cleaned; needs pandas, not Prefect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from ..common import errors
from .rules import Cleaned, Finding

if TYPE_CHECKING:
    from pathlib import Path

    from .rules import Column, Rules

EXACT = 2**53
"""Up to here, every whole number is a floating-point number."""

BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV file as text, so that the rules and not a guess decide on the types.

    Args:
        path: The file, in UTF-8 with a header line.

    Returns:
        The table, of shape (lines, fields), all of them text.

    Raises:
        PermanentError: The file is missing, empty or not a CSV file.
    """
    try:
        return pd.read_csv(path, dtype="string", keep_default_na=False)
    except pd.errors.EmptyDataError:
        raise errors.PermanentError(f"{path} is empty.") from None
    except FileNotFoundError:
        raise errors.PermanentError(f"There is no file {path}.") from None
    except (OSError, UnicodeDecodeError, pd.errors.ParserError) as error:
        message = f"{path} cannot be read as CSV: {type(error).__name__}."
        raise errors.PermanentError(message) from error


class Cleaning:
    """One table on its way through its rules."""

    def __init__(self, table: pd.DataFrame, rules: Rules) -> None:
        """Check that the columns are there.

        Args:
            table: The table, of shape (rows, columns).
            rules: Its rules.

        Raises:
            PermanentError: A required column is missing, or a name stands for two columns.
        """
        names = list(map(str, table.columns))
        if missing := [c.name for c in rules.columns if c.required and c.name not in names]:
            found = ", ".join(names) or "none"
            raise errors.PermanentError(
                f"Table {rules.name!r} has no column {', '.join(missing)}. Its columns: {found}."
            )
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            message = f"Table {rules.name!r} has two columns called {', '.join(doubled)}."
            raise errors.PermanentError(message)
        self.rules = rules
        self.source = table.set_axis(names, axis="columns").reset_index(drop=True)
        self.alive = pd.Series(data=True, index=self.source.index, dtype=bool)
        self.findings: list[Finding] = []

    def run(self) -> Cleaned:
        """Apply all rules.

        Returns:
            What is left, with the findings.

        Raises:
            PermanentError: A rule says to fail, or too few rows are left.
        """
        declared = [column.name for column in self.rules.columns]
        for name in self.source.columns:
            if name not in declared:
                self._note(name, "not declared", "column left out", len(self.source))
        result = pd.DataFrame(index=self.source.index)
        for column in self.rules.columns:
            if column.name in self.source:
                result[column.name] = self._clean(column)
        unique = [name for name in self.rules.unique if name in result]
        if unique:
            repeated = result[self.alive].duplicated(unique)
            mask = repeated.reindex(result.index, fill_value=False)
            self._treat(mask, ", ".join(unique), "repeats an earlier row", "drop")
        table = result[self.alive].reset_index(drop=True)
        if len(table) < self.rules.minimum_rows:
            raise errors.PermanentError(
                f"Table {self.rules.name!r} has {len(table):,} good rows of"
                f" {len(self.source):,}; it needs at least {self.rules.minimum_rows:,}."
            )
        return Cleaned(table=table, read=len(self.source), findings=tuple(self.findings))

    def _clean(self, column: Column) -> pd.Series:
        raw = _strip(self.source[column.name], self.rules.null_values)
        values = _convert(raw, column)
        values = self._fault(values, raw.notna() & values.isna(), column, f"not {column.type}")
        if column.minimum is not None:
            text = f"below {column.minimum:g}"
            values = self._fault(values, values < column.minimum, column, text)
        if column.maximum is not None:
            text = f"above {column.maximum:g}"
            values = self._fault(values, values > column.maximum, column, text)
        if column.allowed:
            unknown = values.notna() & ~values.isin(list(column.allowed))
            values = self._fault(values, unknown, column, "not an allowed value")
        if column.nulls != "keep":
            self._treat(values.isna(), column.name, "no value", column.nulls)
        return values.astype("category") if column.type == "category" else values

    def _fault(self, values: pd.Series, mask: pd.Series, column: Column, rule: str) -> pd.Series:
        mask = mask.fillna(value=False).astype(bool)
        self._treat(mask, column.name, rule, column.faults)
        # A null where the row is dropped anyway, so that no later rule counts it again.
        return values.mask(mask)

    def _treat(self, mask: pd.Series, column: str, rule: str, action: str) -> None:
        mask &= self.alive
        rows = int(mask.sum())
        if not rows:
            return
        if action == "fail":
            message = f"Table {self.rules.name!r}, column {column}: {rule} in {rows:,} rows."
            raise errors.PermanentError(message)
        if action == "drop":
            self.alive &= ~mask
        self._note(column, rule, "row dropped" if action == "drop" else "set to null", rows)

    def _note(self, column: str, rule: str, action: str, rows: int) -> None:
        self.findings.append(Finding(column=column, rule=rule, action=action, rows=rows))


def _strip(values: pd.Series, null_values: tuple[str, ...]) -> pd.Series:
    if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_datetime64_any_dtype(values):
        return values
    text = values.astype("string").str.strip()
    return text.mask(text.isin(list(null_values)))


def _convert(values: pd.Series, column: Column) -> pd.Series:
    match column.type:
        case "integer":
            return _integers(values)
        case "number":
            numbers = pd.to_numeric(values, errors="coerce").astype("Float64")
            return numbers.mask(numbers.abs() == float("inf"))
        case "boolean":
            return values.astype("string").str.lower().map(BOOLEANS).astype("boolean")
        case "timestamp":
            if not pd.api.types.is_datetime64_any_dtype(values):
                values = values.astype("string")
            return pd.to_datetime(values, errors="coerce", utc=True, format="ISO8601")
        case _:
            return values.astype("string")


def _integers(values: pd.Series) -> pd.Series:
    """Convert to whole numbers; what is not one, or cannot be told exactly, becomes null."""
    numbers = pd.to_numeric(values, errors="coerce", dtype_backend="numpy_nullable")
    if pd.api.types.is_signed_integer_dtype(numbers):
        return numbers.astype("Int64")
    numbers = numbers.astype("Float64")
    whole = (numbers.abs() <= EXACT) & (numbers % 1 == 0)
    return numbers.where(whole.fillna(value=False)).astype("Int64")
