"""Make Prefect's server match prefect.yaml and the environment; run it again after a change.

It creates or changes the work pool, the deployments with their schedules, limits and triggers, and
automations for runs that start late or whose process is gone. It validates everything first.
Deployments that are no longer in prefect.yaml stay, unless --prune is given.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from ..common.deployments import Item

HELP = "make Prefect's server match prefect.yaml: work pool, deployments, automations"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--plan", action="store_true", help="only show differences; exit with 2 if there are any"
    )
    parser.add_argument(
        "--prune", action="store_true", help="delete deployments that are not in prefect.yaml"
    )
    parser.add_argument(
        "--exit-zero", action="store_true", help="with --plan, exit with 0 in any case"
    )
    parser.add_argument(
        "--deployed", action="store_true", help="only print the commit that is deployed"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Compare, write the differences, and show them."""
    from ..common import alerts, deployments, errors, prefect_file, server, settings

    if arguments.exit_zero and not arguments.plan:
        arguments.error("--exit-zero needs --plan.")
    config = settings.load()
    with server.connect() as client:
        if arguments.deployed:
            print(*deployments.commits(client))
            return
        pool, template = deployments.compare_pool(client, config)
        entries = prefect_file.read(client, {config.work_pool: template})
        if arguments.prune and not entries:
            message = f"{prefect_file.PATH} lists no deployments, and --prune would delete all."
            raise errors.PermanentError(f"{message} Leave it out, or delete them in Prefect's UI.")
        automations = server.read_automations(client)
        items = [pool, *deployments.compare_deployments(client, entries, automations)]
        others, note = alerts.compare(client, config, automations)
        note = "\n".join(dict.fromkeys((*(one.unused for one in entries if one.unused), note)))
        items += others
        differ = [one for one in items if one.state != "unchanged" or one.version]
        if not arguments.plan:
            _apply(one for one in differ if one.state != "orphaned" or arguments.prune)
    _show(items, note, arguments)
    if arguments.plan and differ and not arguments.exit_zero:
        sys.exit(2)


def _apply(items: Iterable[Item]) -> None:
    """Apply the changes one after the other.

    Threads would not help: nearly all of the time is the server's, and a busy server on SQLite
    refuses some of several writes at the same time (503).
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
    from ..common import prefect_api, runs, settings
    from .ingest import show

    columns = ["what", "name", "state", "fields"]
    rows: list[dict[str, Any]] = [
        {key: getattr(item, key) for key in columns}
        | {"fields": [*item.fields], "changes": [*itertools.chain(*item.fields.values())]}
        for item in items
    ]
    old = Counter(item.version for item in items if item.version)
    version, where = runs.version(), prefect_api.address()
    if arguments.json:
        found = {"server": where, "items": rows, "version": version, "replaces": old, "note": note}
        print(json.dumps(found, indent=2))
        return
    done = {} if arguments.plan else {"create": "created", "change": "changed"}
    if arguments.prune:
        done["orphaned"] = "delete" if arguments.plan else "deleted"
    for row in rows:
        row["fields"] = ", ".join(row["fields"]) or None
        row["state"] = done.get(row["state"], row["state"])
    title = f"{'Plan for' if arguments.plan else 'Deployed'} {runs.deployment_name()} on {where}"
    show(rows, columns, title)
    for row in rows:
        for text in row["changes"]:
            print(f"{row['name']}: {text}")
    for name, count in old.items():
        print(f"The version {version} replaces {name} (deployments: {count}).")
    prune = settings.command("deploy", "--prune")
    if any(row["state"] == "orphaned" for row in rows):
        print(f"What is orphaned is not in prefect.yaml any more: `{prune}` deletes it.")
    for item in items:
        if count := item.active_runs:
            runs_are = "1 run is" if count == 1 else f"{count} runs are"
            print(f"{item.name}: {runs_are} active: paused, `{prune}` deletes it later.")
    print(note)
