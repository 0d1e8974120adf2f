"""Types and validates a table by its schema; needs pandas, pandera and pyarrow, not Prefect."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow
from pandera import dtypes
from pandera.errors import SchemaError, SchemaErrors

from ..common import errors
from . import reading
from .transform import Cleaned, Finding

if TYPE_CHECKING:
    from collections.abc import Iterable

SHOWN = 5
"""Lines that a finding names at most."""

NAMES = {
    "column_in_dataframe": "there is no column",
    "column_in_schema": "the schema has no column",
}
"""pandera's checks of column names, in words."""


class Cleaning:
    """The cleaning of one file."""

    def __init__(
        self, source: reading.Source, schema: pa.DataFrameSchema | type[pa.DataFrameModel]
    ) -> None:
        made = schema if isinstance(schema, pa.DataFrameSchema) else schema.to_schema()
        self.source, self.schema = source, copy.deepcopy(made)
        # pandera does not report the rows that it drops itself.
        self.drop, self.schema.drop_invalid_rows = made.drop_invalid_rows, False
        self.violations: list[tuple[str, str, list[int]]] = []

    def run(self) -> Cleaned:
        """Type the columns, then drop or refuse the rows that violate the schema."""
        table = self.typed()
        while True:
            try:
                kept = self.schema.validate(table, lazy=True)
            except SchemaErrors as error:
                # Without these rows, checks of the whole table may fail: repeat all of them.
                table = table.drop(index=self.judged(error.failure_cases))
            except SchemaError as error:
                raise self.refusal([str(error.reason_code)]) from error
            else:
                read = self.source.table.num_rows
                kept = kept if len(kept) == read else kept.reset_index(drop=True)
                return Cleaned(table=kept, read=read, findings=self.findings())

    def typed(self) -> pd.DataFrame:
        """Return the rows whose values fit the types of their columns, with their old numbers."""
        columns: dict[str, tuple[arrow.Array, Any]] = {}
        bad = np.zeros(self.source.table.num_rows, dtype=bool)
        for name in self.source.table.column_names:
            rule = self.rule(name)
            if rule is None and self.schema.strict == "filter":
                continue
            kind = getattr(rule, "dtype", None)
            dtype = getattr(kind, "type", None)
            values = self.source.table[name].combine_chunks()
            try:
                result = reading.exact(values, _arrow_type(kind) or values.type)
            except reading.UnfitError as error:
                line = self.source.lines({error.row})[error.row]
                message = f"column {name}: {error}, first in line {line:,}. Check the schema"
                raise self.refusal([message]) from None
            except errors.PermanentError as error:
                raise self.refusal([f"column {name}: {error}"]) from None
            if isinstance(dtype, pd.CategoricalDtype) and dtype.categories is not None:
                known = result.to_pandas().isin(dtype.categories).to_numpy()
                result = reading.pc.if_else(known, result, None)
            if result.null_count > values.null_count:
                lost = np.asarray(result.is_null()) & np.asarray(values.is_valid())
                bad |= self.noted(name, f"not {kind}", lost)
            if values.null_count and isinstance(dtype, np.dtype) and dtype.kind in "biu":
                if rule is not None and rule.default is not None:  # pandera fills it in too late
                    result = reading.pc.fill_null(result, rule.default)
                elif rule is not None and rule.nullable:
                    message = f"column {name}: {dtype} holds no nulls. Use Int64, boolean or such"
                    raise self.refusal([message])
                else:
                    bad |= self.noted(name, "not_nullable", np.asarray(values.is_null()))
            columns[name] = result, dtype
        if self.violations and not self.drop:
            raise self.refusal([])
        good = arrow.array(~bad)
        made: dict[str, Any] = {}
        for name, (values, dtype) in columns.items():
            try:
                made[name] = _pandas(values.filter(good) if bad.any() else values, dtype)
            except (TypeError, ValueError):
                message = f"column {name}: not all values are {dtype}. Check the schema"
                raise self.refusal([message]) from None
        table = pd.DataFrame(made, copy=False)
        return table.set_axis(np.flatnonzero(good)) if bad.any() else table

    def rule(self, name: str) -> pa.Column | None:
        """Return the column of the schema for a name, or None."""
        for key, rule in self.schema.columns.items():
            if key == name or (rule.regex and re.match(key, name)):
                return rule
        return None

    def judged(self, cases: pd.DataFrame) -> list[int]:
        """Record pandera's findings, and return the rows to drop, or raise if that cannot help."""
        whole = cases["index"].isna()
        rows = cases[~whole]
        if len(rows):
            wide = rows["schema_context"] == "DataFrameSchema"
            unique = rows["check"] == "multiple_fields_uniqueness"
            column = rows["column"].mask(wide, "row")
            column = column.mask(wide & unique, ", ".join(self.schema.unique or []))
            for (name, check), found in rows["index"].groupby([column, rows["check"]], sort=False):
                self.violations.append((str(name), str(check), sorted(set(found))))
        if self.drop and len(rows):
            return list(rows["index"].unique())
        problems = []
        for case in cases[whole].to_dict("records"):
            if case["check"] in NAMES:
                problems.append(f"{NAMES[case['check']]} {case['failure_case']}")
            else:
                problems.append(f"{case['column'] or 'table'}: {case['check']}")
        raise self.refusal(problems)

    def noted(self, column: str, rule: str, mask: np.ndarray[Any, np.dtype[np.bool_]]) -> Any:
        """Record which rows violate a rule."""
        if mask.any():
            self.violations.append((column, rule, np.flatnonzero(mask).tolist()))
        return mask

    def findings(self) -> tuple[Finding, ...]:
        """Return the recorded violations."""
        first = {row for _, _, rows in self.violations for row in rows[:SHOWN]}
        lines = self.source.lines(first)
        return tuple(
            Finding(
                column=column,
                rule=rule,
                rows=len(rows),
                lines=tuple(lines[row] for row in rows[:SHOWN]),
            )
            for column, rule, rows in self.violations
        )

    def refusal(self, problems: Iterable[str]) -> errors.PermanentError:
        """Return the error that names all problems."""
        found = [str(finding) for finding in self.findings()]
        advice = " Fix the file, or drop such rows by drop_invalid_rows=True." if found else ""
        text = "; ".join([*problems, *found])
        return errors.PermanentError(f"{self.source.name}: {text}.{advice}")


