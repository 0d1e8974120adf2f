"""Compares this project's objects on Prefect's server with what they should be."""

from __future__ import annotations

import asyncio
import functools
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prefect.client.schemas import filters
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound
from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

from . import errors, prefect_file, runs, server, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.events.schemas.automations import Automation, AutomationCore

_AUTOMATION = ("actions", "description", "enabled", "name", "trigger")


@dataclass
class Item:
    """An object that Prefect's server has or should have."""

    what: str
    name: str
    state: str = "unchanged"  # or create, change, orphaned, paused (an orphan with active runs)
    apply: Callable[[], object] | None = None  # creates or changes it; deletes an orphan
    fields: list[str] = field(default_factory=list)  # to change
    version: str | None = None  # old version of a deployment, if it changes
    active_runs: int = 0  # of an orphan, which stays paused until they end


def compare_pool(
    client: SyncPrefectClient, config: settings.Settings
) -> tuple[Item, dict[str, Any]]:
    """Return the work pool and its base job template.

    Raises:
        PermanentError: The pool has another type, or the type is unknown.
    """
    item = Item("work pool", config.work_pool)
    try:
        pool = client.read_work_pool(item.name)
    except ObjectNotFound:
        kind = config.work_pool_type
        template = asyncio.run(get_default_base_job_template_for_infrastructure_type(kind))
        if template is None:
            raise errors.PermanentError(f"There is no work pool type {kind!r}.") from None
        pool = WorkPoolCreate(name=item.name, type=kind, base_job_template=template)
        item.state, item.apply = "create", functools.partial(client.create_work_pool, pool)
    if pool.type != config.work_pool_type:
        text = f"is of type {pool.type}, the settings say {config.work_pool_type}."
        raise errors.PermanentError(f"The work pool {item.name} {text}")
    return item, pool.base_job_template


def compare_deployments(
    client: SyncPrefectClient,
    entries: Collection[prefect_file.Entry],
    automations: Collection[Automation],
) -> list[Item]:
    """Return the deployments of prefect.yaml, and those that are no longer in it.

    Raises:
        PermanentError: A deployment belongs to another project.
    """
    create_flow = functools.cache(client.create_flow_from_name)

    def write(entry: prefect_file.Entry, old: Collection[Automation]) -> None:
        # If a deployment of this flow and name exists, Prefect's server updates it.
        id_ = client.create_deployment(flow_id=create_flow(entry.key[0]), **entry.request)
        if differences(new := _triggers(entry, id_), old):
            # Deletes those that `prefect deploy` or this command made, not those of people.
            client.delete_resource_owned_automations(f"prefect.deployment.{id_}")
            for trigger in new:
                client.create_automation(trigger)

    def delete(item: Item, id_: UUID) -> None:
        client.delete_resource_owned_automations(f"prefect.deployment.{id_}")
        client.pause_deployment(id_)  # before the count, so that no further run begins
        item.active_runs = _count_active_runs(client, id_)
        if item.active_runs:
            # Without its deployment, a run could not report a new state to the server.
            item.state = "paused"
        else:
            client.delete_deployment(id_)

    there = server.read_deployments(client, {entry.request["name"] for entry in entries})
    version, items = runs.version(), list[Item]()
    for entry in entries:
        item = Item("deployment", "/".join(entry.key), "create")
        has_version = bool(entry.request["version"])
        entry.request["version"] = entry.request["version"] or version
        triggers: list[Automation] = []
        if old := there.pop(entry.key, None):
            if not server.is_ours(old):
                message = f"There is a deployment {item.name} of another project."
                raise errors.PermanentError(message)
            item.fields = _compare(entry.request, old)
            triggers = _find_triggers(automations, entry, old.id)
            item.fields += ["triggers"] * bool(differences(_triggers(entry, old.id), triggers))
            if "version" in item.fields and not has_version:
                # The version changes with each commit even if the entry does not.
                item.fields.remove("version")
                item.version = old.version or "none"
            item.state = "change" if item.fields else "unchanged"
        item.apply = functools.partial(write, entry, triggers)
        items.append(item)
    for key, old in there.items():
        if server.is_tagged(old):
            item = Item("deployment", "/".join(key), "orphaned")
            item.apply = functools.partial(delete, item, old.id)
            items.append(item)
    return items


