"""The task that cleans and types a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..common import extras, reporting

if TYPE_CHECKING:
    import pandas as pd

    from .rules import Cleaned, Rules


# Not cached: making the key would read the whole table once more. Not retried: what fails
# here fails again.
@task(task_run_name="transform-{rules.name}", tags={"data"}, cache_policy=NO_CACHE)
def transform_data(table: pd.DataFrame | str | Path, rules: Rules) -> Cleaned:
    """Clean and type a table by declared rules, and say what was dropped and why.

    Needs the extra `pandas`. Writes the findings to the log and to the table artifact
    `transform-<name of the table>`.

    Args:
        table: The table, of shape (rows, columns), or the path of a CSV file in UTF-8; it is
            not changed.
        rules: What its columns and rows must be like.

    Returns:
        The cleaned table, of shape (rows kept, columns of the rules), and the findings.

    Raises:
        MissingExtraError: The extra is not installed.
        PermanentError: A column is missing, a rule says to fail, or too few rows are left.
    """
    with extras.required("pandas"):
        from . import cleaning
    if isinstance(table, str | Path):
        table = cleaning.read_csv(Path(table))
    cleaned = cleaning.Cleaning(table, rules).run()
    logger = reporting.logger(__name__)
    logger.info("%s: %s of %s rows kept", rules.name, f"{cleaned.kept:,}", f"{cleaned.read:,}")
    for finding in cleaned.findings:
        if finding.action != "column left out":
            logger.warning(
                "%s, column %s: %s, %s rows (%s)",
                rules.name,
                finding.column,
                finding.rule,
                f"{finding.rows:,}",
                finding.action,
            )
    reporting.table_artifact(
        reporting.artifact_key("transform", rules.name),
        [
            {
                "column": finding.column,
                "rule": finding.rule,
                "action": finding.action,
                "rows": finding.rows,
            }
            for finding in cleaned.findings
        ],
        f"`{rules.name}`: {cleaned.kept:,} of {cleaned.read:,} rows kept",
    )
    return cleaned
