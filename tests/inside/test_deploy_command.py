"""`deploy` beside `prefect deploy --all`, on a real server. Runs inside a generated project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from my_data_project import cli
from my_data_project.common import prefect_file, runs, settings
from my_data_project.flows import ingestion_flow, transform_flow
from prefect import get_client
from prefect.blocks.system import Secret
from prefect.blocks.webhook import Webhook
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.variables import Variable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREFIX = settings.ENV_PREFIX
INGEST = f"{ingestion_flow.__name__}.ingest_all"
WEBHOOK = "http://127.0.0.1:9/hunter2"
TRANSFORM = f"{transform_flow.__name__}.transform_all"

EVERYTHING = f"""
name: {settings.PROJECT}
pull: []
definitions:
  name: &name "{settings.PROJECT}-{{{{ ${PREFIX}ENVIRONMENT }}}}"
  tags: &tags [{settings.PROJECT}, *name]
  pool: &pool
    name: "{{{{ ${PREFIX}WORK_POOL }}}}"
    job_variables:
      env: {{A: "{{{{ ${PREFIX}WORK_POOL }}}}", B: "{{{{ prefect.variables.deploy_word }}}}"}}
  base: &base {{tags: *tags, work_pool: *pool}}
deployments:
  - <<: *base
    name: *name
    entrypoint: {INGEST}
    description: Cron, a limit with a strategy, and parameters.
    version: "7"
    schedules:
      - {{slug: early, cron: "0 6 * * *", timezone: Europe/Paris, active: "{{{{ $ACTIVE }}}}"}}
      - {{slug: late, cron: "0 18 1 * 5", day_or: false, parameters: {{only: [a]}}}}
    parameters: {{only: [orders], since: 2026-01-31}}
    concurrency_limit: {{limit: 2, collision_strategy: CANCEL_NEW, grace_period_seconds: 90}}
  - <<: *base
    name: intervals
    entrypoint: {INGEST}
    schedules:
      - {{interval: 3600, anchor_date: "2026-01-01T00:00:00+00:00", timezone: UTC}}
      - {{rrule: "FREQ=DAILY;COUNT=300", timezone: America/New_York}}
    concurrency_limit: 3
    enforce_parameter_schema: false
    paused: true
  - <<: *base
    name: *name
    entrypoint: {TRANSFORM}
    work_pool: {{name: *name, work_queue_name: urgent}}
    pull:
      - prefect.deployments.steps.set_working_directory: {{directory: /srv}}
      - prefect.deployments.steps.git_clone:
          repository: https://git.example.com/repo
          branch: "{{{{ $LATER }}}}"
          access_token: "{{{{ prefect.blocks.secret.deploy-token }}}}"
    parameters: {{without: ["{{{{ prefect.blocks.secret.deploy-token }}}}"]}}
    triggers:
      - match: {{prefect.resource.id: "ingestion.{{{{ ${PREFIX}ENVIRONMENT }}}}"}}
        expect: [ingestion.ended]
        parameters:
          without:
            __prefect_kind: json
            value: {{__prefect_kind: jinja, template: "{{{{ event.payload.failed | tojson }}}}"}}
      - {{enabled: false, posture: Proactive, within: 60, expect: [a.b], name: own name}}
      - {{type: compound, require: all, within: 60, triggers: [{{expect: [a]}}, {{expect: [b]}}]}}
  - <<: *base
    name: plain
    entrypoint: {TRANSFORM}