def _count_active_runs(client: SyncPrefectClient, deployment: UUID) -> int:
    """Return the number of runs in progress; the server deletes those that have not begun."""
    state: dict[str, Any] = {
        "operator": "or_",
        "type": {"any_": ["PENDING", "RUNNING", "CANCELLING", "PAUSED"]},
        "name": {"any_": ["AwaitingRetry"]},
    }
    return client.count_flow_runs(
        deployment_filter=filters.DeploymentFilter(id={"any_": [deployment]}),
        flow_run_filter=filters.FlowRunFilter(state=state),
    )


def commits(client: SyncPrefectClient) -> list[str]:
    """Return the commits of this environment's deployments, the most common one first."""
    there = server.read_deployments(client).values()
    versions = [one.version or "" for one in there if server.is_tagged(one)]
    found = (re.search(r"[+.]g([0-9a-f]{8})", version) for version in versions)
    return [commit for commit, _ in Counter(one[1] for one in found if one).most_common()]


def _compare(request: dict[str, Any], old: DeploymentResponse) -> list[str]:
    """Return the fields that differ; fill in what the request leaves as it is on the server."""
    include: dict[str, Any] = dict.fromkeys(request, True)
    has = old.model_dump(
        mode="json", include=include | {"schedules": {"__all__": prefect_file.TIMING}}
    )
    has["concurrency_limit"] = old.global_concurrency_limit and old.global_concurrency_limit.limit
    if request["schedules"] is None:
        request["schedules"] = has["schedules"]
    anchors = {
        (one["slug"], one["schedule"]["interval"]): one["schedule"]["anchor_date"]
        for one in has["schedules"]
        if "interval" in one["schedule"]
    }
    for one in request["schedules"]:
        if anchor := anchors.get((one["slug"], one["schedule"].get("interval"))):
            one["schedule"].setdefault("anchor_date", anchor)
    for both in (request, has):
        both["tags"].sort()
        both["schedules"].sort(key=functools.partial(json.dumps, sort_keys=True))
    return [name for name in sorted(request) if request[name] != has[name]]


def _triggers(entry: prefect_file.Entry, deployment: UUID) -> list[AutomationCore]:
    """Return the automations that start a deployment."""
    for trigger in entry.triggers:
        trigger.set_deployment_id(deployment)
    return [mark(one.as_automation()) for one in entry.triggers]


def mark(automation: AutomationCore) -> AutomationCore:
    """Return an automation with the tags that mark it as created by `deploy`."""
    return automation.model_copy(update={"tags": _marks()})


def is_made(automation: AutomationCore) -> bool:
    """Return whether `deploy` created an automation for this project and environment."""
    return {*_marks()} <= {*automation.tags}


def _marks() -> list[str]:
    return [settings.PROJECT, runs.deployment_name(), "made by deploy"]


def _find_triggers(
    automations: Iterable[Automation], entry: prefect_file.Entry, deployment: UUID
) -> list[Automation]:
    """Return the automations that were created from an entry.

    Automations that somebody has created in Prefect's UI are left out.
    """
    starting = [
        one
        for one in automations
        if any(getattr(action, "deployment_id", None) == deployment for action in one.actions)
    ]
    names = {trigger.name for trigger in entry.triggers}
    # `prefect deploy` replaces marked automations by ones without marks.
    return [one for one in starting if is_made(one)] or [
        one
        for one in starting
        if one.name in names or one.name.startswith(f"{entry.key[1]}__automation_")
    ]


def differences(new: Collection[AutomationCore], old: Collection[AutomationCore]) -> list[str]:
    """Return how automations differ from what they should be."""
    if len(new) != len(old):
        return ["number"]
    ours, theirs = (
        [one.model_dump(include={*_AUTOMATION}) for one in sorted(some, key=lambda one: one.name)]
        for some in (new, old)
    )
    changed = [n for n in _AUTOMATION if [o[n] for o in ours] != [o[n] for o in theirs]]
    return changed + ["tags"] * (not all(map(is_made, old)))
