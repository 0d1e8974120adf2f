"""The flows that a worker runs: one for each table, and one for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.futures import wait

from ..common import (
    db_utils,
    derived,
    errors,
    readers,
    runs,
    settings,
    warehouse,
)
from ..common.extraction import Window
from ..common.receipts import Receipt, read_receipts, report
from ..common.table import AllTables, Table, check_targets
from ..tasks import ingestion, notifications, quality
from . import factory, tables

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..common.checks import Finding


FLOWS: dict[str, factory.IngestionFlow] = {}
for _table in (entry for entry in tables.TABLES if isinstance(entry, Table)):
    FLOWS[_table.target_name] = factory.create_ingestion_flow(_table, module=__name__)
    # A worker imports the flow by this name, which the entry point in prefect.yaml gives.
    globals()[factory.flow_attribute(_table.target_name)] = FLOWS[_table.target_name]
check_targets(entry for entry in tables.TABLES if isinstance(entry, Table))


def list_tables(
    only: Collection[str] | None = None,
) -> tuple[dict[str, Table], dict[str, str]]:
    """Return all or some tables of the list, by their name in the warehouse.

    An entry for all tables of a schema expands to those that exist now. The second value has the
    reasons why entries could not be expanded; it is empty if all tables in `only` are found.

    Raises:
        PermanentError: No table can be listed, one is not in the list, or two have the same name
            in the warehouse.
        TransientError: No table can be listed, because a source does not answer.
    """
    own = [entry for entry in tables.TABLES if isinstance(entry, Table)]
    found: list[Table] = []
    failures: dict[str, errors.PermanentError | errors.TransientError] = {}
    for entry in (entry for entry in tables.TABLES if isinstance(entry, AllTables)):
        try:
            url = db_utils.source_url(entry.source)
            found += entry.expand(readers.list_tables(url, entry.schema))
        except (errors.PermanentError, errors.TransientError) as error:
            failures[str(entry)] = error
    check_targets(own, found)
    listed = {table.target_name: table for table in (*own, *found)}
    if not listed:
        raise next(iter(failures.values()), errors.PermanentError(runs.NO_TABLE))
    reasons = {what: str(error) for what, error in failures.items()}
    if only is None:
        return listed, reasons
    if unknown := [name for name in only if name not in listed]:
        message = f"There is no table {', '.join(unknown)}. Tables: {', '.join(listed)}."
        raise errors.PermanentError(runs.join_reasons(message, reasons))
    return {name: listed[name] for name in only}, {}


# Tasks, not subflows: a Prefect server on SQLite refuses to create subflows while it records
# other task runs, and the wait before each retry doubles.
@task(task_run_name="ingest-{table.target_name}", cache_policy=NO_CACHE)
def run_table(
    table: Table, window: Window | None, receipts: dict[str, Receipt]
) -> ingestion.IngestionResult:
    """Ingest one table, as a task that a task runner can distribute."""
    return ingestion.ingest_table(table, window, receipts=receipts)


@flow(
    name="ingest-all",
    flow_run_name=lambda: runs.name_run("all tables"),
    on_failure=[notifications.alert_on_failure],
    on_crashed=[notifications.alert_on_failure],
)
def ingest_all(
    only: list[str] | None = None, since: str | None = None, until: str | None = None
) -> list[ingestion.IngestionResult]:
    """Ingest the tables concurrently, then check the quality of each.

    If a table fails, the others are still loaded and checked, and the run fails at the end. Rules
    may compare tables, so they are checked after all tables are loaded.

    Args:
        only: Names of tables in the warehouse; None means all.
        since: Read rows again from this cursor value on, instead of new rows: a date or time
            in ISO format, or a number. Tables of mode `full` are always read whole.
        until: End of that window, exclusive; None leaves it open.

    Returns:
        A result for each table, in the order of the table list.

    Raises:
        PermanentError: A table does not exist.
        IngestionError: At least one table failed or broke a rule.
    """
    listed, unlisted = list_tables(only)
    derived.check_names(listed)
    window = Window.parse(since, until)
    started = runs.create_task_runner(settings.load())
    receipts = read_receipts()
    with started as runner:
        futures = {
            name: runner.submit(
                run_table,
                {
                    "table": listed[name],
                    "window": window,
                    "receipts": {name: receipts[name]} if name in receipts else {},
                },
            )
            for name in listed
        }
        wait(list(futures.values()))
    failures = {
        name: str(future.state.result(raise_on_failure=False) or future.state.message)
        for name, future in futures.items()
        if not future.state.is_completed()
    }
    failures |= unlisted
    results = [future.result() for name, future in futures.items() if name not in failures]
    findings: dict[str, list[Finding]] = {}
    checked = [table for name, table in listed.items() if name not in failures and table.rules]
    if checked:
        with warehouse.connect():
            # States, not results: one broken rule must not stop the other checks.
            states = {t.target_name: quality.check_quality(t, return_state=True) for t in checked}
        failures |= {
            name: str(state.result(raise_on_failure=False))
            for name, state in states.items()
            if not state.is_completed()
        }
        findings = {name: state.result() for name, state in states.items() if name not in failures}
    report("ingestion", [result.receipt for result in results], findings, failures)
    # The trigger in prefect.yaml waits for this event to build the derived tables.
    emit_event(
        event="ingestion.ended",
        resource={"prefect.resource.id": f"ingestion.{runs.deployment_name()}"},
        payload={"failed": sorted(failures)},
    )
    if failures:
        counts = f"{len(failures)} of {len(listed) + len(unlisted)} tables failed."
        error = runs.IngestionError(runs.join_reasons(counts, failures))
        error.results, error.failed = results, failures.keys()
        raise error
    return results