def _arrow_type(rule: Any) -> arrow.DataType | None:
    """Return the Arrow type with the same values as a pandera type, or None."""
    dtype = getattr(rule, "type", None)
    if isinstance(dtype, pd.CategoricalDtype) and dtype.categories is not None:
        dtype = dtype.categories.dtype
    if isinstance(dtype, pd.ArrowDtype):
        return dtype.pyarrow_dtype
    if isinstance(dtype, pd.DatetimeTZDtype):
        return arrow.timestamp(dtype.unit, str(dtype.tz))
    numpy = getattr(dtype, "numpy_dtype", dtype)
    if isinstance(numpy, np.dtype) and numpy.kind in "biufM":
        return arrow.from_numpy_dtype(numpy)
    if isinstance(rule, dtypes.Decimal):
        return arrow.decimal128(rule.precision, rule.scale)
    if isinstance(rule, dtypes.Date):
        return arrow.date32()
    is_text = isinstance(rule, dtypes.String) or isinstance(dtype, pd.StringDtype)
    return arrow.large_string() if is_text else None


def _pandas(values: arrow.Array, dtype: Any) -> Any:
    odd = pd.PeriodDtype | pd.IntervalDtype  # they would misread Arrow text
    if hasattr(dtype, "__from_arrow__") and not isinstance(dtype, odd):
        return dtype.__from_arrow__(values)
    if isinstance(dtype, pd.CategoricalDtype):
        return pd.Categorical(values.to_pandas(), dtype=dtype)
    made = values.to_pandas(integer_object_nulls=True)
    # NumPy's text type would turn a null into the text "None".
    is_text = isinstance(dtype, np.dtype) and dtype.kind == "U"
    return made if dtype is None or is_text else made.astype(dtype)
