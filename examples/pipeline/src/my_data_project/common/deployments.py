"""Compares this project's objects on Prefect's server with what they should be."""

from __future__ import annotations

import asyncio
import functools
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pydantic_core
from prefect.client.schemas import filters
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound
from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

from . import errors, prefect_file, runs, server, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.events.schemas.automations import Automation, AutomationCore

_AUTOMATION = ("actions", "description", "enabled", "name", "trigger")
_SECRET = {"actions", "job_variables", "parameters", "pull_steps"}
"""Fields whose values may be secrets."""


@dataclass
class Item:
    """An object that Prefect's server has or should have."""

    what: str
    name: str
    state: str = "unchanged"  # or create, change, orphaned, paused (an orphan with active runs)
    apply: Callable[[], object] | None = None  # creates or changes it; deletes an orphan
    fields: dict[str, list[str]] = field(default_factory=dict)  # to change, with old and new values
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

    def write(entry: prefect_file.Entry, old: Collection[Automation], others: bool) -> None:
        # If a deployment of this flow and name exists, Prefect's server updates it.
        id_ = client.create_deployment(flow_id=create_flow(entry.key[0]), **entry.request)
        new = _triggers(entry, id_)
        # If the file has no triggers, `prefect deploy` may have created the others.
        if differences(new, old) or (others and not new):
            _delete_triggers(client, id_)
            for trigger in new:
                client.create_automation(trigger)

    def delete(item: Item, id_: UUID) -> None:
        _delete_triggers(client, id_)
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
        starting: list[Automation] = []
        triggers: list[Automation] = []
        if old := there.pop(entry.key, None):
            if not server.is_ours(old):
                message = f"There is a deployment {item.name} of another project."
                raise errors.PermanentError(message)
            item.fields = _compare(entry.request, old)
            starting = [one for one in automations if _starts(one, old.id)]
            triggers = _choose_triggers(starting, entry)
            if differ := differences(_triggers(entry, old.id), triggers):
                item.fields["triggers"] = [
                    f"triggers.{text}" for name, texts in differ.items() for text in texts or [name]
                ]
            if "version" in item.fields and not has_version:
                # The version changes with each commit even if the entry does not.
                del item.fields["version"]
                item.version = old.version or "none"
            item.state = "change" if item.fields else "unchanged"
        item.apply = functools.partial(write, entry, triggers, bool(starting))
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


def _compare(request: dict[str, Any], old: DeploymentResponse) -> dict[str, list[str]]:
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
    names = [name for name in sorted(request) if request[name] != has[name]]
    return {name: [*_changes(name, has[name], request[name])] for name in names}


def _changes(name: str, old: Any, new: Any) -> Iterator[str]:
    """Yield the old and new values in a field, or only its name if they may be secrets."""
    if name == "schedules":  # without their parameters
        old, new = (
            {one["slug"] or f"{n}": one | {"parameters": None} for n, one in enumerate(some)}
            for some in (old, new)
        )
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _changes(f"{name}.{key}", old.get(key), new.get(key))
    elif old != new and _SECRET.isdisjoint(name.split(".")):
        texts = (pydantic_core.to_json(one).decode() for one in (old, new))
        yield f"{name}: {' → '.join(t if len(t) < 80 else f'{t[:79]}…' for t in texts)}"
    elif old != new and "." in name:
        yield name


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


def _starts(automation: Automation, deployment: UUID) -> bool:
    return any(getattr(one, "deployment_id", None) == deployment for one in automation.actions)


def _delete_triggers(client: SyncPrefectClient, deployment: UUID) -> None:
    """Delete a deployment's own automations, but not those that people created."""
    resource = f"prefect.deployment.{deployment}"
    # Only Prefect's server knows which these are.
    client.delete_resource_owned_automations(resource)
    for one in client.read_resource_related_automations(resource):
        if is_made(one):  # a copy, which has the mark too
            client.delete_automation(one.id)


def _choose_triggers(
    starting: Collection[Automation], entry: prefect_file.Entry
) -> list[Automation]:
    """Return the automations that were created from an entry.

    Automations that somebody has created in Prefect's UI are left out.
    """
    names = {trigger.name for trigger in entry.triggers}
    # `prefect deploy` replaces marked automations by ones without marks.
    return [one for one in starting if is_made(one)] or [
        one
        for one in starting
        if one.name in names
        or re.fullmatch(rf"{re.escape(entry.key[1])}__automation_\d+", one.name)
    ]


def differences(
    new: Collection[AutomationCore], old: Collection[AutomationCore]
) -> dict[str, list[str]]:
    """Return how automations differ from what they should be."""
    if len(new) != len(old):
        return {"number": [*_changes("number", len(old), len(new))]}
    ours, theirs = (
        [one.model_dump(include={*_AUTOMATION}) for one in sorted(some, key=lambda one: one.name)]
        for some in (new, old)
    )
    changed: dict[str, list[str]] = {}
    for name in _AUTOMATION:
        pairs = [(one[name], other[name]) for one, other in zip(theirs, ours, strict=True)]
        if any(one != other for one, other in pairs):
            changed[name] = [text for pair in pairs for text in _changes(name, *pair)]
    return changed if all(map(is_made, old)) else changed | {"tags": []}
