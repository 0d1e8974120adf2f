"""The task that cleans and types a table."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run

from ..common import artifact_keys, errors, extras, files, reporting

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import pandera.pandas as pa


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A violated rule, the number of rows that violate it, and the lines of the first ones.

    The column is `row` for a check of whole rows. The rule has pandera's name, or is `not int64`
    and the like for a value that the type cannot hold exactly. For Parquet, lines are row numbers.
    """

    column: str
    rule: str
    rows: int
    lines: tuple[int, ...]

    def __str__(self) -> str:
        """Return the finding in words."""
        lines = ", ".join(f"{line:,}" for line in self.lines)
        rows = f"{self.rows:,} row{'s' if self.rows != 1 else ''}"
        return f"column {self.column}: {self.rule}, {rows}, first in line {lines}"


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """A table that fits its schema, the number of rows read, and why some were dropped.

    A row that violates several rules counts in several findings.
    """

    table: pd.DataFrame
    read: int
    findings: tuple[Finding, ...]

    @property
    def kept(self) -> int:
        """Number of rows after cleaning."""
        return len(self.table)


def _name() -> str:
    given = task_run.parameters
    return f"transform-{given['name'] or files.public_name(given['source']).rpartition('/')[2]}"


# Not cached: the key would need to read the whole file again. Not retried: a failure would occur
# again. The run's name does not contain the whole source, which may hold a secret.
@task(task_run_name=_name, tags={"data"}, cache_policy=NO_CACHE)
def transform_data(
    source: str | Path,
    schema: pa.DataFrameSchema | type[pa.DataFrameModel],
    *,
    target: str | Path | None = None,
    name: str = "",
    delimiter: str = ",",
    encoding: str = "utf-8",
    null_values: Sequence[str] = ("",),
) -> Cleaned:
    """Read a file into a table by a pandera schema, and report dropped rows with the reasons.

    Needs the extra `pandas`. No type or format is guessed: numbers keep every digit, times are ISO
    8601 and have a zone if, and only if, the column has one, booleans are true, false, 1 or 0. A
    row with a value that its type cannot hold exactly, or that violates a check, is dropped if the
    schema has `drop_invalid_rows`; otherwise the task fails.
    The findings are in the log and in a table artifact.

    Args:
        source: Path of a CSV file with a header, or of a Parquet file.
        schema: Schema of the table; `strict="filter"` drops other columns.
        target: Path of a `.parquet` or `.csv` file to write; None writes nothing.
        name: Name of the table, for the log and the artifact; the default is the file's name.
        delimiter: Delimiter of a CSV file.
        encoding: Encoding of a CSV file.
        null_values: Texts in a CSV file that mean null.

    Raises:
        MissingExtraError: The extra is not installed.
        PermanentError: The file cannot be read, or the table does not fit the schema.
    """
    with extras.required("pandas"):
        from . import cleaning, reading
    if not isinstance(source, str | Path):
        message = "source is no path. A DataFrame is checked by schema.validate(table, lazy=True)."
        raise errors.PermanentError(message)
    if isinstance(null_values, str):
        raise errors.PermanentError(f"null_values is a text: give a list, ({null_values!r},).")
    shown = files.public_name(source)
    if re.match(files.URL, str(source)):
        raise errors.PermanentError(f"{shown} is a URL: get the file by download_data.")
    if target is not None and Path(target).suffix not in {".csv", ".parquet"}:
        message = f"{files.public_name(target)} is neither .csv nor .parquet."
        raise errors.PermanentError(message)
    name, path = name or Path(shown).stem, Path(source)
    content = reading.Source(path, delimiter, encoding, null_values)
    cleaned = cleaning.Cleaning(content, schema).run()
    if target is not None:
        with files.replacing(Path(target)) as partial:
            if Path(target).suffix == ".csv":
                cleaned.table.to_csv(partial, index=False)
            else:
                try:
                    cleaned.table.to_parquet(partial, index=False)
                except (TypeError, ValueError) as error:  # from Arrow
                    message = f"{files.public_name(target)}: {error.args[-1]}. Give it one type"
                    raise errors.PermanentError(f"{message} by the schema.") from None
    logger = reporting.logger(__name__)
    logger.info("%s: %s of %s rows kept", name, f"{cleaned.kept:,}", f"{cleaned.read:,}")
    for finding in cleaned.findings:
        logger.warning("%s, %s", name, finding)
    reporting.table_artifact(
        artifact_keys.of_step("transform", name),
        [asdict(one) | {"lines": ", ".join(map(str, one.lines))} for one in cleaned.findings],
        f"`{name}`: {cleaned.kept:,} of {cleaned.read:,} rows kept",
    )
    return cleaned
