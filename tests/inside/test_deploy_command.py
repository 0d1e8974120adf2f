"""`deploy` beside `prefect deploy --all`, on a real server. Runs inside a generated project."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml
from my_data_project import cli
from my_data_project.common import alerts, prefect_file, runs, server, settings
from my_data_project.flows import ingestion_flow, transform_flow
from prefect import get_client
from prefect.blocks.system import Secret
from prefect.blocks.webhook import Webhook
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import AwaitingRetry, Completed, Running, State
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
      - no_such_package.pull: {{requires: no-such-package}}
    parameters: {{without: ["{{{{ prefect.blocks.secret.deploy-token }}}}"]}}
    triggers:
      - match: {{prefect.resource.id: "ingestion.{{{{ ${PREFIX}ENVIRONMENT }}}}"}}
        expect: [ingestion.ended]
        parameters:
          without:
            __prefect_kind: json
            value: {{__prefect_kind: jinja, template: "{{{{ event.payload.failed | tojson }}}}"}}
      - {{type: compound, require: all, within: 60, triggers: [{{expect: [a]}}, {{expect: [b]}}]}}
      - {{enabled: false, posture: Proactive, within: 60, expect: [a.b], name: own name}}
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


def test_it_agrees_with_prefect_deploy(environment: str, deploy: Any, tmp_path: Path) -> None:
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
    # But for the version, which Prefect takes from git or the file, and the mark of `deploy`.
    assert states(found) == {f"transform/{runs.deployment_name()}": ("change", ["triggers"])}
    assert sum(found["replaces"].values()) == 3
    deploy()
    assert deploy("--plan")["replaces"] == {}
    assert contents() == before
    edit(tmp_path, lambda entries: entries[2]["triggers"].pop(1))
    assert states(deploy())[f"transform/{runs.deployment_name()}"] == ("change", ["triggers"])
    assert len(contents()[f"transform/{runs.deployment_name()}"]["triggers"]) == 2


def test_it_agrees_with_what_prefect_deploy_has_created(
    environment: str, deploy: Any, tmp_path: Path
) -> None:
    with get_client(sync_client=True) as client:
        pool = WorkPoolCreate(name=runs.deployment_name(), type="process")
        client.create_work_pool(pool)
    prefect_deploy()
    found = states(deploy("--plan", code=2))
    name = f"transform/{runs.deployment_name()}"
    alerts_ = {f"{runs.deployment_name()}-{what}": ("create", []) for what in ("stuck", "lost")}
    assert found == alerts_ | {name: ("change", ["triggers"])}

    # What has the mark goes with its entry, whatever its name is.
    deploy()
    assert states(deploy("--plan")) == {}
    edit(tmp_path, lambda entries: entries[2].pop("triggers"))
    assert states(deploy()) == {name: ("change", ["triggers"])}
    assert contents()[name]["triggers"] == []


def test_what_is_no_longer_in_the_file_goes(environment: str, deploy: Any, tmp_path: Path) -> None:
    """Schedules, triggers and limits with their deployment; deployments only when asked."""
    deploy()
    with get_client(sync_client=True) as client:
        trigger = {"type": "event", "posture": "Reactive", "expect": ["never"], "within": 0}
        id_ = deployed()[f"transform/{runs.deployment_name()}"].id
        actions = [{"type": "run-deployment", "source": "selected", "deployment_id": id_}]
        other = {"name": f"{environment} by hand", "trigger": trigger, "actions": actions}
        other |= {"tags": [settings.PROJECT, runs.deployment_name()]}
        by_hand = client.create_automation(AutomationCore.model_validate(other))
    assert states(deploy("--plan")) == {}

    edit(tmp_path, lambda entries: entries[2]["triggers"].pop())
    assert states(deploy())[f"transform/{runs.deployment_name()}"] == ("change", ["triggers"])
    edit(tmp_path, lambda entries: entries[2].pop("triggers"))
    assert states(deploy())[f"transform/{runs.deployment_name()}"] == ("change", ["triggers"])
    with get_client(sync_client=True) as client:
        related = client.read_resource_related_automations(f"prefect.deployment.{id_}")
        assert [one.id for one in related] == [by_hand]

    def shrink(entries: list[dict[str, Any]]) -> None:
        del entries[0]["schedules"], entries[0]["concurrency_limit"], entries[0]["parameters"]
        entries[1]["schedules"] = None  # keeps those that are there
        del entries[2:]

    edit(tmp_path, shrink)
    name = f"ingest-all/{runs.deployment_name()}"
    orphans = {f"transform/{runs.deployment_name()}", "transform/plain"}
    fields = ["concurrency_limit", "concurrency_options", "parameters", "schedules"]
    wanted = {name: ("change", fields)}
    wanted |= dict.fromkeys(orphans, ("orphaned", []))
    assert states(deploy("--plan", code=2)) == wanted
    deploy()
    assert states(deploy("--plan", code=2)) == dict.fromkeys(orphans, ("orphaned", []))
    there = deployed()
    assert there[name].schedules == []
    assert there[name].global_concurrency_limit is None
    assert len(there["ingest-all/intervals"].schedules) == 2
    deploy("--prune")
    assert deployed().keys() == {name, "ingest-all/intervals"}
    before = contents()
    prefect_deploy()
    assert contents() == before
    with get_client(sync_client=True) as client:
        assert client.read_automation(by_hand)
        client.delete_automation(by_hand)


@pytest.mark.parametrize("state", [Running(), AwaitingRetry()], ids=lambda state: state.name)
def test_an_orphan_with_active_runs_is_paused(
    environment: str,
    deploy: Any,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    state: State[Any],
) -> None:
    """A deleted deployment would leave its run in this state for ever."""
    name = f"transform/{runs.deployment_name()}"
    deploy()
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run_from_deployment(deployed()[name].id).id
        client.set_flow_run_state(flow_run, state, force=True)
        edit(tmp_path, lambda entries: entries.__delitem__(2))
        assert states(deploy("--prune")) == {name: ("paused", [])}
        assert deployed()[name].paused
        assert contents()[name]["triggers"] == []
        capsys.readouterr()
        assert cli.main(["deploy", "--prune"]) == 0
        prune = f"uv run {settings.PROJECT} deploy --prune"
        assert f"{name}: 1 run is active: paused, `{prune}` deletes it" in capsys.readouterr().out
        client.set_flow_run_state(flow_run, Completed(), force=True)
        assert client.read_flow_run(flow_run).state_name == "Completed"
        # A run that has not begun goes with its deployment.
        late = client.create_flow_run_from_deployment(deployed()[name].id).id
        assert states(deploy("--prune")) == {name: ("orphaned", [])}
        assert name not in deployed()
        with pytest.raises(ObjectNotFound):
            client.read_flow_run(late)


def test_edits_by_hand_are_seen_and_undone(environment: str, deploy: Any) -> None:
    deploy()
    there = deployed()
    names = [f"ingest-all/{runs.deployment_name()}", "ingest-all/intervals", "transform/plain"]
    cron, paused, plain = (there[name] for name in names)
    started = there[f"transform/{runs.deployment_name()}"]
    with get_client(sync_client=True) as client:
        (early,) = [one for one in cron.schedules if one.slug == "early"]
        client.update_deployment_schedule(cron.id, early.id, active=True)
        client.update_deployment(cron.id, DeploymentUpdate(description="new", paused=True))
        client.resume_deployment(paused.id)
        client.update_deployment(plain.id, DeploymentUpdate(concurrency_limit=1))
        client.update_deployment(plain.id, DeploymentUpdate(job_variables={"env": {"A": "x"}}))
        client.update_deployment(plain.id, DeploymentUpdate(tags=["mine"]))
        triggers = client.read_resource_related_automations(f"prefect.deployment.{started.id}")
        client.delete_automation(triggers[0].id)
        client.pause_automation(triggers[1].id)
        (stuck,) = client.read_automations_by_name(f"{runs.deployment_name()}-stuck")
        client.delete_automation(stuck.id)
    found = states(deploy("--plan", code=2))
    assert found == {
        names[0]: ("change", ["description", "paused", "schedules"]),
        names[1]: ("change", ["paused"]),
        f"transform/{runs.deployment_name()}": ("change", ["triggers"]),
        names[2]: ("change", ["concurrency_limit", "job_variables", "tags"]),
        f"{runs.deployment_name()}-stuck": ("create", []),
    }
    before = {key: one.id for key, one in there.items()}
    assert states(deploy()) == found
    assert states(deploy("--plan")) == {}
    assert {key: one.id for key, one in deployed().items()} == before


def test_a_copy_of_a_trigger_goes(environment: str, deploy: Any) -> None:
    """It has the mark of `deploy`, but Prefect's server does not delete it with the others."""
    deploy()
    name = f"transform/{runs.deployment_name()}"
    with get_client(sync_client=True) as client:
        resource = f"prefect.deployment.{deployed()[name].id}"
        (made, *_) = client.read_resource_related_automations(resource)
        copy = AutomationCore.model_validate(made.model_dump())
        theirs = copy.model_copy(update={"name": f"{made.name} (copy)", "tags": []})
        kept = client.create_automation(theirs)
        assert states(deploy("--plan")) == {}
        client.create_automation(copy)
        found = deploy("--plan", code=2)
        assert states(found) == {name: ("change", ["triggers"])}
        assert changes(found) == {name: ["triggers.number: 4 → 3"]}
        deploy()
        assert states(deploy("--plan")) == {}
        assert client.read_automation(kept)
        client.delete_automation(kept)


