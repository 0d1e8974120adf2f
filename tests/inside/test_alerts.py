"""Alerts, sent to a real HTTP server on this machine. Runs inside a generated project."""

from __future__ import annotations

import functools
import json
import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from my_data_project.common import errors, settings
from my_data_project.tasks import notifications
from prefect import flow

SECRET = "T000-B000-hunter2"


class Slack:
    """Answers as Slack's webhooks do, or as told; remembers what was posted."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] = []
        self.delay = 0.0
        self.posted: list[dict[str, Any]] = []


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slack]:
    """Run a webhook, set as the one of the settings."""
    slack = Slack()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            time.sleep(slack.delay)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, retry_after = slack.answers.pop(0) if slack.answers else (200, "")
            if status == 200:
                slack.posted.append(json.loads(body))
            self.send_response(status)
            if retry_after:
                self.send_header("Retry-After", retry_after)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
            """Keep the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serve = functools.partial(server.serve_forever, poll_interval=0.02)
        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{SECRET}"
        monkeypatch.setenv(f"{settings.ENV_PREFIX}SLACK_WEBHOOK_URL", url)
        yield slack
        server.shutdown()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note how long it pauses between attempts instead of doing so."""
    pauses: list[float] = []
    retrying: Any = notifications.post_to_slack
    monkeypatch.setattr(retrying.retry, "sleep", pauses.append)
    return pauses


def failed_run(
    parent: object = None, name: str = "Failed", message: str = "no such table"
) -> dict[str, Any]:
    """Return the three things that a hook gets, by the names that Prefect's workers use."""
    run = SimpleNamespace(name="wise <owl>", parent_task_run_id=parent)
    state = SimpleNamespace(name=name, message=message)
    return {"flow": SimpleNamespace(name="ingest-flights"), "flow_run": run, "state": state}


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


@pytest.mark.parametrize("url", [SECRET, f"ftp://host/{SECRET}", f"http://host/\n{SECRET}"])
def test_what_is_no_url_is_refused_at_once(
    url: str, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{settings.ENV_PREFIX}SLACK_WEBHOOK_URL", url)
    with pytest.raises(errors.PermanentError, match=r"slack_webhook_url is not a URL\.") as caught:
        notifications.post_to_slack("late")
    assert SECRET not in repr(caught.getrepr(chain=True))
    assert pauses == []


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


@pytest.mark.parametrize("url", [None, ""])
def test_without_a_webhook_nothing_happens(
    url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if url is not None:
        monkeypatch.setenv(f"{settings.ENV_PREFIX}SLACK_WEBHOOK_URL", url)
    assert notifications.send_slack_alert.fn("late") is False


@pytest.mark.parametrize("status", [403, 404, 302])
def test_a_refusal_is_final(slack: Slack, pauses: list[float], status: int) -> None:
    slack.answers = [(status, "")]
    with pytest.raises(errors.PermanentError, match=f"answers {status}"):
        notifications.send_slack_alert.fn("late")
    assert pauses == []


def test_the_hook_tries_again(slack: Slack, pauses: list[float]) -> None:
    slack.answers = [(503, ""), (429, "7")]
    notifications.alert_on_failure(**failed_run())
    assert len(slack.posted) == 1
    assert pauses[1] >= 7


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_an_error_for_people_is_logged_without_its_traceback(level: int) -> None:
    log = logging.getLogger("prefect.flow_runs.of_this_test")
    both = [logging.getLogger(f"prefect.{kind}_runs").filters for kind in ("flow", "task")]
    filters = [one for one in both[0] if one in both[1]]
    assert filters
    log.filters, log.propagate = filters, False
    log.setLevel(level)
    shown: list[tuple[str, bool]] = []

    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.append((record.levelname, bool(record.exc_info)))

    log.handlers = [Shown()]
    for error in (errors.PermanentError("Do this."), ZeroDivisionError("a fault of the code")):
        log.error("Encountered exception during execution: %r", error, exc_info=error)
    cause = [("DEBUG", True)] if level == logging.DEBUG else []
    assert shown == [*cause, ("ERROR", False), ("ERROR", True)]
