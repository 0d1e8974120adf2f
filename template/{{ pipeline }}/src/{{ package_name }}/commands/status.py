"""Show how far each table is loaded, the runs of each deployment, and what is wrong with them.

Tables are those that were ever loaded, also by flows of your own, and those of flows/tables.py.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import DeploymentResponse
    from rich.console import Console

Rows = list[dict[str, Any]]

HELP = "show how far each table is loaded, and the runs of each deployment"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the choices: everything is shown anyway."""
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 if a part of it cannot be shown"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Print what can be had; where it cannot, the reason.

    Raises:
        PermanentError: With `--check`: a part cannot be had.
    """
    from ..common import errors

    found: dict[str, Any] = {"errors": []}
    for look in (_look_at_tables, _look_at_server):
        try:
            found |= look()
        except (errors.PermanentError, errors.TransientError) as error:
            found["errors"].append(str(error))
    if arguments.json:
        print(json.dumps(found, default=str, indent=2))
    else:
        _show(found)
    if found["errors"] and arguments.check:
        raise errors.PermanentError("A part of the status cannot be shown: see above.")


def _look_at_tables() -> dict[str, Any]:
    from ..common import loading, runs, warehouse

    with warehouse.connect() as w:
        receipts, described = loading.receipts(w), w.described
    loaded = {name: one for name, one in receipts.items() if one.mode != "reset"}
    rows: Rows = []
    for name in sorted({*loaded, *runs.load_flows().FLOWS}):
        one = loaded.get(name)
        row = {"table": name, "loaded_at": one and one.loaded_at, "read": one and one.rows_read}
        row |= {"written": one and one.rows_loaded, "dropped": one and one.rows_dropped}
        row |= {"watermark": one and one.watermark, "source": one and one.source}
        rows.append(row)
    return {"warehouse": described, "tables": rows}


def _look_at_server() -> dict[str, Any]:
    from ..common import runs, settings

    with runs.connect() as client:
        rows: Rows = []
        advice: list[str] = []
        for deployment in runs.deployments(client):
            row = _describe(client, deployment)
            if row["problem"]:
                text = f"{row['deployment']}: {row['state']}: {row['problem']}"
                advice.append(f"{text}\n  {row['page']}")
            if row["orphaned"]:
                text = f"{row['deployment']} is not in prefect.yaml any more"
                advice.append(f"{text}: `uv run {settings.PROJECT} setup --prune` deletes it.")
            rows.append(row)
        for flow_run, seen in _find_stuck(client):
            advice.append(
                f"{flow_run.name} is {flow_run.state_name} without a sign of life since"
                f" {_text(seen)} (UTC). If its process is gone, it may keep others of its"
                f" deployment from starting: `uv run prefect flow-run delete {flow_run.id}` ends"
                " that at once, cancelling it does not."
            )
        return {"server": str(client.api_url), "deployments": rows, "advice": advice}


def _describe(client: SyncPrefectClient, deployment: DeploymentResponse) -> dict[str, Any]:
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.utilities.urls import url_for

    from ..common import runs

    def first(sort: FlowRunSort, *types: StateType) -> FlowRun | None:
        found = client.read_flow_runs(
            deployment_filter=filters.DeploymentFilter(
                id=filters.DeploymentFilterId(any_=[deployment.id])
            ),
            flow_run_filter=filters.FlowRunFilter(
                state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=[*types]))
            ),
            sort=sort,
            limit=1,
        )
        return found[0] if found else None

    begun = {*StateType} - {StateType.SCHEDULED, StateType.PENDING}
    last = first(FlowRunSort.START_TIME_DESC, *begun)
    coming = first(FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC, StateType.SCHEDULED)
    bad = last is not None and last.state_type in {StateType.FAILED, StateType.CRASHED}
    return {
        "deployment": f"{client.read_flow(deployment.flow_id).name}/{deployment.name}",
        "last_run": last and (last.start_time or last.end_time),
        "state": last and last.state_name,
        "next_run": coming and coming.next_scheduled_start_time,
        "orphaned": runs.is_orphaned(deployment),
        "problem": last.state.message if last and last.state and bad else None,
        "page": url_for(last) if last and bad else None,
    }


def _find_stuck(client: SyncPrefectClient) -> Iterator[tuple[FlowRun, datetime]]:
    """Find runs that are about to begin, or have begun, and give no sign of life any more."""
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter

    from ..common import runs, settings

    config = settings.load()
    types = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    wanted = filters.FlowRunFilter(
        tags=filters.FlowRunFilterTags(all_=[runs.deployment_name()]),
        state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=types)),
    )
    for flow_run in client.read_flow_runs(flow_run_filter=wanted):
        beats = EventFilter(
            event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
            resource=EventResourceFilter(id=[f"prefect.flow-run.{flow_run.id}"]),
        )
        signs = [event.occurred for event in client.read_events(beats, limit=1).events]
        signs += [flow_run.state.timestamp] if flow_run.state else []
        pending = flow_run.state_type == StateType.PENDING
        patience = config.late_after_seconds if pending else config.lost_after_seconds
        if datetime.now(UTC) - max(signs) > timedelta(seconds=patience):
            yield flow_run, max(signs)


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console

    from ..common import runs

    console = Console(markup=False, highlight=False)
    if "tables" in found:
        rows = found["tables"]
        columns = ["table", "loaded_at", "watermark", "read", "written", "dropped"]
        columns += ["source"] if len({row["source"] for row in rows} - {None}) > 1 else []
        _grid(console, f"Tables in {found['warehouse']}", rows, columns, runs.NO_TABLE)
    if "deployments" in found:
        name = runs.deployment_name()
        columns = ["deployment", "last_run", "state", "next_run"]
        title = f"Deployments {name} on {found['server']}"
        empty = f"Nothing is deployed as {name} yet."
        _grid(console, title, found["deployments"], columns, empty)
    for text in found.get("advice", ()):
        console.print(text, soft_wrap=True)
    for text in found["errors"]:
        console.print(text, style="yellow", soft_wrap=True)


def _grid(console: Console, title: str, rows: Rows, columns: list[str], empty: str) -> None:
    from rich.table import Table

    if not rows:
        console.print(empty, soft_wrap=True)
        return
    grid = Table(title=f"{title} (UTC)", title_justify="left")
    for column in columns:
        number = column in {"read", "written", "dropped"}
        justify = "right" if number else "left"
        grid.add_column(column.replace("_", " "), overflow="fold", justify=justify)
    for row in rows:
        grid.add_row(*(_text(row[column]) for column in columns))
    console.print(grid, crop=False)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
