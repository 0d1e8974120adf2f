"""Automations of Prefect's server for runs that cannot report: not begun, or gone."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.blocks.webhook import Webhook
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.utilities.urls import url_for
from pydantic import SecretStr

from . import comparison, runs, secrets, settings
from .comparison import Item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import Automation

NO_BLOCK = UUID(int=0)
"""Stands for the id of a block that is not saved yet."""
_KINDS = ("stuck", "lost", "late")
_NOT_OURS = "that deploy did not create: rename or delete it, then deploy again."


def _related() -> dict[str, str]:
    # A heartbeat names its deployment by an id that is not known yet, and its tags.
    return {"prefect.resource.id": f"prefect.tag.{runs.deployment_name()}"}


def wanted(config: settings.Settings, webhook: UUID | None) -> dict[str, AutomationCore]:
    """Return the automations, by their names.

    Args:
        config: The settings.
        webhook: Id of the block that posts; without one, no worker that is missing is noticed.
    """
    late, lost = config.late_after_seconds, config.lost_after_seconds
    pool = f"See whether a worker serves the work pool {config.work_pool}, or the pool is paused."
    again = "Nothing is half loaded: run it again."
    ended = ("heartbeat", "Completed", "Failed", "Crashed", "Cancelled")
    begun = ("Pending", "Running", *ended)
    made: dict[str, AutomationCore] = {}
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
            "match_related": _related(),
            "for_each": ["prefect.resource.id"],
            "within": seconds,
        }
        if actions:
            name = f"{runs.deployment_name()}-{what}"
            said = {"name": name, "description": "", "enabled": True}  # an update leaves the rest
            made[name] = AutomationCore.model_validate(
                said | {"trigger": trigger, "actions": actions}
            )
    return made


def _write(what: str, environment: str, reason: str, advice: str) -> str:
    """Return the text of an alert; Prefect's server fills in the double braces."""
    nobody = UUID(int=0)
    run = "{{ flow_run.name }}"
    # The server need not know under which address people see it.
    if page := url_for("flow-run", obj_id=nobody):
        run = f"<{page.replace(str(nobody), '{{ flow_run.id }}')}|{run}>"
    return (
        f":red_circle: *{{{{ flow.name }}}}* is {what} in *{environment}*\n*Run:* {run}\n"
        f"*Reason:* {reason}\n*To do:* {advice} See docs/operations.md."
    )


def webhook_name() -> str:
    """Return the name of the block that posts."""
    return f"{re.sub('[._]', '-', runs.deployment_name().lower())}-alerts"


def read_webhook(client: SyncPrefectClient) -> tuple[UUID, Webhook] | None:
    """Return the block that posts and its id, as Prefect's server has it."""
    try:
        found = client.read_block_document_by_name(webhook_name(), "webhook")
    except ObjectNotFound:
        return None
    return found.id, Webhook.model_validate(found.data)


def wanted_webhook(config: settings.Settings) -> tuple[Webhook | None, str]:
    """Return the block that posts, not saved, and a sentence about what is posted."""
    url = config.slack_webhook_url
    if url is None or not url.get_secret_value():
        return None, "Nothing is posted, because no webhook is set."
    try:
        revealed = secrets.reveal(url)
    except secrets.MissingBlockError as error:
        # Environments name a webhook, and not every team has Slack.
        variable = f"{settings.ENV_PREFIX}SLACK_WEBHOOK_URL"
        return None, (
            f"Nothing is posted, because the webhook is missing. {error}, then deploy again."
            f" Without Slack, leave {variable} empty."
        )
    return Webhook(url=SecretStr(revealed)), "Alerts are posted to the webhook."


def compare(
    client: SyncPrefectClient,
    config: settings.Settings,
    automations: Iterable[Automation],
    mistakes: list[str],
) -> tuple[list[Item], str]:
    """Return the block that posts, the automations, and a sentence about what is posted.

    Args:
        client: Prefect's server.
        config: The settings.
        automations: All automations of the server.
        mistakes: Where to add a sentence for each one of ours that somebody else has made.
    """
    prefix = runs.deployment_name()
    found: dict[str, list[Automation]] = {f"{prefix}-{what}": [] for what in _KINDS}
    for automation in automations:
        if automation.name in found:
            found[automation.name].append(automation)
            if automation.trigger.model_dump().get("match_related") != _related():
                mistakes.append(f"There is an automation {automation.name} {_NOT_OURS}")
    webhook, note = wanted_webhook(config)
    id_, saved = read_webhook(client) or (NO_BLOCK, None)
    items: list[Item] = []
    if webhook:
        block = webhook_name()
        if saved and saved.url != webhook.url and not any(found.values()):
            mistakes.append(f"There is a Webhook block {block} {_NOT_OURS}")
        names = Webhook.model_fields
        fields = [f for f in names if getattr(saved, f, None) != getattr(webhook, f)]
        state = "create" if saved is None else "change" if fields else "unchanged"
        items.append(Item("webhook", block, state, fields if saved else []))
        items[0].apply = (lambda: webhook.save(block, overwrite=True)) if fields else None
    made = wanted(config, id_ if webhook else None)
    for name, old in found.items():
        new = made.get(name)
        fields = comparison.changes(new, old[0]) if new and old else []
        fields += ["doubled"] * (len(old) > 1) + ["deleted"] * (new is None)
        state = "create" if not old else "change" if fields else "unchanged"
        if new or old:
            items.append(Item("automation", name, state, fields if old else []))
        if (new or old) and state != "unchanged":
            items[-1].apply = _writer(client, config, name, old, posts=webhook is not None)
    return items, note


def _writer(
    client: SyncPrefectClient,
    config: settings.Settings,
    name: str,
    old: Sequence[Automation],
    *,
    posts: bool,
) -> Callable[[], None]:
    """Return what creates, changes or deletes an automation, once the block is saved."""

    def write() -> None:
        block = read_webhook(client) if posts else None
        new = wanted(config, block[0] if block else None).get(name)
        if new and old:
            client.update_automation(old[0].id, new)
        elif new:
            client.create_automation(new)
        for automation in old[1:] if new else old:
            client.delete_automation(automation.id)

    return write
