"""Alerts: a task that posts to Slack, and the hook that posts when a flow fails."""

from __future__ import annotations

import contextlib
import logging
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import escape
from typing import TYPE_CHECKING, Any

import httpx
import tenacity
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.utilities.urls import url_for

from ..common import errors, reporting, settings
from ..common.secrets import reveal

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun
    from prefect.states import State

TIMEOUT_SECONDS = 10.0
PATIENCE_SECONDS = 120.0
"""How long to keep trying to post a message; a longer `Retry-After` gives up at once."""
REASON_LENGTH = 1500
"""Characters of a reason in an alert; Slack truncates long messages."""

# It logs the URL of each request, and the webhook's URL is a secret.
logging.getLogger("httpx").setLevel(logging.WARNING)


class SlackBusyError(errors.TransientError):
    """Slack's webhook is unavailable; `Retry-After` may tell for how long."""

    retry_after = 0.0


def _pause(state: tenacity.RetryCallState) -> float:
    asked = getattr(state.outcome and state.outcome.exception(), "retry_after", 0.0)
    return max(asked, tenacity.wait_exponential_jitter(initial=1, max=30)(state))


# Retried here and not by the task, because hooks run outside of tasks.
@tenacity.retry(
    retry=tenacity.retry_if_exception_type(SlackBusyError),
    wait=_pause,
    stop=lambda state: tenacity.stop_before_delay(PATIENCE_SECONDS)(state),
    reraise=True,
)
def post_to_slack(message: str, channel: str | None = None) -> bool:
    """Post a message to the webhook of the settings; retry while it is unavailable.

    Returns False without a webhook. The default channel is that of the settings, or else the
    webhook's.

    Raises:
        PermanentError: The webhook refuses the message.
        TransientError: The webhook stayed unavailable.
    """
    config = settings.load()
    if config.slack_webhook_url is None or not config.slack_webhook_url.get_secret_value():
        return False
    body = {"text": message}
    if channel := channel or config.slack_channel:
        body["channel"] = channel
    url = reveal(config.slack_webhook_url)
    # The URL is secret: neither the message nor a chained exception may contain it.
    try:
        response = httpx.post(url, json=body, timeout=TIMEOUT_SECONDS)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        raise errors.PermanentError("slack_webhook_url is not a URL.") from None
    except httpx.TransportError as error:
        kind = type(error).__name__
        raise SlackBusyError(f"Slack's webhook cannot be reached: {kind}.") from None
    problem = f"Slack's webhook answers {response.status_code}."
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
        busy = SlackBusyError(problem)
        busy.retry_after = _seconds(response.headers.get("Retry-After", ""))
        raise busy
    if not response.is_success:
        raise errors.PermanentError(problem)
    return True


def _seconds(retry_after: str) -> float:
    """Return the seconds in a `Retry-After` header, which may be a date; 0 if it is neither."""
    if retry_after.isdecimal():
        return float(retry_after)
    with contextlib.suppress(ValueError, TypeError):
        return (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
    return 0.0


# Not cached: the same message may have to be sent twice.
@task(cache_policy=NO_CACHE)
def send_slack_alert(message: str, channel: str | None = None) -> bool:
    """Post a message to Slack, as `post_to_slack` does."""
    return post_to_slack(message, channel)


# Prefect's workers pass the arguments by these names.
def alert_on_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Post to Slack that a flow run failed or crashed; for `on_failure` and `on_crashed`.

    If the alert fails, it is only logged. Subflow runs post nothing, because their parent does.
    """
    if flow_run.parent_task_run_id is not None:
        return
    try:
        post_to_slack(describe_failure(flow, flow_run, state))
    except (errors.PermanentError, errors.TransientError) as error:
        reporting.logger(__name__).warning("No alert was sent: %s", error)


def describe_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> str:
    """Return an alert in Slack's markup: what failed, where, the run, the reason, what to do."""
    # "Flow run encountered an exception: PermanentError: 1 of 5 tables failed: …"
    cause, _, detail = (state.message or "").partition("exception: ")[2].partition(": ")
    advice = "Fix the cause, then run it again; nothing is loaded twice."
    if state.name == "Crashed":
        advice = "The process or its machine ended. Nothing is half loaded: run it again."
    elif cause == "TransientError":
        advice = "It was retried. Run it again once the cause has passed."
    reason = (detail or state.message or "unknown")[:REASON_LENGTH]
    name, url = escape(flow_run.name, quote=False), url_for(flow_run)
    return (
        f":red_circle: *{escape(flow.name, quote=False)}* {str(state.name).lower()}"
        f" in *{escape(settings.load().environment, quote=False)}*\n"
        f"*Run:* {f'<{url}|{name}>' if url else name}\n"
        f"*Reason:* {escape(reason, quote=False)}\n"
        f"*To do:* {advice} See docs/operations.md."
    )
