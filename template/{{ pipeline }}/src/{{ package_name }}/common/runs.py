"""Flow runs: their names, their task runner, and the connection to Prefect's server."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml
from prefect import get_client, runtime
from prefect.client.schemas.filters import DeploymentFilter, FlowFilter
from prefect.futures import PrefectFuture
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_SERVER_LOGGING_LEVEL,
    temporary_settings,
)
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner
from prefect.utilities.templating import apply_values

from . import errors, prefect_api, settings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from types import ModuleType

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

    from ..tasks.ingestion import IngestionResult

Runner = TaskRunner[PrefectFuture[Any]]


class IngestionError(errors.PermanentError):
    """Tables that failed; the message has the reasons.

    Attributes:
        results: What was done for the tables that were loaded.
        failed: Names of the tables that failed or broke a rule.
    """

    results: Sequence[IngestionResult] = ()
    failed: Collection[str] = ()


NO_TABLE = (
    "flows/tables.py lists no table yet:"
    f" `uv run {settings.PROJECT} discover` proposes those of the source,"
    f" `uv run {settings.PROJECT} add table NAME` adds one."
)


def deployment_name() -> str:
    """Return the name of the current environment's deployments in `prefect.yaml`."""
    return f"{settings.PROJECT}-{settings.load().environment}"


def name_run(what: str) -> str:
    """Name the current flow run, such as `flights from 2026-01-01, 2026-01-31 06:05 UTC`.

    Args:
        what: What the flow is about, unless its parameter `only` says so.
    """
    parameters: dict[str, Any] = runtime.flow_run.parameters
    text = ", ".join(parameters.get("only") or [what])
    for word, name in (("from", "since"), ("to", "until")):
        text += f" {word} {parameters[name]}" if parameters.get(name) else ""
    start: Any = runtime.flow_run.scheduled_start_time
    return f"{text}, {start:%Y-%m-%d %H:%M} UTC"


def create_task_runner(config: settings.Settings) -> Runner:
    """Create the task runner of the settings, which ingests tables in parallel."""
    # Prefect types each runner by its own kind of future, hence the casts.
    match config.task_runner:
        case "threads":
            # More than may read at once: tables that have been read wait, and are loaded together.
            return cast("Runner", ThreadPoolTaskRunner(max_workers=max(128, config.max_workers)))
        case "processes":
            return cast("Runner", ProcessPoolTaskRunner(max_workers=config.max_workers))
        case other:  # an extra's, in a module of its own
            return importlib.import_module(f".{other}", __package__).create_task_runner(config)


def join_reasons(first: str, reasons: Mapping[str, str]) -> str:
    """Return a message with a line for each thing that failed."""
    return "\n".join((first, *(f"{name}: {reason}" for name, reason in reasons.items())))


@contextlib.contextmanager
def connect() -> Iterator[SyncPrefectClient]:
    """Open a client of Prefect's server; its errors become one sentence.

    Raises:
        PermanentError: No server is named, or it refuses a request.
        TransientError: It does not answer.
    """
    if not PREFECT_API_URL.value():
        # Prefect would start a server of its own, which knows nothing.
        message = "PREFECT_API_URL is not set: name Prefect's server, or use an environment's file."
        raise errors.PermanentError(message)
    with prefect_api.explained(), get_client(sync_client=True) as client:
        yield client


@contextlib.contextmanager
def local_server() -> Iterator[None]:
    """Run flows in this process, with a temporary server if PREFECT_API_URL names none.

    Prefect would stop that server at the exit of the process, and log it after the result. Here it
    receives all logs and events, and stops, before anything else is printed.
    """
    if PREFECT_API_URL.value():
        with connect() as client:  # before a run that would fail at length
            client.read_flows(limit=1)
        yield
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.server.api.server import SubprocessASGIServer

    with temporary_settings(set_defaults={PREFECT_SERVER_LOGGING_LEVEL: "CRITICAL"}):
        try:
            yield
        finally:
            APILogWorker.drain_all(timeout=10)
            EventsWorker.drain_all(timeout=10)
            SubprocessASGIServer().stop()


def load_flows() -> ModuleType:
    """Import the flows of the tables.

    Raises:
        PermanentError: An entry of flows/tables.py cannot work.
    """
    try:
        from ..flows import ingestion_flow
    except (TypeError, ValueError) as error:
        raise errors.PermanentError(f"flows/tables.py: {error}") from error
    return ingestion_flow


def ingest_here(
    only: list[str] | None = None, since: str | None = None, until: str | None = None
) -> list[IngestionResult]:
    """Run the flow `ingest_all` in this process.

    Raises:
        PermanentError: There is no such table, or the run failed.
        TransientError: Prefect's server does not answer.
    """
    flows = load_flows()
    flows.list_tables(only)  # an error is one sentence here, and pages within a run
    with local_server():
        return flows.ingest_all(only, since, until)


def deployments(client: SyncPrefectClient) -> list[DeploymentResponse]:
    """Return the deployments of this project and environment, by their two tags."""
    wanted = DeploymentFilter(tags={"all_": [settings.PROJECT, deployment_name()]})
    found: list[DeploymentResponse] = []
    while page := client.read_deployments(deployment_filter=wanted, limit=200, offset=len(found)):
        found += page
    return found


def find_others(client: SyncPrefectClient) -> list[str]:
    """Return deployments of `ingest_all` with this environment's name that lack its tags."""
    named = DeploymentFilter(name={"any_": [deployment_name(), f"{deployment_name()}-manual"]})
    of_flow = FlowFilter(name={"any_": [load_flows().ingest_all.name]})
    found = client.read_deployments(deployment_filter=named, flow_filter=of_flow)
    tags = {settings.PROJECT, deployment_name()}
    return [f"The deployment {one.name}" for one in found if not tags <= {*one.tags}]


def is_orphaned(deployment: DeploymentResponse) -> bool:
    """Tell whether a deployment is no longer in `prefect.yaml`, if that is here."""
    path = Path("prefect.yaml")
    text = path.read_text(encoding="utf-8") if path.is_file() else "{}"
    # Prefect fills in the environment's variables. This one may come from `.env` instead.
    variable = f"{{{{ ${settings.ENV_PREFIX}ENVIRONMENT }}}}"
    content = yaml.safe_load(text.replace(variable, settings.load().environment))
    if content.get("name") != settings.PROJECT:
        return False
    listed = apply_values(content.get("deployments") or [], {})
    names = {(entry["name"], entry.get("entrypoint")) for entry in listed}
    return (deployment.name, deployment.entrypoint) not in names
