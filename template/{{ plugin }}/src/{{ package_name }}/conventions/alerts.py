"""One automation for each owner: Prefect's server sends a message when a run of theirs fails.

It is the server that sends it, so that it comes even if the flow's machine is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.events import EventTrigger
from prefect.events import Posture
from prefect.events.actions import SendNotification
from prefect.exceptions import ObjectNotFound

from ..common import errors
from . import decorators

if TYPE_CHECKING:
    from uuid import UUID

SUBJECT = "{{ event.payload.flow }} {{ event.payload.state | lower }}"
BODY = "{{ event.resource.name }}, {{ event.payload.cost_centre }}: {{ event.payload.message }}"
"""What the message says; the server fills in the event."""


def alert_owner(owner: str, block: str) -> Automation:
    """Make, or bring up to date, the automation that alerts an owner.

    Args:
        owner: Team, as in `house_flow`.
        block: Block that sends messages, as `<type>/<name>`, such as `slack-webhook/finance`.

    Returns:
        The automation.

    Raises:
        PermanentError: There is no such block.
    """
    wanted = Automation(
        name=f"Alert {owner}",
        description=f"Sends a message by {block} when a flow run of {owner} fails.",
        trigger=EventTrigger(
            expect={decorators.FAILED},
            match_related={"prefect.resource.id": decorators.owner_resource(owner)},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[SendNotification(block_document_id=_document(block), subject=SUBJECT, body=BODY)],
    )
    try:
        # Typed `Automation | Coroutine`: in synchronous code it is the automation.
        present = cast("Automation", Automation.read(name=wanted.name))
    except ValueError:
        return cast("Automation", wanted.create())
    wanted.id = present.id
    wanted.update()
    return wanted


def _document(block: str) -> UUID:
    kind, _, name = block.partition("/")
    try:
        with get_client(sync_client=True) as client:
            return client.read_block_document_by_name(name, kind).id
    except ObjectNotFound:
        message = f"There is no block {block!r}. Make it in Prefect's UI, and name its type too."
        raise errors.PermanentError(message) from None
