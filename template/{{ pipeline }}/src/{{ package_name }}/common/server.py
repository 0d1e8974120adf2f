"""Prefect's server, and the deployments of this project on it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from prefect import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    DeploymentFilterTags,
    Operator,
)
from prefect.client.schemas.sorting import AutomationSort, DeploymentSort, FlowSort
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_SERVER_LOGGING_LEVEL,
    temporary_settings,
)

from . import errors, prefect_api, runs, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.events.schemas.automations import Automation

_PAGE = 200
"""What Prefect's server gives at once, at the most."""


@contextlib.contextmanager
def connect() -> Generator[SyncPrefectClient]:
    """Open a client of Prefect's server; errors become one sentence.

    Raises:
        PermanentError: No server is named, or it refuses a request.
        TransientError: It does not answer.
    """
    if not PREFECT_API_URL.value():
        # Otherwise Prefect would start an empty temporary server.
        message = "PREFECT_API_URL is not set: name Prefect's server, or use an environment's file."
        raise errors.PermanentError(message)
    with prefect_api.explained(), get_client(sync_client=True) as client:
        yield client


@contextlib.contextmanager
def local_server() -> Generator[None]:
    """Run flows in this process, with a temporary server if PREFECT_API_URL names none.

    Prefect itself stops that server when the process exits, and logs that after the result. Here
    it receives all logs and events and stops before anything else is printed.
    """
    if PREFECT_API_URL.value():
        with connect() as client:  # fail at once if it does not answer
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


def read_deployments(
    client: SyncPrefectClient, names: Iterable[str] = ()
) -> dict[tuple[str, str], DeploymentResponse]:
    """Return deployments with this environment's tag or name, by flow name and deployment name."""
    wanted = DeploymentFilter(
        operator=Operator.or_,
        tags=DeploymentFilterTags(all_=[runs.deployment_name()]),
        name=DeploymentFilterName(any_=[*names]),
    )
    # Sort by time: many deployments share a name, so pages sorted by name may overlap.
    sort, of_flows = DeploymentSort.CREATED_DESC, FlowSort.NAME_ASC
    found = _read_all(client.read_deployments, deployment_filter=wanted, sort=sort)
    flows = _read_all(client.read_flows, deployment_filter=wanted, sort=of_flows)
    names = {flow.id: flow.name for flow in flows}
    return {(names[one.flow_id], one.name): one for one in found if one.flow_id in names}


def read_automations(client: SyncPrefectClient) -> list[Automation]:
    """Return all automations of the server: it cannot filter them by project."""
    return _read_all(client.read_automations, sort=AutomationSort.CREATED_DESC)


def _read_all(read: Callable[..., list[Any]], **options: object) -> list[Any]:
    found: list[Any] = []
    while page := read(limit=_PAGE, offset=len(found), **options):
        found += page
    return found


def is_tagged(deployment: DeploymentResponse) -> bool:
    """Return whether a deployment has the two tags of this project and environment."""
    return {settings.PROJECT, runs.deployment_name()} <= {*deployment.tags}


def is_ours(deployment: DeploymentResponse) -> bool:
    """Return whether a deployment is this project's, even if somebody has changed its tags."""
    package = __name__.partition(".")[0]
    return settings.PROJECT in deployment.tags or f"{deployment.entrypoint}".startswith(
        f"{package}."
    )