def test_what_prefect_deploy_has_made_goes_with_its_entry(
    environment: str, deploy: Any, tmp_path: Path
) -> None:
    """Only Prefect's server knows that `prefect deploy` made a trigger of this name."""
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=runs.deployment_name(), type="process"))
        edit(tmp_path, lambda entries: entries[2].update(triggers=entries[2]["triggers"][2:]))
        edit(tmp_path, lambda entries: entries.__setitem__(slice(None), entries[2:3]))
        prefect_deploy()
        name = f"transform/{runs.deployment_name()}"
        assert [one["name"] for one in contents()[name]["triggers"]] == ["own name"]
        resource = f"prefect.deployment.{deployed()[name].id}"
        (made,) = client.read_resource_related_automations(resource)
        theirs = {**made.model_dump(), "name": f"{runs.deployment_name()}__automation_1 (copy)"}
        by_hand = client.create_automation(AutomationCore.model_validate(theirs))
        edit(tmp_path, lambda entries: entries[0].pop("triggers"))
        deploy()
        assert states(deploy("--plan")) == {}
        left = client.read_resource_related_automations(resource)
        assert [one.id for one in left] == [by_hand]
        client.delete_automation(by_hand)


def changes(found: dict[str, Any]) -> dict[str, list[str]]:
    """Return the changes of each item by its name."""
    return {row["name"]: row["changes"] for row in found["items"] if row["changes"]}


