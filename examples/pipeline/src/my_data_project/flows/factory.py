"""Creates a flow for each table from its entry in `tables.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import Flow, flow

from ..common import receipts, runs
from ..common.extraction import Window
from ..tasks import ingestion, notifications

if TYPE_CHECKING:
    from ..common.extraction import Rows
    from ..common.table import Table

IngestionFlow = Flow[..., ingestion.IngestionResult]


def flow_attribute(table: str) -> str:
    """Return the name of a table's flow in its module."""
    return f"ingest_{table}"


def create_ingestion_flow(table: Table, *, module: str, rows: Rows | None = None) -> IngestionFlow:
    """Create the flow that ingests one table.

    A worker imports a flow by name from a module. The caller therefore has to assign it to
    `flow_attribute(table.target_name)` in `module`.

    Args:
        table: The table.
        module: Name of the module that will hold the flow, usually `__name__`.
        rows: A function that yields rows, pages of rows, DataFrames or Arrow tables, or returns
            a dlt resource; None reads the table from its source.

    Returns:
        The flow `ingest-<table>`. Its parameters `since` and `until` make it read a window
        of the cursor again.
    """
    name = table.target_name

    def ingest(since: str | None = None, until: str | None = None) -> ingestion.IngestionResult:
        result = ingestion.ingest_table(table, Window.parse(since, until), rows)
        receipts.report(f"ingestion-{name}", [result.receipt])
        return result

    ingest.__name__ = ingest.__qualname__ = flow_attribute(name)
    ingest.__module__ = module
    ingest.__doc__ = f"Ingest the table {name} ({table.mode})."
    return flow(
        name=f"ingest-{name}",
        flow_run_name=lambda: runs.name_run(name),
        on_failure=[notifications.alert_on_failure],
        on_crashed=[notifications.alert_on_failure],
    )(ingest)
