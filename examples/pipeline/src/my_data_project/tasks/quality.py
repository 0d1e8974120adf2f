"""The quality rules as a task."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..common import checks, receipts, reporting, retries, runs, warehouse

if TYPE_CHECKING:
    from ..common.checks import Finding
    from ..common.table import Table


# Not cached: it depends on what is in the warehouse, not on its arguments.
@task(task_run_name="check-{table.target_name}", cache_policy=NO_CACHE, **retries.TRANSIENT)
def check_quality(table: Table) -> list[Finding]:
    """Evaluate the rules of a table and report them in a table artifact and the log.

    Args:
        table: The table, already in the warehouse.

    Returns:
        One finding for each of its rules.

    Raises:
        QualityError: A rule of severity `fail` is violated.
        PermanentError: The table, or a column that a rule names, is missing.
        TransientError: The warehouse stayed unavailable for all retries.
    """
    name = table.target_name
    with warehouse.connect() as opened:
        findings = checks.after(opened, table, receipts.latest(opened, name).get(name))
    log = reporting.logger(__name__)
    for finding in findings:
        if finding.violations:
            detail = f", {finding.detail}" if finding.detail else ""
            text = "%s: %s rows violate: %s%s (%s)"
            log.warning(
                text, name, f"{finding.violations:,}", finding.rule, detail, finding.severity
            )
    rows = [
        {
            "status": finding.status,
            "rule": finding.rule,
            "violations": finding.violations,
            "detail": finding.detail,
        }
        for finding in findings
    ]
    if rows:
        counts = Counter(finding.status for finding in findings)
        rules = "rule" if counts["ok"] == 1 else "rules"
        summary = f"{counts['ok']} {rules} ok, {counts['warn']} warn, {counts['fail']} fail"
        key = runs.artifact_key("quality", name)
        reporting.table_artifact(key, rows, f"`{name}`: {summary}")
    checks.refuse(name, findings)
    return findings