def test_a_plan_shows_old_and_new_values_but_no_secrets(
    environment: str, deploy: Any, tmp_path: Path
) -> None:
    deploy()

    def change(entries: list[dict[str, Any]]) -> None:
        entries[0]["schedules"][0] |= {"cron": "0 7 * * *", "parameters": {"only": ["hunter2"]}}
        entries[0]["schedules"].append({"slug": "new", "interval": 60, "parameters": {"only": []}})
        entries[0]["concurrency_limit"]["limit"] = 3
        entries[1] |= {"description": "x" * 99, "tags": [*entries[1]["tags"], "more"]}
        entries[2]["parameters"] = {"without": []}
        entries[2]["pull"][1]["prefect.deployments.steps.git_clone"]["access_token"] = "hunter2"
        entries[2]["triggers"][0] |= {"expect": ["more"], "parameters": {"without": ["hunter2"]}}
        pool = entries[3]["work_pool"]
        env = pool["job_variables"]["env"] | {"A": "hunter2"}
        entries[3]["work_pool"] = pool | {"job_variables": {"env": env, "stream_output": False}}

    edit(tmp_path, change)
    found = changes(deploy("--plan", code=2))
    name = runs.deployment_name()
    new = "schedules.new: null → "
    shown = [text for text in found[f"ingest-all/{name}"] if not text.startswith(new)]
    assert len(shown) == len(found[f"ingest-all/{name}"]) - 1
    assert shown == [
        "concurrency_limit: 2 → 3",
        'schedules.early.schedule.cron: "0 6 * * *" → "0 7 * * *"',
    ]
    description, tags = found["ingest-all/intervals"]
    assert description.endswith(f' → "{"x" * 78}…')
    assert tags.endswith(f'"{name}"]' + f' → ["more","{settings.PROJECT}","{name}"]')
    assert found[f"transform/{name}"] == [
        "parameters.without",
        "triggers.actions",
        'triggers.trigger.expect: ["ingestion.ended"] → ["more"]',
    ]
    assert found["transform/plain"] == ["job_variables.env.A", "job_variables.stream_output"]
    deploy()
    assert states(deploy("--plan")) == {}


def test_job_variables_that_a_work_pool_does_not_use_are_named(
    environment: str, deploy: Any, tmp_path: Path
) -> None:
    """They are not a mistake: the same file may serve work pools of several types."""
    assert "does not use" not in deploy("--plan", code=2)["note"]
    unused = {"commands": "hunter2", "image": "hunter2"}
    edit(tmp_path, lambda entries: entries[3]["work_pool"]["job_variables"].update(unused))
    words = "does not use these job variables: commands (did you mean command?), image.\n"
    sentence = f"The work pool {runs.deployment_name()} {words}"
    assert deploy("--plan", code=2)["note"].startswith(sentence)
    deploy()
    note = deploy("--plan")["note"]
    assert note.startswith(sentence)
    assert note.count("does not use") == 1


