"""The flow that builds the derived tables."""

from __future__ import annotations

from prefect import flow

from ..common import derived, errors, reporting, runs
from ..common.table import Table
from ..tasks import notifications, transform
from . import tables


@flow(
    name="transform",
    flow_run_name=lambda: runs.name_run("derived tables"),
    on_failure=[notifications.alert_on_failure],
    on_crashed=[notifications.alert_on_failure],
)
def transform_all(without: list[str] | None = None) -> dict[str, int]:
    """Build the derived tables of `sql/`, each after the tables it reads.

    If one fails, only the tables that read it are not built; the run fails at the end.

    Args:
        without: Ingested tables that failed. Derived tables that read them, themselves or through
            others, stay as they are.

    Returns:
        The number of rows of each derived table that was built.

    Raises:
        PermanentError: A file is not a SELECT, or at least one table could not be built.
    """
    derived.check_names(entry.target_name for entry in tables.TABLES if isinstance(entry, Table))
    queries = derived.read_all()
    stopped = {name.lower() for name in without or ()}
    built: dict[str, int] = {}
    failed: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for name in derived.order(queries):
        reads = derived.read_tables(queries[name], "raw", "marts")
        if missing := sorted(table for table in reads if table.lower() in stopped):
            skipped[name] = f"Skipped, because it reads {', '.join(missing)}."
        else:
            # A state, not a result: a failed table must not stop the others.
            state = transform.build_table(name, return_state=True)
            if state.is_completed():
                built[name] = state.result()
                continue
            failed[name] = str(state.result(raise_on_failure=False) or state.message)
        stopped.add(name.lower())
    rows = [
        {"table": name, "rows": built.get(name), "problem": failed.get(name) or skipped.get(name)}
        for name in queries
    ]
    key = runs.artifact_key("derived-tables")
    reporting.table_artifact(key, rows, "Derived tables, as last built")
    for name, reason in skipped.items():
        reporting.logger(__name__).warning("%s: %s", name, reason)
    if failed:
        counts = f"{len(failed)} of {len(queries)} derived tables failed."
        raise errors.PermanentError(runs.join_reasons(counts, failed | skipped))
    return built