"""
"""Each feature of prefect.yaml that the documents mention."""


@pytest.fixture
def environment(
    prefect_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[str]:
    """An environment of its own, on a server that others use too, in a folder of its own."""
    name = f"d{uuid.uuid4().hex[:12]}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"{PREFIX}ENVIRONMENT", name)
    monkeypatch.setenv(f"{PREFIX}WORK_POOL", f"{settings.PROJECT}-{name}")
    monkeypatch.setenv(f"{PREFIX}WORK_POOL_TYPE", "process")
    monkeypatch.setenv("ACTIVE", "false")
    Variable.set("deploy_word", "word", overwrite=True)
    Secret(value="hunter2").save("deploy-token", overwrite=True)
    (tmp_path / "prefect.yaml").write_text(EVERYTHING)
    yield name
    with get_client(sync_client=True) as client:
        for one in deployed().values():
            client.delete_resource_owned_automations(f"prefect.deployment.{one.id}")
            client.delete_deployment(one.id)
        for what in ("stuck", "late", "lost"):
            for made in client.read_automations_by_name(f"{runs.deployment_name()}-{what}"):
                client.delete_automation(made.id)


@pytest.fixture
def deploy(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command, and return what it printed as JSON, or the error."""

    def run(*words: str, code: int = 0) -> Any:
        capsys.readouterr()
        try:
            found = cli.main(["deploy", "--json", *words])
        except SystemExit as stopped:
            found = stopped.code
        out, err = capsys.readouterr()
        assert found == code, out + err
        assert "hunter2" not in out + err
        return err if code == 1 else json.loads(out)

    return run


def states(found: dict[str, Any]) -> dict[str, Any]:
    """Return what differs, by name."""
    return {
        row["name"]: (row["state"], row["fields"])
        for row in found["items"]
        if row["state"] != "unchanged"
    }


def prefect_deploy() -> None:
    """Deploy as Prefect does."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        env={
            **os.environ,
            "PREFECT_API_URL": str(PREFECT_API_URL.value()),
            "PREFECT_DEPLOYMENTS_CLEAR_SCHEDULES_ON_EMPTY": "true",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def deployed() -> dict[str, Any]:
    """Return this environment's deployments."""
    from my_data_project.common import server

    with get_client(sync_client=True) as client:
        found = server.read_deployments(client)
    return {"/".join(key): one for key, one in found.items()}


def contents() -> dict[str, Any]:
    """Return what the server holds of this environment, without ids, times and versions."""
    noise = {"id", "created", "updated", "flow_id", "created_by", "updated_by", "version"}
    noise |= {"work_queue_id", "labels", "status", "last_polled", "global_concurrency_limit"}
    found: dict[str, Any] = {}
    with get_client(sync_client=True) as client:
        for name, one in deployed().items():
            found[name] = one.model_dump(mode="json", exclude=noise)
            for schedule in found[name]["schedules"]:
                for key in ("id", "created", "updated", "deployment_id"):
                    del schedule[key]
            found[name]["schedules"].sort(key=str)
            limit = one.global_concurrency_limit
            found[name]["limit"] = limit and limit.limit
            related = client.read_resource_related_automations(f"prefect.deployment.{one.id}")
            dumps = [a.model_dump(exclude={"id", "created", "updated", "tags"}) for a in related]
            found[name]["triggers"] = sorted(dumps, key=lambda dump: dump["name"])
    return found


def edit(tmp_path: Path, change: Any) -> None:
    """Change the entries of the file."""
    path = tmp_path / "prefect.yaml"
    content = yaml.safe_load(path.read_text())
    change(content["deployments"])
    path.write_text(yaml.safe_dump(content))


def test_it_agrees_with_prefect_deploy(environment: str, deploy: Any) -> None:
    assert {state for state, _ in states(deploy("--plan", code=2)).values()} == {"create"}
    assert deployed() == {}
    deploy()
    assert states(deploy("--plan")) == {}
    assert states(deploy()) == {}
    before = contents()
    assert len(before) == 4
    assert len(before[f"transform/{runs.deployment_name()}"]["triggers"]) == 3
    prefect_deploy()
    assert contents() == before
    found = deploy("--plan", code=2)
    assert states(found) == {}  # but for the version, which Prefect takes from git or the file
    assert sum(found["replaces"].values()) == 3


def test_it_agrees_with_what_prefect_deploy_has_created(environment: str, deploy: Any) -> None:
    with get_client(sync_client=True) as client:
        pool = WorkPoolCreate(name=runs.deployment_name(), type="process")
        client.create_work_pool(pool)
    prefect_deploy()
    found = states(deploy("--plan", code=2))
    assert {name: state for name, (state, _) in found.items()} == {
        f"{runs.deployment_name()}-{what}": "create" for what in ("stuck", "lost")
    }