def test_an_interval_goes_on_from_where_it_is(
    environment: str, deploy: Any, tmp_path: Path
) -> None:
    intervals = [{"interval": 7200}, {"interval": 3600}]
    edit(tmp_path, lambda entries: entries[3].update(schedules=intervals))
    deploy()
    before = deployed()["transform/plain"].schedules
    assert states(deploy("--plan")) == {}
    edit(tmp_path, lambda entries: entries[3].update(description="changed"))
    assert states(deploy()) == {"transform/plain": ("change", ["description"])}
    after = deployed()["transform/plain"].schedules
    assert len(after) == 2
    assert {str(one.schedule) for one in after} == {str(one.schedule) for one in before}


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "key": ({"descriptoin": "x"}, "nothing uses 'descriptoin'"),
    "outside": ({"job_variables": {}}, "nothing uses 'job_variables'"),
    "build": ({"build": [{"a": {}}]}, "nothing uses 'build'"),
    "pool-key": ({"work_pool": {"name": "nowhere", "pool": 1}}, "nothing uses 'pool'"),
    "pool": ({"work_pool": {"name": "nowhere"}}, "there is no work pool nowhere"),
    "poolless": ({"work_pool": None}, "no work pool"),
    "pull": ({"pull": None}, "pull is missing"),
    "step": (
        {"pull": [{"prefect.deployments.steps.git_clonee": {"repository": "hunter2"}}]},
        "the pull step prefect.deployments.steps.git_clonee does not load: ",
    ),
    "step-text": ({"pull": ["git_clone"]}, "pull.0: Input should be a valid dictionary"),
    "no-flow": ({"entrypoint": ""}, "entrypoint is missing"),
    "limit": ({"concurrency_limit": {"limit": 1, "strategy": 1}}, "nothing uses 'strategy'"),
    "none-at-once": ({"concurrency_limit": 0}, "concurrency_limit: "),
    "fewer": ({"concurrency_limit": {"limit": -1}}, "concurrency_limit: "),
    "queue": ({"work_pool": {"work_queue_name": "a/b"}}, "work_pool.work_queue_name: "),
    "slugs": (
        {"schedules": [{"cron": "@daily", "slug": "s"}, {"cron": "@hourly", "slug": "s"}]},
        "2 schedules have the slug s",
    ),
    "schedule-text": ({"schedules": "x"}, "schedules: Input should be a valid list"),
    "schedule": ({"schedules": ["x"]}, "schedules.0: Input should be a valid dict"),
    "trigger-map": ({"triggers": {"a": 1}}, "triggers: Input should be a valid list"),
    "flow-list": ({"entrypoint": ["x"]}, "entrypoint: Input should be a valid string"),
    "filled-in": (
        {"triggers": [{"expect": ["a"], "parameters": None, "treshold": 1}]},
        "nothing uses 'treshold'",
    ),
    "strategy": (
        {"concurrency_limit": {"limit": 1, "collision_strategy": "x"}},
        "concurrency_options.collision_strategy: ",
    ),
    "job": ({"work_pool": {"job_variables": {"env": "hunter2"}}}, "$.env does not fit "),
    "tags": ({"tags": ["x"]}, f"the tags {settings.PROJECT}, "),
    "parameter": ({"parameters": {"onyl": []}}, "('onyl' was unexpected)"),
    "value": ({"parameters": {"without": "hunter2"}}, "$.without does not fit anyOf: "),
    "cron": ({"schedules": [{"cron": "soon"}]}, "cron: "),
    "zone": ({"schedules": [{"cron": "@daily", "tz": "UTC"}]}, "tz: Extra inputs are not "),
    "rrule": ({"schedules": [{"rrule": ""}]}, "rrule: "),
    "two": ({"schedules": [{"cron": "@daily", "interval": 60}]}, "a schedule needs one of "),
    "planned": (
        {"schedules": [{"cron": "@daily", "parameters": {"without": 7}}]},
        "$.without does not fit anyOf: ",
    ),
    "trigger-key": ({"triggers": [{"expect": ["a"], "treshold": 2}]}, "nothing uses 'treshold'"),
    "trigger": ({"triggers": [{"within": "x"}]}, "event.within: "),
    "started": (
        {"triggers": [{"expect": ["a"], "parameters": {"with": 1}}]},
        "nothing uses 'with'",
    ),
    "flow": ({"entrypoint": f"{TRANSFORM}s"}, "the entry point does not load: "),
    "module": ({"entrypoint": "no.such.module.flow"}, "does not load: No module named 'no'"),
}
"""What an entry is given, and what is said of it."""


