"""Prefect's server, and the deployments of this project on it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from prefect import get_client
from prefect.client.schemas.filters import DeploymentFilter, FlowFilter
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_SERVER_LOGGING_LEVEL,
    temporary_settings,
)
from prefect.utilities.templating import apply_values

from . import errors, prefect_api, runs, settings

if TYPE_CHECKING:
    from collections.abc import Generator

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

INGEST_ALL = "ingest-all"
"""Name of the flow that ingests all tables."""


@contextlib.contextmanager
def connect() -> Generator[SyncPrefectClient]:
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
def local_server() -> Generator[None]:
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


def deployments(client: SyncPrefectClient) -> list[DeploymentResponse]:
    """Return the deployments of this project and environment, by their two tags."""
    wanted = DeploymentFilter(tags={"all_": [settings.PROJECT, runs.deployment_name()]})
    found: list[DeploymentResponse] = []
    while page := client.read_deployments(deployment_filter=wanted, limit=200, offset=len(found)):
        found += page
    return found


def find_others(client: SyncPrefectClient) -> list[str]:
    """Return deployments of `ingest_all` with this environment's name that lack its tags."""
    own = runs.deployment_name()
    named = DeploymentFilter(name={"any_": [own, f"{own}-manual"]})
    of_flow = FlowFilter(name={"any_": [INGEST_ALL]})
    found = client.read_deployments(deployment_filter=named, flow_filter=of_flow)
    tags = {settings.PROJECT, own}
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
