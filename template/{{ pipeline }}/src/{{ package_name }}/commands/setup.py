"""Make what the deployments need on Prefect's server; run it again after a change.

The work pool, and automations that notice runs that start late or whose process is gone, as the
settings of the environment say. What is there already is brought up to date. With --prune,
deployments of this environment that prefect.yaml does not have any more are deleted.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, cast
from uuid import UUID

if TYPE_CHECKING:
    import argparse

    from prefect.client.orchestration import SyncPrefectClient

    from ..common import settings

HELP = "make the work pool and the automations that the deployments need"
EVENT = "prefect.flow-run"
ENDED = {"heartbeat", "Completed", "Failed", "Crashed", "Cancelled"}
BEGUN = {"Pending", "Running", *ENDED}
# Prefect's server fills the double braces.
FLOW, RUN, RUN_ID = "{{ flow.name }}", "{{ flow_run.name }}", "{{ flow_run.id }}"


class Alert(NamedTuple):
    """What is told of a run for which, so many seconds after an event, none of others came."""

    name: str
    after: str
    expect: set[str]
    seconds: int
    reason: str
    advice: str


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the choice: the settings say the rest."""
    parser.add_argument(
        "--prune", action="store_true", help="delete deployments that prefect.yaml has no more"
    )


def run(arguments: argparse.Namespace) -> None:
    """Make or update all of it, and say so.

    Raises:
        PermanentError: The settings name no server, or an unknown type of work pool.
        TransientError: Prefect's server does not answer.
    """
    from ..common import runs, settings

    config = settings.load()
    with runs.connect() as client:
        print(_work_pool(client, config.work_pool, config.work_pool_type))
        print(_automations(client, config))
        for deployment in runs.deployments(client) if arguments.prune else ():
            if runs.is_orphaned(deployment):
                client.delete_deployment(deployment.id)
                print(f"Deleted the deployment {deployment.name} of {deployment.entrypoint}.")


def _work_pool(client: SyncPrefectClient, name: str, type_: str) -> str:
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
        return f"Made the work pool {name} ({type_})."
    return f"The work pool {name} ({pool.type}) is there."


def _automations(client: SyncPrefectClient, config: settings.Settings) -> str:
    """Make or replace what sees runs that cannot tell themselves: not begun, or gone."""
    late, lost = config.late_after_seconds, config.lost_after_seconds
    webhook, posted = _webhook(config)
    again = "Nothing is half loaded: run it again."
    pool = f"See whether a worker serves the work pool {config.work_pool}, or the pool is paused."
    for alert in (
        # Its worker or machine died before it began: otherwise it stays Pending for ever.
        Alert("stuck", "Pending", {"*"}, late, f"A worker did not begin it in {late} s.", again),
        Alert("lost", "heartbeat", ENDED, lost, f"No sign of life for {lost} seconds.", again),
        Alert("late", "Late", BEGUN, late, f"No worker took it within {late} seconds.", pool),
    ):
        _replace(client, config, alert, webhook)
    what = f"Runs that do not begin within {late} s, or give no sign of life for {lost} s"
    return f"{what}, become Crashed; {posted}"


def _webhook(config: settings.Settings) -> tuple[UUID | None, str]:
    """Save the block that posts, and say what is posted; None if nothing can be."""
    from prefect.blocks.webhook import Webhook
    from pydantic import SecretStr

    from ..common import runs, secrets, settings

    url = config.slack_webhook_url
    if url is None or not url.get_secret_value():
        return None, "nothing is posted, because no webhook is set."
    try:
        block = Webhook(url=SecretStr(secrets.reveal(url)))
    except secrets.MissingBlockError as error:
        # Not every team has Slack, and the files of environments name a webhook.
        variable = f"{settings.ENV_PREFIX}SLACK_WEBHOOK_URL"
        return None, (
            f"nothing is posted, because no webhook is there. {error}, then run setup again."
            f" Without Slack, leave {variable} empty."
        )
    slug = runs.deployment_name().lower().replace(".", "-").replace("_", "-")
    block_id = cast("UUID", block.save(f"{slug}-alerts", overwrite=True))
    return block_id, "both are posted, and so are runs that no worker takes."


def _replace(
    client: SyncPrefectClient, config: settings.Settings, alert: Alert, webhook: UUID | None
) -> None:
    """Make the automation that acts on a run for which nothing expected follows in time."""
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ActionTypes, CallWebhook, ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    from ..common import runs

    actions: list[ActionTypes] = []
    if alert.name != "late":  # Crashed also frees its place in its deployment's limit
        actions.append(ChangeFlowRunState(state=StateType.CRASHED, message=alert.reason))
    if webhook is not None:
        text = (
            f":red_circle: *{FLOW}* is {alert.name} in *{config.environment}*\n*Run:* {_run()}\n"
            f"*Reason:* {alert.reason}\n*To do:* {alert.advice} See docs/operations.md."
        )
        payload = json.dumps({"text": text})
        actions.append(CallWebhook(block_document_id=webhook, payload=payload))
    deployment = runs.deployment_name()
    trigger = EventTrigger(
        after={f"{EVENT}.{alert.after}"},
        expect={f"{EVENT}.{name}" for name in alert.expect},
        match=ResourceSpecification({"prefect.resource.id": f"{EVENT}.*"}),
        # A heartbeat names its deployment by an id that is not known yet, and its tags.
        match_related=ResourceSpecification({"prefect.resource.id": f"prefect.tag.{deployment}"}),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=alert.seconds),
    )
    name = f"{deployment}-{alert.name}"
    for old in client.read_automations_by_name(name):
        client.delete_automation(old.id)
    if actions:
        client.create_automation(AutomationCore(name=name, trigger=trigger, actions=actions))


def _run() -> str:
    """Link to the run: the server need not know under which address people see it."""
    from prefect.utilities.urls import url_for

    page = url_for("flow-run", obj_id=UUID(int=0))
    return f"<{page.replace(str(UUID(int=0)), RUN_ID)}|{RUN}>" if page else RUN