def test_mistakes_of_all_entries_are_listed_and_nothing_is_changed(
    environment: str, deploy: Any, tmp_path: Path
) -> None:
    def spoil(entries: list[dict[str, Any]]) -> None:
        plain = entries[3]
        for name, (given, _) in MISTAKES.items():
            pool = plain["work_pool"] | (given.get("work_pool") or {})
            full = given | ({"work_pool": pool} if given.get("work_pool") else {})
            entries.append(plain | {"name": name} | full)
        entries += [plain | {"name": "twin"}, plain | {"name": "twin"}, {"name": "unfinished"}]
        entries += ["text", plain | {"name": "pool-text", "work_pool": "text"}]
        entries += [plain | {"name": ""}, plain | {"name": "two\nlines"}]

    edit(tmp_path, spoil)
    text = deploy("--plan", code=1)
    assert text == deploy(code=1)
    assert deployed() == {}
    lines = text.splitlines()
    assert "prefect.yaml has mistakes; nothing was changed." in lines.pop(0)
    assert len(lines) == len(MISTAKES) + 6
    for name, (given, words) in MISTAKES.items():
        (line,) = [line for line in lines if line.startswith(f"- {name} of ")]
        assert f" of {given.get('entrypoint', TRANSFORM) or 'no flow'}: " in line
        assert words in line, line
    (line,) = [line for line in lines if line.startswith("- unfinished of no flow: ")]
    assert "flow: entrypoint is missing; the tags " in line
    number = len(MISTAKES) + 8
    assert f"- entry {number}: it is not a mapping" in lines
    assert f"- entry {number + 2} of {TRANSFORM}: name is missing" in lines
    assert f"- two lines of {TRANSFORM}: its name has a line break" in lines
    assert "- 2 entries are transform/twin" in lines
    (line,) = [line for line in lines if line.startswith("- pool-text of ")]
    assert "work_pool: Input should be a valid dict" in line
    assert "object has no attribute" not in text


def test_all_mistakes_of_an_entry_are_listed(environment: str, deploy: Any, tmp_path: Path) -> None:
    given = [
        MISTAKES[name] for name in ("key", "job", "tags", "value", "strategy", "schedule-text")
    ]
    words = [text for _, text in given[:5]]
    wrong = {key: value for one, _ in given[:5] for key, value in one.items()}
    wrong["schedules"] = [{"cron": "soon"}, {"cron": "@daily", "tz": "UTC"}]
    wrong["triggers"] = [{"within": "x"}, {"expect": ["a"], "treshold": 2}]
    words += ["cron: ", "tz: Extra inputs", "event.within: ", "'treshold'"]
    edit(
        tmp_path,
        lambda entries: entries[3].update(
            wrong, work_pool=entries[3]["work_pool"] | wrong["work_pool"]
        ),
    )
    _, line = deploy("--plan", code=1).splitlines()
    assert {text: line.count(text) for text in words} == dict.fromkeys(words, 1)
    edit(tmp_path, lambda entries: entries[3].update(concurrency_limit="many", entrypoint=7))
    _, line = deploy("--plan", code=1).splitlines()
    assert "concurrency_limit: " in line
    assert "entrypoint: " in line


FILES = {
    "{name}deployment: []": "nothing uses 'deployment'. Put anchors below `definitions`.",
    "{name}deployments: {{a: {{}}}}": "`deployments` is not a list.",
    "{name}deployments: &a [*a]": "Circular reference",
    "{name}deployments: [": "while parsing",
}
"""A file, and what is said of it."""


@pytest.mark.parametrize(("content", "words"), FILES.items())
def test_a_file_that_cannot_be_read_is_one_sentence(
    environment: str, deploy: Any, tmp_path: Path, content: str, words: str
) -> None:
    (tmp_path / "prefect.yaml").write_text(content.format(name=f"name: {settings.PROJECT}\n"))
    text = deploy(code=1)
    assert f"prefect.yaml: {words}" in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("content", ["", "deployments:", "deployments: []", "x-a: 1"])
