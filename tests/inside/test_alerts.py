"""Alerts that meet trouble, with the webhook of the project's own tests. Runs inside a project."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from my_data_project.common import errors, settings
from my_data_project.tasks import notifications
from prefect import flow
from test_notifications import SECRET, Slack, failed_run, pauses, slack

fixtures = (slack, pauses)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it try once."""
    monkeypatch.setattr(notifications, "PATIENCE_SECONDS", 0)


def test_the_channel_comes_from_the_settings(slack: Slack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{settings.ENV_PREFIX}SLACK_CHANNEL", "#ops")
    notifications.send_slack_alert.fn("late")
    assert slack.posted == [{"text": "late", "channel": "#ops"}]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_an_outage_is_waited_for(slack: Slack, pauses: list[float], status: int) -> None:
    slack.answers = [(status, ""), (status, "")]
    assert notifications.post_to_slack("late") is True
    assert [message["text"] for message in slack.posted] == ["late"]
    assert len(pauses) == 2
    assert all(0 < pause < 5 for pause in pauses)


def test_retry_after_is_honoured(slack: Slack, pauses: list[float]) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    slack.answers = [(429, "30"), (503, date), (503, "soon"), (503, "inf")]
    assert notifications.post_to_slack("late") is True
    first, second, third, fourth = pauses
    assert 30 <= first < 31
    assert 30 < second <= 41
    assert third < 10
    assert fourth < 20


@pytest.mark.parametrize("seconds", ["86400", "9" * 400])
def test_the_wait_is_bounded(slack: Slack, pauses: list[float], seconds: str) -> None:
    slack.answers = [(429, seconds)]
    with pytest.raises(errors.TransientError, match="answers 429"):
        notifications.post_to_slack("late")
    assert pauses == []


def test_a_time_out_is_said_without_the_url(
    slack: Slack, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "TIMEOUT_SECONDS", 0.05)
    slack.delay = 0.5
    with pytest.raises(errors.TransientError, match="ReadTimeout") as caught:
        notifications.send_slack_alert.fn("late")
    assert SECRET not in repr(caught.getrepr(chain=True))


def test_an_unreachable_webhook_does_not_show_its_url(
    impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:1/{SECRET}"
    monkeypatch.setenv(f"{settings.ENV_PREFIX}SLACK_WEBHOOK_URL", url)
    with pytest.raises(errors.TransientError, match="cannot be reached") as caught:
        notifications.send_slack_alert.fn("late")
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(settings.load())


def test_no_log_has_the_url(slack: Slack, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        notifications.post_to_slack("late")
    assert SECRET not in caplog.text


def test_the_task_tries_again(slack: Slack, prefect_server: str) -> None:
    slack.answers = [(500, ""), (429, "1")]

    @flow
    def alert() -> bool:
        return notifications.send_slack_alert("late again")

    assert alert() is True
    assert [message["text"] for message in slack.posted] == ["late again"]


def test_the_hook_leaves_inner_runs_to_the_outer_one(slack: Slack) -> None:
    notifications.alert_on_failure(**failed_run(parent="outer"))
    assert slack.posted == []


def test_the_hook_survives_an_outage(
    slack: Slack, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    slack.answers = [(500, "")]
    notifications.alert_on_failure(**failed_run())
    assert "No alert was sent: Slack's webhook answers 500." in caplog.text
