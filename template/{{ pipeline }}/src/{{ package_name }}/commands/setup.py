"""Create what the deployments need on Prefect's server; run it again after a change.

That is the work pool, and automations for runs that start late or whose process is gone. Settings
come from the environment. What exists is brought up to date. With --prune, deployments of this
environment that are no longer in prefect.yaml are deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    import argparse

    from prefect.client.orchestration import SyncPrefectClient

    from ..common.settings import Settings

HELP = "create the work pool and the automations that the deployments need"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the option."""
    parser.add_argument(
        "--prune", action="store_true", help="delete deployments that are not in prefect.yaml"
    )


def run(arguments: argparse.Namespace) -> None:
    """Create or update all of it, and print what was done."""
    from ..common import server, settings

    config = settings.load()
    with server.connect() as client:
        for name in server.find_others(client):
            print(f"{name} is not tagged as this project's; `prefect deploy` would replace it.")
        print(_make_work_pool(client, config.work_pool, config.work_pool_type))
        print(_make_automations(client, config))
        for deployment in server.deployments(client) if arguments.prune else ():
            if server.is_orphaned(deployment):
                client.delete_deployment(deployment.id)
                print(f"Deleted the deployment {deployment.name} of {deployment.entrypoint}.")


def _make_work_pool(client: SyncPrefectClient, name: str, type_: str) -> str:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

    from ..common import errors

    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound:
        template = asyncio.run(get_default_base_job_template_for_infrastructure_type(type_))
        if template is None:
            raise errors.PermanentError(f"There is no work pool type {type_!r}.") from None
        client.create_work_pool(WorkPoolCreate(name=name, type=type_, base_job_template=template))
        return f"Created the work pool {name} ({type_})."
    return f"The work pool {name} ({pool.type}) exists."


def _make_automations(client: SyncPrefectClient, config: Settings) -> str:
    """Create or replace the automations for runs that cannot report: not begun, or gone."""
    from prefect.events.schemas.automations import AutomationCore

    from ..common import errors, runs

    late, lost = config.late_after_seconds, config.lost_after_seconds
    pool = f"See whether a worker serves the work pool {config.work_pool}, or the pool is paused."
    again = "Nothing is half loaded: run it again."
    ended = ("heartbeat", "Completed", "Failed", "Crashed", "Cancelled")
    begun = ("Pending", "Running", *ended)
    name = runs.deployment_name()
    ours = {"prefect.resource.id": f"prefect.tag.{name}"}
    existing = [
        old
        for what in ("stuck", "lost", "late")
        for old in client.read_automations_by_name(f"{name}-{what}")
    ]
    for old in existing:
        if old.trigger.model_dump().get("match_related") != ours:
            message = f"There is an automation {old.name} that setup did not create: rename or"
            raise errors.PermanentError(f"{message} delete it, then run setup again.")
    webhook, posted = _save_webhook(config, is_new=not existing)
    for old in existing:
        client.delete_automation(old.id)
    # Which event must be followed by which others within how many seconds, or what is wrong.
    for what, after, expected, seconds, reason, advice in (
        # Its worker or machine died before it began: otherwise it stays Pending for ever.
        ("stuck", "Pending", ("*",), late, f"A worker did not begin it in {late} s.", again),
        ("lost", "heartbeat", ended, lost, f"No sign of life for {lost} seconds.", again),
        ("late", "Late", begun, late, f"No worker took it within {late} seconds.", pool),
    ):
        actions: list[dict[str, Any]] = []
        if what != "late":  # Crashed also frees its place in its deployment's limit
            actions = [{"type": "change-flow-run-state", "state": "CRASHED", "message": reason}]
        if webhook is not None:
            payload = json.dumps({"text": _write(what, config.environment, reason, advice)})
            actions += [{"type": "call-webhook", "block_document_id": webhook, "payload": payload}]
        trigger = {
            "type": "event",
            "posture": "Proactive",
            "after": [f"prefect.flow-run.{after}"],
            "expect": [f"prefect.flow-run.{event}" for event in expected],
            "match": {"prefect.resource.id": "prefect.flow-run.*"},
            # A heartbeat names its deployment by an id that is not known yet, and its tags.
            "match_related": ours,
            "for_each": ["prefect.resource.id"],
            "within": seconds,
        }
        if actions:
            made = {"name": f"{name}-{what}", "trigger": trigger, "actions": actions}
            client.create_automation(AutomationCore.model_validate(made))
    seen = f"Runs that do not begin within {late} s, or give no sign of life for {lost} s"
    return f"{seen}, become Crashed; {posted}"


def _write(what: str, environment: str, reason: str, advice: str) -> str:
    """Return the text of an alert; Prefect's server fills in the double braces."""
    from prefect.utilities.urls import url_for

    nobody = UUID(int=0)
    run = "{{ flow_run.name }}"
    # The server need not know under which address people see it.
    if page := url_for("flow-run", obj_id=nobody):
        run = f"<{page.replace(str(nobody), '{{ flow_run.id }}')}|{run}>"
    return (
        f":red_circle: *{{{{ flow.name }}}}* is {what} in *{environment}*\n*Run:* {run}\n"
        f"*Reason:* {reason}\n*To do:* {advice} See docs/operations.md."
    )


def _save_webhook(config: Settings, *, is_new: bool) -> tuple[str | None, str]:
    """Save the block that posts; return its id and what is posted, or None and why nothing is."""
    from prefect.blocks.webhook import Webhook
    from pydantic import SecretStr

    from ..common import errors, runs, secrets, settings

    url = config.slack_webhook_url
    if url is None or not url.get_secret_value():
        return None, "nothing is posted, because no webhook is set."
    try:
        block = Webhook(url=SecretStr(secrets.reveal(url)))
    except secrets.MissingBlockError as error:
        # Environments name a webhook, and not every team has Slack.
        variable = f"{settings.ENV_PREFIX}SLACK_WEBHOOK_URL"
        return None, (
            f"nothing is posted, because the webhook is missing. {error}, then run setup again."
            f" Without Slack, leave {variable} empty."
        )
    slug = runs.deployment_name().lower().replace(".", "-").replace("_", "-")
    name = f"{slug}-alerts"
    with contextlib.suppress(ValueError):  # there is none yet
        old: Any = Webhook.load(name, _sync=True)  # pyrefly: ignore[unexpected-keyword]
        if is_new and old.url != block.url:
            message = f"There is a Webhook block {name} that setup did not create: delete it,"
            raise errors.PermanentError(f"{message} then run setup again.")
    saved = block.save(name, overwrite=True)
    return str(saved), "both are posted, and so are runs that no worker takes."