def test_a_file_without_deployments_prunes_nothing(
    environment: str, deploy: Any, tmp_path: Path, content: str
) -> None:
    edit(tmp_path, lambda entries: entries.__delitem__(slice(3)))
    deploy()
    (tmp_path / "prefect.yaml").write_text(f"name: {settings.PROJECT}\n{content}\n")
    for words in ((), ("--plan",)):
        text = deploy("--prune", *words, code=1)
        assert "prefect.yaml lists no deployments, and --prune would delete all." in text
        assert len(text.splitlines()) == 1
    assert states(deploy()) == {"transform/plain": ("orphaned", [])}
    assert deployed().keys() == {"transform/plain"}


def test_what_nothing_fills_in_is_named(
    environment: str, deploy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACTIVE")
    words = "{{ prefect.variables.none }} {{ image }} {{ ctx.flow_run.name }}"
    edit(tmp_path, lambda entries: entries[3].update(description=words))
    text = deploy("--plan", code=1)
    unknown = "{{ $ACTIVE }}, {{ image }}, {{ prefect.variables.none }}"
    assert f"prefect.yaml: nothing fills in {unknown}." in text
    assert len(text.splitlines()) == 1
    edit(tmp_path, lambda entries: entries[3].update(description="{{ prefect.blocks.secret.no }}"))
    assert "prefect.yaml: Block not found: 'no' of type 'secret'" in deploy(code=1)
    assert deployed() == {}


def test_work_pools_have_to_be_of_the_named_type(
    environment: str, deploy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy()
    monkeypatch.setenv(f"{PREFIX}WORK_POOL_TYPE", "docker")
    text = f"The work pool {runs.deployment_name()} is of type process, the settings say docker."
    assert text in deploy(code=1)
    monkeypatch.setenv(f"{PREFIX}WORK_POOL", "other")
    monkeypatch.setenv(f"{PREFIX}WORK_POOL_TYPE", "cloud-of-dreams")
    assert "no work pool type 'cloud-of-dreams'" in deploy(code=1)


def test_other_projects_and_environments_are_left_alone(
    environment: str, deploy: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Their deployments have the same flows, and may have the same names but for a tag."""
    deploy()
    first = contents()
    monkeypatch.setenv(f"{PREFIX}ENVIRONMENT", f"{environment}b")
    monkeypatch.setenv(f"{PREFIX}WORK_POOL", f"{settings.PROJECT}-{environment}b")
    edit(tmp_path, lambda entries: entries.__delitem__(slice(1, None)))
    deploy("--prune")
    assert len(deployed()) == 1
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(ingestion_flow.ingest_all)
        name = f"theirs-{environment}"
        tags = ["their-project", runs.deployment_name()]
        theirs = client.create_deployment(flow_id=flow_id, name=name, tags=tags, entrypoint="x.y.z")
        deploy("--prune")
        assert client.read_deployment(theirs).name == name
        client.delete_deployment(theirs)
        for one in deployed().values():
            client.delete_deployment(one.id)
    monkeypatch.setenv(f"{PREFIX}ENVIRONMENT", environment)
    assert contents() == first


def test_a_deployment_carries_its_version(
    environment: str, deploy: Any, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """The package's and the commit's; a new commit is one line, and no change of an entry."""
    older, newer = "1.2.0+g01234567", "1.2.1.dev1+gfedcba98.dirty"
    monkeypatch.setattr(runs, "version", lambda: older)
    deploy()
    there = deployed()
    assert there["transform/plain"].version == older
    assert there[f"ingest-all/{runs.deployment_name()}"].version == "7"
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run_from_deployment(there["transform/plain"].id)
        found = client.read_flow_run(flow_run.id)
    assert found.deployment_version == older
    monkeypatch.setattr(runs, "version", lambda: newer)
    found = deploy("--plan", code=2)
    assert states(found) == {}
    assert found["version"] == newer
    assert found["replaces"] == {older: 3}
    assert deploy("--plan", "--exit-zero") == found
    with pytest.raises(SystemExit, match="2"):
        cli.main(["deploy", "--exit-zero"])
    assert "--exit-zero needs --plan." in capsys.readouterr().err
    assert deployed()["transform/plain"].version == older
    capsys.readouterr()
    for commit in ("01234567", "fedcba98"):
        assert cli.main(["deploy", "--deployed"]) == 0
        assert capsys.readouterr().out == f"{commit}\n"
        deploy()
    assert deploy("--plan")["replaces"] == {}
    assert deployed()["transform/plain"].version == newer


def test_the_table_says_what_differs(
    environment: str, deploy: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    deploy()
    edit(tmp_path, lambda entries: entries[3].update(description="x", name="simple"))
    edit(tmp_path, lambda entries: entries[1].update(paused=False))
    with pytest.raises(SystemExit, match="2"):
        cli.main(["deploy", "--plan"])
    text = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines()]
    assert ["deployment", "ingest-all/intervals", "change", "paused"] in rows
    assert ["deployment", "transform/plain", "orphaned", "-"] in rows
    assert ["deployment", "transform/simple", "create", "-"] in rows
    assert "ingest-all/intervals: paused: true → false\n" in text
    assert f"`uv run {settings.PROJECT} deploy --prune` deletes it" in text
    with pytest.raises(SystemExit, match="2"):
        cli.main(["deploy", "--plan", "--prune"])
    text = capsys.readouterr().out
    assert re.search("transform/plain +│ delete ", text)
    assert "orphaned" not in text
    assert cli.main(["deploy", "--prune"]) == 0
    text = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines()]
    assert ["deployment", "ingest-all/intervals", "changed", "paused"] in rows
    assert ["deployment", "transform/plain", "deleted", "-"] in rows
    assert ["deployment", "transform/simple", "created", "-"] in rows
    assert cli.main(["deploy", "--plan"]) == 0


FIELDS = [
    {"type": "missing", "loc": ["body", "name"], "msg": "Field required", "input": "hunter2"},
    {"type": "value_error", "loc": ["body"], "msg": "Value error, hunter2 does not fit"},
]
REFUSALS: list[tuple[int, Any, str]] = [
    (409, {"detail": "There\nis one."}, "refuses: 409, There is one. Check"),
    (409, {"exception_message": "hunter2"}, "refuses: 409. Check"),
    (409, ["hunter2"], "refuses: 409. Check"),
    (422, {"detail": "'hunter2' is not of type 'object'"}, "refuses: 422. Check"),
    (
        *(422, {"exception_detail": FIELDS, "request_body": "hunter2"}),
        "refuses: 422, body.name.missing, body.value_error. Check",
    ),
    (503, {"detail": "hunter2"}, "(503)"),
]


@pytest.mark.parametrize(("status", "body", "words"), REFUSALS)
def test_a_refusal_of_the_server_is_one_sentence(
    environment: str,
    deploy: Any,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    body: Any,
    words: str,
) -> None:
    """On its way to the server, the creation of one deployment of four is refused."""
    send = httpx.Client.send

    def refuse(self: Any, request: Any, **options: Any) -> Any:
        if request.url.path.endswith("/deployments/") and b'"plain"' in request.content:
            return httpx.Response(status, request=request, json=body)
        return send(self, request, **options)

    with monkeypatch.context() as patched:
        patched.setattr(httpx.Client, "send", refuse)
        # A busy server may answer another request with a 503 of its own, which is tried again.
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0 if status == 503 else 5}):
            text = deploy(code=1)
    assert words in text
    assert len(text.splitlines()) == 1
    assert "deployment transform/plain" in text
    assert {state for state, _ in states(deploy()).values()} >= {"create"}
    assert states(deploy("--plan")) == {}


def test_a_server_that_is_not_there_is_one_sentence(
    environment: str, deploy: Any, tmp_path: Path
) -> None:
    with temporary_settings({PREFECT_API_URL: "http://me:hunter2@127.0.0.1:9/api"}):
        text = deploy(code=1)
    assert "Prefect's server at http://127.0.0.1:9/api does not answer" in text
    assert len(text.splitlines()) == 1
    (tmp_path / "prefect.yaml").unlink()
    missing = f"There is no prefect.yaml with `name: {settings.PROJECT}` here"
    assert missing in deploy(code=1)
    (tmp_path / "prefect.yaml").write_text("name: [")
    assert "prefect.yaml: while parsing" in deploy(code=1)
    (tmp_path / "prefect.yaml").write_text("name: other")
    assert missing in deploy(code=1)


def test_killed_anywhere_the_next_run_ends_right(
    environment: str, deploy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed several times between two requests; each time everything has changed again."""
    monkeypatch.setenv(f"{PREFIX}SLACK_WEBHOOK_URL", WEBHOOK)
    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
    done = subprocess.run(
        [sys.executable, "-c", KILLED], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("killed") >= KILLS / 2, done.stdout
    deploy()
    assert states(deploy("--plan")) == {}
    assert len(deployed()) == 4
    assert count_alerts() == {"lost": 1, "stuck": 1, "late": 1}
    triggers = {name: len(one["triggers"]) for name, one in contents().items()}
    assert triggers.pop(f"transform/{runs.deployment_name()}") == 3
    assert {*triggers.values()} == {0}


KILLS = int(os.environ.get("TEST_KILLS", "12"))
KILLED = f"""
import os, pathlib, random, signal, httpx, yaml
from {cli.__name__} import main
from {prefect_file.__name__} import read
from {alerts.__name__} import compare
from {ingestion_flow.__name__} import ingest_all

send, left = httpx.Client.send, 0

def count(self, request, **options):
    global left
    reads = request.method == "GET" or request.url.path.endswith("/filter")
    left -= not reads
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return send(self, request, **options)

httpx.Client.send = count
path, chosen = pathlib.Path("prefect.yaml"), random.Random(2013)
for attempt in range({KILLS}):
    content = yaml.safe_load(path.read_text())
    for entry in content["deployments"]:
        entry["description"] = str(attempt)
    content["deployments"][2]["triggers"][0]["expect"] = [f"ended.{{attempt}}"]
    path.write_text(yaml.safe_dump(content))
    os.environ["{PREFIX}LATE_AFTER_SECONDS"] = str(100 + attempt)
    left = chosen.randrange(1, 16)
    if not (child := os.fork()):
        os._exit(main(["deploy"]))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    print("killed" if status else "complete", left, flush=True)
"""
"""Deploys, and dies before some request that writes. A fork saves the imports."""


def test_it_goes_on_without_slack(
    environment: str, deploy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}SLACK_WEBHOOK_URL", "block:commands-no-slack")
    note = deploy()["note"]
    assert "Nothing is posted, because" in note
    assert "secret slack-webhook-url, then deploy again" in note
    assert f"leave {PREFIX}SLACK_WEBHOOK_URL empty" in note
    assert count_alerts() == {"lost": 1, "stuck": 1, "late": 0}


def count_alerts() -> dict[str, int]:
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
    assert changed[names["stuck"]] == ("change", ["number"])
    deploy()
    assert states(deploy("--plan")) == {}
    assert count_alerts() == {"lost": 1, "stuck": 1, "late": 1}
    monkeypatch.setenv(f"{PREFIX}SLACK_WEBHOOK_URL", "")
    assert states(deploy())[names["late"]] == ("change", ["number"])
    assert states(deploy("--plan")) == {}
    assert count_alerts() == {"lost": 1, "stuck": 1, "late": 0}


def test_alerts_of_before_are_taken_over_and_those_of_people_are_not(
    environment: str, deploy: Any
) -> None:
    """`setup` of 0.6 made the same automations without tags; `deploy` deletes none."""
    deploy()
    name = f"{runs.deployment_name()}-lost"
    with get_client(sync_client=True) as client:
        (made,) = client.read_automations_by_name(name)
        older = made.model_dump(exclude={"id", "owner_resource"}) | {"tags": []}
        client.update_automation(made.id, AutomationCore.model_validate(older))
        assert states(deploy("--plan", code=2)) == {name: ("change", ["tags"])}
        assert states(deploy()) == {name: ("change", ["tags"])}
        (found,) = client.read_automations_by_name(name)
        assert (found.id, found.tags) == (made.id, made.tags)
        assert states(deploy("--plan")) == {}

        # Also if the webhook that it uses was removed.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(f"{PREFIX}SLACK_WEBHOOK_URL", WEBHOOK)
            deploy()
            late = f"{runs.deployment_name()}-late"
            (made_late,) = client.read_automations_by_name(late)
            unmarked = made_late.model_dump(exclude={"id", "owner_resource"}) | {"tags": []}
            client.update_automation(made_late.id, AutomationCore.model_validate(unmarked))
        assert states(deploy())[late] == ("change", ["number"])
        assert client.read_automations_by_name(late) == []

        # A person's has another event or action, or stands beside it.
        theirs = older | {"tags": made.tags[:2]}
        trigger = theirs["trigger"] | {"expect": ["never"]}
        actions = [*theirs["actions"], {"type": "do-nothing"}]
        for given in ({}, {"trigger": trigger}, {"actions": actions}):
            other = client.create_automation(AutomationCore.model_validate(theirs | given))
            assert f"an automation {name} that deploy did not create" in deploy(code=1)
            assert client.read_automation(other)
            client.delete_automation(other)
            if not given:
                client.delete_automation(made.id)


def test_what_somebody_else_has_made_stays(
    environment: str, deploy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{runs.deployment_name()}-late"
    monkeypatch.setenv(f"{PREFIX}SLACK_WEBHOOK_URL", WEBHOOK)
    block = f"{runs.deployment_name()}-alerts"
    Webhook(url="http://127.0.0.1:9/other").save(block)
    trigger = {"type": "event", "posture": "Reactive", "expect": ["never"], "within": 0}
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
