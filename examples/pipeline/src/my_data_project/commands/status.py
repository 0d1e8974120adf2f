"""Show how far each table is loaded, the runs of each deployment, and what is wrong with them.

It lists the tables of flows/tables.py and all others that any flow has loaded.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import DeploymentResponse

HELP = "show how far each table is loaded, and the runs of each deployment"

RECEIPT = ["loaded_at", "watermark", "rows_read", "rows_loaded", "rows_dropped", "source"]
"""What is shown of the receipt of a table's last load."""
PATIENCE_SECONDS = 10
"""How long Prefect's server may take to answer."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 if a part cannot be shown"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Print what can be read now, and why the rest cannot."""
    from prefect.settings import (
        PREFECT_API_REQUEST_TIMEOUT,
        PREFECT_CLIENT_MAX_RETRIES,
        temporary_settings,
    )

    from ..common import errors, settings

    settings.load()  # if they are wrong, nothing can be shown
    found: dict[str, Any] = {"errors": []}
    # A person waits for the answer: do not retry for minutes.
    at_once: dict[Any, Any] = {
        PREFECT_API_REQUEST_TIMEOUT: PATIENCE_SECONDS,
        PREFECT_CLIENT_MAX_RETRIES: 0,
    }
    with temporary_settings(at_once):
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
    from ..common import receipts, warehouse
    from .ingest import load_flows

    with warehouse.connect(wait=0) as w:
        found, described = receipts.latest(w), w.described
    loaded = {name: receipt for name, receipt in found.items() if receipt.mode != "reset"}
    rows = [
        {"table": name} | {column: getattr(loaded.get(name), column, None) for column in RECEIPT}
        for name in sorted({*loaded, *load_flows().FLOWS})
    ]
    return {"warehouse": described, "tables": rows}


def _look_at_server() -> dict[str, Any]:
    from ..common import errors, prefect_file, server, settings

    with server.connect() as client:
        there = server.read_deployments(client)
        found = {key: one for key, one in sorted(there.items()) if server.is_tagged(one)}
        try:
            listed = {entry.key for entry in prefect_file.read(client, {})}
        except errors.PermanentError:  # the file is missing or has mistakes
            listed = {*found}
        rows = [
            _describe(client, "/".join(key), deployment) | {"orphaned": key not in listed}
            for key, deployment in found.items()
        ]
        advice = _find_stuck(client)
        url = str(client.api_url)
    for row in rows:
        name = row["deployment"]
        if row["problem"]:
            advice.append(f"{name}: {row['state']}: {row['problem']}\n  {row['page']}")
        if row["orphaned"]:
            prune = settings.command("deploy", "--prune")
            advice.append(f"{name} is not in prefect.yaml any more: `{prune}` deletes it.")
    return {"server": url, "deployments": rows, "advice": advice}


def _describe(
    client: SyncPrefectClient, name: str, deployment: DeploymentResponse
) -> dict[str, Any]:
    from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.utilities.urls import url_for

    def first(sort: FlowRunSort, **types: list[str]) -> FlowRun | None:
        found = client.read_flow_runs(
            deployment_filter=DeploymentFilter(id={"any_": [deployment.id]}),
            flow_run_filter=FlowRunFilter(state={"type": types}),
            sort=sort,
            limit=1,
        )
        return found[0] if found else None

    last = first(FlowRunSort.START_TIME_DESC, not_any_=["SCHEDULED", "PENDING"])
    coming = first(FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC, any_=["SCHEDULED"])
    bad = last and last.state and (last.state.is_failed() or last.state.is_crashed())
    return {
        "deployment": name,
        "last_run": last and (last.start_time or last.end_time),
        "state": last and last.state_name,
        "next_run": coming and coming.next_scheduled_start_time,
        "problem": _explain(client, last) if last and bad else None,
        "page": url_for(last) if last and bad else None,
    }


def _explain(client: SyncPrefectClient, flow_run: FlowRun) -> str | None:
    """Return why a run failed. A run that crashed, such as on import, has the reason in its log."""
    from prefect.client.schemas.filters import LogFilter
    from prefect.client.schemas.sorting import LogSort

    message = flow_run.state.message if flow_run.state else None
    if flow_run.state and flow_run.state.is_crashed():
        wanted = LogFilter(flow_run_id={"any_": [flow_run.id]}, level={"ge_": logging.ERROR})
        for log in client.read_logs(wanted, limit=50, sort=LogSort.TIMESTAMP_DESC):
            if "Traceback (most recent call last)" in log.message:
                return f"{message} {log.message.strip().splitlines()[-1]}"
    return message


def _find_stuck(client: SyncPrefectClient) -> list[str]:
    """Return what to do about runs that are pending or running without heartbeats."""
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.events.filters import EventFilter

    from ..common import runs, settings

    config = settings.load()
    advice: list[str] = []
    wanted = FlowRunFilter(
        tags={"all_": [runs.deployment_name()]},
        state={"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}},
    )
    for flow_run in client.read_flow_runs(flow_run_filter=wanted):
        beats = EventFilter(
            event={"name": ["prefect.flow-run.heartbeat"]},
            resource={"id": [f"prefect.flow-run.{flow_run.id}"]},
        )
        signs = [event.occurred for event in client.read_events(beats, limit=1).events]
        signs += [flow_run.state.timestamp] if flow_run.state else []
        pending = flow_run.state_type == "PENDING"
        patience = config.late_after_seconds if pending else config.lost_after_seconds
        if datetime.now(UTC) - (seen := max(signs)) > timedelta(seconds=patience):
            advice.append(
                f"{flow_run.name} is {flow_run.state_name} without a sign of life since"
                f" {seen:%Y-%m-%d %H:%M} (UTC). If its process is gone, it may keep others of its"
                f" deployment from starting: `uv run prefect flow-run delete {flow_run.id}` ends"
                " that at once, cancelling it does not."
            )
    return advice


def _show(found: dict[str, Any]) -> None:
    from ..common import runs
    from .ingest import load_flows, show

    tables, deployments = found.get("tables"), found.get("deployments")
    if tables:
        show(tables, ["table", *RECEIPT[:-1]], f"Tables in {found['warehouse']} (UTC)")
        if len({row["source"] for row in tables} - {None}) > 1:
            show(tables, ["table", "source"], "Where they come from")
    elif tables is not None:
        flows = load_flows()
        print("No table is loaded yet." if flows.tables.TABLES else runs.NO_TABLE)
    if deployments:
        title = f"Deployments {runs.deployment_name()} on {found['server']} (UTC)"
        show(deployments, ["deployment", "last_run", "state", "next_run"], title)
    elif deployments is not None:
        print(f"Nothing is deployed as {runs.deployment_name()} yet.")
    for text in (*found.get("advice", ()), *found["errors"]):
        print(text)
