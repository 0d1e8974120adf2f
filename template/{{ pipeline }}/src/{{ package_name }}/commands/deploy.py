"""Make Prefect's server match prefect.yaml and the environment; run it again after a change.

That is the work pool, the deployments with their schedules, limits and triggers, and automations
for runs that start late or whose process is gone. Everything is validated first; then what differs
is written. Deployments that are no longer in prefect.yaml stay, unless --prune is given.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Sequence
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import Automation

    from ..common.comparison import Item
    from ..common.prefect_file import Entry
    from ..common.settings import Settings

HELP = "make Prefect's server match prefect.yaml: work pool, deployments, automations"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--plan", action="store_true", help="only show what differs; exit with 2 if anything does"
    )
    parser.add_argument(
        "--prune", action="store_true", help="delete deployments that are not in prefect.yaml"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Compare, write what differs, and show it."""
    from ..common import alerts, errors, prefect_file, server, settings

    config = settings.load()
    mistakes: list[str] = []
    with server.connect() as client:
        pool, templates = _compare_pool(client, config, mistakes)
        entries = prefect_file.read(client, templates, mistakes)
        automations = server.read_automations(client)
        deployments = _compare_deployments(client, entries, automations, mistakes)
        others, note = alerts.compare(client, config, automations, mistakes)
        if mistakes:
            count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
            lines = "".join(f"\n- {line}" for line in mistakes)
            raise errors.PermanentError(f"{count}; nothing was changed.{lines}")
        items = [pool, *deployments, *others]
        if not arguments.plan:
            _apply(one for one in items if one.state != "orphaned" or arguments.prune)
    _show(items, note, arguments)
    if arguments.plan and any(one.apply for one in items):
        sys.exit(2)


def _compare_pool(
    client: SyncPrefectClient, config: Settings, mistakes: list[str]
) -> tuple[Item, dict[str, Any]]:
    """Return the work pool, and the template of its jobs by its name."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

    from ..common.comparison import Item

    name, type_ = config.work_pool, config.work_pool_type
    item = Item("work pool", name)
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound:
        template = asyncio.run(get_default_base_job_template_for_infrastructure_type(type_))
        if template is None:
            mistakes.append(f"There is no work pool type {type_!r}.")
            return item, {}
        made = WorkPoolCreate(name=name, type=type_, base_job_template=template)
        item.state, item.apply = "create", lambda: client.create_work_pool(made)
        return item, {name: template}
    if pool.type != type_:
        mistakes.append(f"The work pool {name} is of type {pool.type}, the settings say {type_}.")
    return item, {name: pool.base_job_template}


def _compare_deployments(
    client: SyncPrefectClient,
    entries: Sequence[Entry],
    automations: Iterable[Automation],
    mistakes: list[str],
) -> list[Item]:
    from ..common import comparison, server
    from ..common.comparison import Item

    there = server.read_deployments(client, {entry.request.name for entry in entries})
    starts: dict[UUID | None, list[Automation]] = {}
    for automation in automations:
        for action in automation.actions:
            starts.setdefault(getattr(action, "deployment_id", None), []).append(automation)
    flows = {flow: one.flow_id for (flow, _), one in there.items()}
    items: list[Item] = []
    for entry in entries:
        item = Item("deployment", "/".join(entry.key), "create")
        items.append(item)
        triggers: list[Automation] = []
        if old := there.pop(entry.key, None):
            if not server.is_ours(old):
                mistakes.append(f"There is a deployment {item.name} of another project.")
            item.fields = comparison.differences(entry, old)
            triggers = [a for a in starts.get(old.id, ()) if comparison.is_trigger(entry, a)]
            if not comparison.are_same(comparison.wanted_triggers(entry, old.id), triggers):
                item.fields.append("triggers")
            if "version" in item.fields and not entry.has_version:
                # It changes with each commit, and says nothing about the entry.
                item.fields.remove("version")
                item.version = old.version or "none"
            item.state = "change" if item.fields else "unchanged"
        if item.state != "unchanged" or item.version:
            item.apply = _writer(client, entry, item, flows, triggers)
    for key, old in there.items():
        if server.is_tagged(old):
            items.append(Item("deployment", "/".join(key), "orphaned"))
            items[-1].apply = _deleter(client, old.id)
    return items


def _writer(
    client: SyncPrefectClient,
    entry: Entry,
    item: Item,
    flows: dict[str, UUID],
    old: Iterable[Automation],
) -> Callable[[], None]:
    """Return what creates or changes a deployment and then its triggers."""
    from ..common import comparison

    def write() -> None:
        if entry.flow not in flows:
            flows[entry.flow] = client.create_flow_from_name(entry.flow)
        request = {name: getattr(entry.request, name) for name in entry.request.model_fields_set}
        # Prefect's server updates one of the same flow and name, at once.
        id_ = client.create_deployment(**request | {"flow_id": flows[entry.flow]})
        if "triggers" in item.fields:
            for automation in old:
                client.delete_automation(automation.id)
            client.delete_resource_owned_automations(f"prefect.deployment.{id_}")
        if "triggers" in item.fields or item.state == "create":
            for wanted in comparison.wanted_triggers(entry, id_):
                client.create_automation(wanted)

    return write


def _deleter(client: SyncPrefectClient, id_: UUID) -> Callable[[], None]:
    def delete() -> None:
        client.delete_resource_owned_automations(f"prefect.deployment.{id_}")
        client.delete_deployment(id_)

    return delete


def _apply(items: Iterable[Item]) -> None:
    """Make things right, one after the other.

    The server's work is nearly all of the time, and on a busy machine a server on SQLite refuses
    some of two or more requests that write at the same time (503).
    """
    from ..common import errors, prefect_api

    for item in items:
        try:
            with prefect_api.explained():
                if item.apply:
                    item.apply()
        except (errors.PermanentError, errors.TransientError) as error:
            raise type(error)(f"{item.what} {item.name}: {error}") from error


def _show(items: Sequence[Item], note: str, arguments: argparse.Namespace) -> None:
    from ..common import prefect_api, prefect_file, runs, settings
    from .ingest import show

    columns = ("what", "name", "state", "fields")
    rows = [{key: getattr(item, key) for key in columns} for item in items]
    old = Counter(item.version for item in items if item.version)
    version, where = prefect_file.code_version(), prefect_api.address()
    if arguments.json:
        found = {"server": where, "items": rows, "version": version, "replaces": old, "note": note}
        print(json.dumps(found, indent=2))
        return
    done = {"create": "created", "change": "changed"}
    if arguments.prune:
        done["orphaned"] = "deleted"
    words = {} if arguments.plan else done
    for row in rows:
        row["state"] = words.get(row["state"], row["state"])
        row["fields"] = ", ".join(row["fields"]) or None
    title = f"{'Plan for' if arguments.plan else 'Deployed'} {runs.deployment_name()} on {where}"
    show(rows, [*columns], title)
    for name, count in old.items():
        print(f"The version {version} replaces {name} in {count} deployments.")
    if any(row["state"] == "orphaned" for row in rows):
        prune = settings.command("deploy", "--prune")
        print(f"What is orphaned is not in prefect.yaml any more: `{prune}` deletes it.")
    print(note)
