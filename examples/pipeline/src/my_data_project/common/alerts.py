"""Automations for runs that cannot report themselves: not started, or lost."""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.blocks.webhook import Webhook
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.utilities.urls import url_for
from pydantic import SecretStr

from . import deployments, errors, runs, secrets, settings
from .deployments import Item

if TYPE_CHECKING:
    from collections.abc import Collection

    from prefect.client.orchestration import SyncPrefectClient

_NO_ID = UUID(int=0)
"""Stands for an id that only Prefect's server knows."""
_NOT_OURS = "that deploy did not create: rename or delete it, then deploy again."


def compare(
    client: SyncPrefectClient, config: settings.Settings, automations: Collection[Automation]
) -> tuple[list[Item], str]:
    """Return the webhook block, the automations, and a sentence about what is posted.

    Raises:
        PermanentError: Somebody else has created an object with the same name.
    """
    names = [f"{runs.deployment_name()}-{what}" for what in ("stuck", "lost", "late")]
    found = {name: [one for one in automations if one.name == name] for name in names}
    webhook, note = _wanted_webhook(config)
    saved_id, saved = _read_webhook(client)
    wanted = _wanted(config, saved_id if webhook else None)
    ours = _wanted(config, _NO_ID)  # also if the webhook was removed later
    for name, old in found.items():
        shapes = [*map(_shape, ours[name])]
        if not all(map(deployments.is_made, old)) and [*map(_shape, old)] != shapes:
            raise errors.PermanentError(f"There is an automation {name} {_NOT_OURS}")

    def write(name: str, old: Collection[Automation]) -> None:
        id_ = _read_webhook(client)[0] if webhook else None  # saved before the automations
        left = [*old]
        for one in _wanted(config, id_).get(name, []):
            if left:
                client.update_automation(left.pop().id, one)
            else:
                client.create_automation(one)
        for one in left:
            client.delete_automation(one.id)

    items: list[Item] = []
    if webhook:
        block = _webhook_name()
        if saved and saved.url != webhook.url and not any(found.values()):
            raise errors.PermanentError(f"There is a Webhook block {block} {_NOT_OURS}")
        keys = Webhook.model_fields if saved else ()
        fields: dict[str, list[str]] = {
            key: [] for key in keys if getattr(saved, key) != getattr(webhook, key)
        }
        save = functools.partial(webhook.save, block, overwrite=True)
        state = "create" if not saved else "change" if fields else "unchanged"
        items.append(Item("webhook", block, state, save, fields))
    for name, old in found.items():
        new = wanted.get(name, [])
        fields = deployments.differences(new, old) if old else {}
        if old or new:
            state = "create" if not old else "change" if fields else "unchanged"
            items.append(
                Item("automation", name, state, functools.partial(write, name, old), fields)
            )
    return items, note


def _wanted(config: settings.Settings, webhook: UUID | None) -> dict[str, list[AutomationCore]]:
    """Return the automations by name; without a webhook there is none for late runs."""
    late, lost = config.late_after_seconds, config.lost_after_seconds
    pool = f"See whether a worker serves the work pool {config.work_pool}, or the pool is paused."
    again = "Nothing is half loaded: run it again."
    ended = ["heartbeat", "Completed", "Failed", "Crashed", "Cancelled"]
    begun = ["Pending", "Running", *ended]
    made: dict[str, list[AutomationCore]] = {}
    # After which event, which others must follow within how many seconds; and what it means if not.
    for what, after, expected, seconds, reason, advice in (
        # If its worker or machine died before it began, it would stay Pending for ever.
        ("stuck", "Pending", ["*"], late, f"A worker did not begin it in {late} s.", again),
        ("lost", "heartbeat", ended, lost, f"No sign of life for {lost} seconds.", again),
        ("late", "Late", begun, late, f"No worker took it within {late} seconds.", pool),
    ):
        actions: list[Any] = []
        if what != "late":  # Crashed also frees its concurrency slot
            actions = [{"type": "change-flow-run-state", "state": "CRASHED", "message": reason}]
        if webhook:
            text = _text(what, config.environment, reason, advice)
            post = {"type": "call-webhook", "block_document_id": webhook}
            actions.append(post | {"payload": json.dumps({"text": text})})
        trigger: Any = {
            "type": "event",
            "posture": "Proactive",
            "after": [f"prefect.flow-run.{after}"],
            "expect": [f"prefect.flow-run.{event}" for event in expected],
            "match": {"prefect.resource.id": "prefect.flow-run.*"},
            # Matched by tag, because the deployment's id is not known yet.
            "match_related": {"prefect.resource.id": f"prefect.tag.{runs.deployment_name()}"},
            "for_each": ["prefect.resource.id"],
            "within": seconds,
        }
        if actions:
            name = f"{runs.deployment_name()}-{what}"
            one = AutomationCore(name=name, enabled=True, trigger=trigger, actions=actions)
            made[name] = [deployments.mark(one)]
    return made


def _shape(automation: AutomationCore) -> tuple[object, ...]:
    """Return the fields by which to recognize an automation from before 0.7, which has no marks."""
    kinds = {getattr(action, "type", None) for action in automation.actions}
    return automation.trigger.model_dump(exclude={"within"}), kinds - {"call-webhook"}


def _text(what: str, environment: str, reason: str, advice: str) -> str:
    """Return the text of an alert; Prefect's server fills in the double braces."""
    run = "{{ flow_run.name }}"
    # None if the address of the UI is unknown.
    if page := url_for("flow-run", obj_id=_NO_ID):
        run = f"<{page.replace(str(_NO_ID), '{{ flow_run.id }}')}|{run}>"
    return (
        f":red_circle: *{{{{ flow.name }}}}* is {what} in *{environment}*\n*Run:* {run}\n"
        f"*Reason:* {reason}\n*To do:* {advice} See docs/operations.md."
    )


def _webhook_name() -> str:
    return f"{re.sub('[._]', '-', runs.deployment_name().lower())}-alerts"


def _read_webhook(client: SyncPrefectClient) -> tuple[UUID, Webhook | None]:
    """Return the webhook block on Prefect's server, and its id."""
    try:
        found = client.read_block_document_by_name(_webhook_name(), "webhook")
    except ObjectNotFound:
        return _NO_ID, None
    return found.id, Webhook.model_validate(found.data)


def _wanted_webhook(config: settings.Settings) -> tuple[Webhook | None, str]:
    """Return the webhook block to save, and a sentence about what is posted."""
    url = config.slack_webhook_url
    if url is None or not url.get_secret_value():
        return None, "Nothing is posted, because no webhook is set."
    try:
        webhook = Webhook(url=SecretStr(secrets.reveal(url)))
    except secrets.MissingBlockError as error:
        # Environment files name a block even if the team does not use Slack.
        without = f"Without Slack, leave {settings.ENV_PREFIX}SLACK_WEBHOOK_URL empty."
        return None, f"Nothing is posted, because {error}, then deploy again. {without}"
    return webhook, "Alerts are posted to the webhook."
