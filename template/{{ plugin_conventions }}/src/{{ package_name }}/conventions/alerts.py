"""Automations that send an owner a message when one of their flow runs fails.

Prefect's server sends the message, however the run ended. It finds the owner by a tag, which the
run has from its deployment.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from prefect.automations import AutomationCore
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events import EventTrigger, Posture
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.exceptions import ObjectNotFound

from ..common import errors
from .decorators import tag_of_owner

if TYPE_CHECKING:
    from prefect.client.schemas.responses import DeploymentResponse

SILENCE = timedelta(minutes=15)
"""A run without a heartbeat for so long counts as crashed; Prefect sends one every 3 minutes."""

SUBJECT = "{{ flow.name }} {{ event.payload.validated_state.name | lower }}"
BODY = """\
{{ event.resource.name }}: {{ event.payload.validated_state.message | truncate(1000) }}
{{ flow_run | ui_url or '' }}"""
"""The message; Prefect's server fills in the braces."""


def alert_owner(
    owner: str, block: str, *, cancelled: bool = False, silence: timedelta = SILENCE
) -> None:
    """Create or update the automations that alert an owner.

    The block, as `<type>/<name>`, sends a message for runs that fail, time out or crash, and with
    `cancelled` for cancelled runs. A run without a heartbeat for `silence`, at least 10 seconds,
    becomes Crashed.

    Raises:
        PermanentError: The block does not exist or sends no messages, or the owner is a pattern.
    """
    run: dict[str, Any] = {"prefect.resource.id": "prefect.flow-run.*"}
    theirs: dict[str, Any] = {"prefect.resource.id": f"prefect.tag.{tag_of_owner(owner)}"}
    # Match the type, because names vary: TimedOut is of type Failed.
    states = [StateType.FAILED, StateType.CRASHED, *([StateType.CANCELLED] if cancelled else [])]
    ended = EventTrigger(
        expect={"prefect.flow-run.*"},
        match={**run, "prefect.state-type": [state.value for state in states]},
        match_related=theirs,
        posture=Posture.Reactive,
    )
    # Nothing else reports a run whose machine is gone, or that a killed worker left Pending.
    lost = EventTrigger(
        after={"prefect.flow-run.Pending", "prefect.flow-run.heartbeat"},
        expect={"prefect.flow-run.*"},
        match=run,
        match_related=theirs,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        within=silence,
    )
    message = f"No sign of life for {silence.total_seconds():.0f} s."
    crash = ChangeFlowRunState(
        name="Crashed", state=StateType.CRASHED, message=message, force=False
    )
    with get_client(sync_client=True) as client:
        try:
            kind, _, name = block.partition("/")
            document = client.read_block_document_by_name(name, kind)
        except ObjectNotFound:
            message = f"There is no block {block!r}: create it in Prefect's UI, or name another."
            raise errors.PermanentError(message) from None
        schema = document.block_schema
        if schema is None or "notify" not in schema.capabilities:
            message = f"The block {block!r} sends no messages: name one for notifications."
            raise errors.PermanentError(message)
        send = SendNotification(block_document_id=document.id, subject=SUBJECT, body=BODY)
        for made in (
            AutomationCore(name=f"Crash lost runs of {owner}", trigger=lost, actions=[crash]),
            AutomationCore(name=f"Alert {owner}", trigger=ended, actions=[send]),
        ):
            if present := client.read_automations_by_name(made.name):
                client.update_automation(present[0].id, made)
            else:
                client.create_automation(made)


def without_owner() -> list[str]:
    """Return the deployments without an owner's tag: their runs alert nobody."""
    found: list[DeploymentResponse] = []
    with get_client(sync_client=True) as client:
        while page := client.read_deployments(limit=200, offset=len(found)):
            found += page
    missing = [each for each in found if not any(tag.startswith("owner:") for tag in each.tags)]
    return sorted(f"{each.name} ({each.entrypoint})" for each in missing)