def test_it_goes_on_without_slack(
    environment: str, deploy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}SLACK_WEBHOOK_URL", "block:commands-no-slack")
    note = deploy()["note"]
    assert "Nothing is posted, because" in note
    assert "secret slack-webhook-url, then deploy again" in note
    assert f"leave {PREFIX}SLACK_WEBHOOK_URL empty" in note
    assert alerts() == {"lost": 1, "stuck": 1, "late": 0}


def alerts() -> dict[str, int]:
    """Return how many automations for alerts there are."""
    with get_client(sync_client=True) as client:
        return {
            what: len(client.read_automations_by_name(f"{runs.deployment_name()}-{what}"))
            for what in ("lost", "stuck", "late")
        }


def test_alerts_come_and_go_with_their_webhook(
    environment: str, deploy: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "prefect.yaml").write_text(json.dumps({"name": settings.PROJECT}))
    names = {what: f"{runs.deployment_name()}-{what}" for what in ("late", "lost", "stuck")}
    block = f"{runs.deployment_name()}-alerts"
    deploy()
    monkeypatch.setenv(f"{PREFIX}SLACK_WEBHOOK_URL", WEBHOOK)
    wanted = {
        block: ("create", []),
        names["late"]: ("create", []),
        names["lost"]: ("change", ["actions"]),
        names["stuck"]: ("change", ["actions"]),
    }
    assert states(deploy("--plan", code=2)) == wanted
    assert states(deploy()) == wanted
    assert states(deploy("--plan")) == {}
    monkeypatch.setenv(f"{PREFIX}SLACK_WEBHOOK_URL", f"{WEBHOOK}2")
    assert states(deploy()) == {block: ("change", ["url"])}
    assert Webhook.load(block).url.get_secret_value() == f"{WEBHOOK}2"
    monkeypatch.setenv(f"{PREFIX}LATE_AFTER_SECONDS", "20")
    with get_client(sync_client=True) as client:
        (lost,) = client.read_automations_by_name(names["lost"])
        client.pause_automation(lost.id)
        (stuck,) = client.read_automations_by_name(names["stuck"])
        client.create_automation(AutomationCore.model_validate(stuck.model_dump()))
        assert "hunter2" not in lost.model_dump_json()
    changed = states(deploy("--plan", code=2))
    assert changed[names["lost"]] == ("change", ["enabled"])
    assert changed[names["late"]] == ("change", ["actions", "trigger"])
    assert changed[names["stuck"]] == ("change", ["actions", "trigger", "doubled"])
    deploy()
    assert states(deploy("--plan")) == {}
    assert alerts() == {"lost": 1, "stuck": 1, "late": 1}
    monkeypatch.setenv(f"{PREFIX}SLACK_WEBHOOK_URL", "")
    assert states(deploy())[names["late"]] == ("change", ["deleted"])
    assert states(deploy("--plan")) == {}
    assert alerts() == {"lost": 1, "stuck": 1, "late": 0}


def test_what_somebody_else_has_made_stays(
    environment: str, deploy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{runs.deployment_name()}-late"
    monkeypatch.setenv(f"{PREFIX}SLACK_WEBHOOK_URL", WEBHOOK)
    block = f"{runs.deployment_name()}-alerts"
    Webhook(url="http://127.0.0.1:9/other").save(block)
    trigger = {"type": "event", "posture": "Reactive", "threshold": 1, "within": 0}
    other = {"name": name, "trigger": trigger, "actions": [{"type": "do-nothing"}]}
    with get_client(sync_client=True) as client:
        assert f"a Webhook block {block} that deploy did not create" in deploy(code=1)
        made = client.create_automation(AutomationCore.model_validate(other))
        assert f"an automation {name} that deploy did not create" in deploy(code=1)
        assert [one.id for one in client.read_automations_by_name(name)] == [made]
        client.delete_automation(made)
        Webhook.delete(block)
        flow_id = client.create_flow(ingestion_flow.ingest_all)
        theirs = client.create_deployment(flow_id=flow_id, name=runs.deployment_name())
        text = f"a deployment ingest-all/{runs.deployment_name()} of another project"
        assert text in deploy(code=1)
        assert deployed() == {}
        assert client.read_deployment(theirs).tags == []
        client.delete_deployment(theirs)
