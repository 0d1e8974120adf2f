"""Alerts: their text, and that they are posted despite an outage."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from databases import run_to_state
from prefect import flow

from my_data_project.common import errors, settings
from my_data_project.tasks import notifications


class Slack:
    """A stand-in for Slack's webhook: returns given responses, then 200, and records messages."""

    def __init__(self) -> None:
        self.answers: list[httpx.Response] = []
        self.posted: list[Any] = []
        self.pauses: list[float] = []

    def post(self, _url: str, *, json: Any, **_options: object) -> httpx.Response:
        """Receive a message like `httpx.post`."""
        answer = self.answers.pop(0) if self.answers else httpx.Response(200)
        self.posted += [json] if answer.is_success else []
        return answer


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Slack:
    """Set a webhook, and record the pauses between attempts instead of waiting."""
    slack = Slack()
    retrying: Any = notifications.post_to_slack
    monkeypatch.setattr(retrying.retry, "sleep", slack.pauses.append)
    monkeypatch.setattr(httpx, "post", slack.post)
    monkeypatch.setenv(f"{settings.ENV_PREFIX}SLACK_WEBHOOK_URL", "https://slack.example.com/x")
    return slack


def test_a_message_is_posted(slack: Slack) -> None:
    assert notifications.send_slack_alert.fn("late again", "#data") is True
    assert slack.posted == [{"text": "late again", "channel": "#data"}]


def test_an_outage_is_waited_for_and_a_refusal_is_not(slack: Slack) -> None:
    slack.answers = [
        httpx.Response(503),
        httpx.Response(429, headers={"Retry-After": "7"}),
        httpx.Response(403),
    ]
    with pytest.raises(errors.PermanentError, match="answers 403"):
        notifications.send_slack_alert.fn("late")
    first, second = slack.pauses
    assert first < 7 <= second


def test_a_failed_flow_sends_one_alert(
    slack: Slack, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{settings.ENV_PREFIX}ENVIRONMENT", "staging")

    @flow(name="doomed", on_failure=[notifications.alert_on_failure])
    def doomed() -> None:
        raise errors.PermanentError("There is no table 'planes'.")

    @flow(name="parent", flow_run_name="hourly", on_failure=[notifications.alert_on_failure])
    def parent() -> None:
        doomed()

    state = run_to_state(parent)
    assert state.is_failed()
    (message,) = slack.posted
    server = prefect_server.removesuffix("/api")
    run = f"{server}/runs/flow-run/{state.state_details.flow_run_id}"
    assert message["text"].splitlines() == [
        ":red_circle: *parent* failed in *staging*",
        f"*Run:* <{run}|hourly>",
        "*Reason:* There is no table 'planes'.",
        "*To do:* Fix the cause, then run it again; nothing is loaded twice."
        " See docs/operations.md.",
    ]


@pytest.mark.parametrize(
    ("name", "message", "reason", "advice"),
    [
        ("Failed", "Finished in state Failed", "Finished in state Failed", "Fix the cause"),
        (
            "Failed",
            "Flow run encountered an exception: TransientError: connection refused",
            "connection refused",
            "It was retried.",
        ),
        ("Crashed", "Flow run infrastructure exited", "Flow run infrastructure", "half loaded"),
    ],
)
def test_an_alert_says_what_to_do(name: str, message: str, reason: str, advice: str) -> None:
    run: Any = {
        "flow": SimpleNamespace(name="ingest-flights"),
        "flow_run": SimpleNamespace(name="wise <owl>"),
        "state": SimpleNamespace(name=name, message=message),
    }
    text = notifications.describe_failure(**run)
    # Without a server there is no page to link to.
    assert "*Run:* wise &lt;owl&gt;\n" in text
    assert f"*Reason:* {reason}" in text
    assert advice in text
