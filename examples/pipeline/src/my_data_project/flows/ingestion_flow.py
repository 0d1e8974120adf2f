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
    # A worker imports the flow by this name, as prefect.yaml gives it.
    globals()[factory.flow_attribute(_table.target_name)] = FLOWS[_table.target_name]
check_targets(entry for entry in tables.TABLES if isinstance(entry, Table))


def list_tables(
    only: Collection[str] | None = None,
) -> tuple[dict[str, Table], dict[str, str]]:
    """Return tables of the list, all or some, by their name in the warehouse.

    An entry for all tables of a schema stands for those that are there now. Why one of them
    cannot be read comes second, by what it stands for, unless the tables asked for are there.

    Raises:
        PermanentError: No table can be listed, one is not in the list, or two have one name in
            the warehouse.
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


# Tasks, not subflows: a Prefect server on SQLite refuses to create a subflow while it records
# other task runs, and the wait for the next attempt doubles each time.
@task(task_run_name="ingest-{table.target_name}", cache_policy=NO_CACHE)
def run_table(
    table: Table, window: Window | None, receipts: dict[str, Receipt]
) -> ingestion.IngestionResult:
    """Ingest one table, as a task that a task runner can spread."""
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
    """Ingest the tables side by side, then check the quality of each.

    A table that fails does not stop the others from being loaded and checked; it fails the run
    at the end. Rules may compare tables, so they are checked when all tables are in.

    Args:
        only: Names of tables in the warehouse; none means all of them.
        since: Read rows again from this cursor value on, instead of what is new: a date or
            time in ISO format, or a number. Tables of mode `full` are read whole either way.
        until: End of that window, exclusive; none leaves it open.

    Returns:
        What was done, in the order of the table list.

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
    # What starts the derived tables: prefect.yaml has the trigger.
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
