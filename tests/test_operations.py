"""Deployments in use: environments, triggers, alerts, backfills.

A project is deployed three times from its unchanged files, and real workers run it with a real
server. The tests share runs, because each takes seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import child_processes
import projects
import pytest
import warehouse_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PREFIX = "MY_DATA_PROJECT_"
TABLES = ("airlines", "airports", "planes", "flights", "weather")
WAIT_SECONDS = 600


class Slack:
    """A webhook that records messages."""

    def __init__(self) -> None:
        posted = self.posted = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                posted.append(json.loads(body)["text"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hunter2"
        serving = {"target": self.server.serve_forever, "kwargs": {"poll_interval": 0.02}}
        threading.Thread(**serving, daemon=True).start()

    def one(self, start: str) -> str:
        """Wait for a message that starts with a text."""
        return wait_for(lambda: next((m for m in self.posted if m.startswith(start)), None), start)


def wait_for(find: Callable[[], Any], what: str) -> Any:
    """Call a function until it returns something, and return that; fail after a while."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := find()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.3)
    return found


class Operator:
    """A user who operates one environment of the project."""

    def __init__(self, project: Path, name: str, api: str, folder: Path, **env: str) -> None:
        self.project, self.name, self.api = project, name, api
        self.source = folder / "source.db"
        self.warehouse = f"duckdb:///{folder / 'warehouse.duckdb'}"
        self.env = {"PREFECT_API_URL": api, "PREFECT_HOME": str(folder / "home"), **env}
        self.file = f"environments/{name}.env"
        self.deployment = f"my-data-project-{name}"

    def __call__(self, *words: str) -> str:
        """Run a command of the project with the file of this environment."""
        start = ("uv", "run", "--no-sync", "--env-file", self.file)
        return projects.run(*start, *words, cwd=self.project, **self.env)

    def deploy(self) -> None:
        """Deploy as in the README."""
        self("my-data-project", "deploy")

    def ask(self, path: str, **body: object) -> Any:
        """Send a request to the server, with retries while it is busy."""
        request = urllib.request.Request(
            f"{self.api}/{path}",
            data=json.dumps(body).encode() if body else None,
            headers={"Content-Type": "application/json"},
        )

        def answer() -> Any:
            try:
                with urllib.request.urlopen(request, timeout=180) as response:
                    return json.load(response), True
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
            return None

        return wait_for(answer, f"an answer to {path}")[0]

    def get(self, flow: str, suffix: str = "") -> dict[str, Any]:
        """Return a deployment."""
        return self.ask(f"deployments/name/{flow}/{self.deployment}{suffix}")

    def start(self, flow: str, suffix: str = "", **parameters: object) -> str:
        """Start a run of a deployment; return its id."""
        path = f"deployments/{self.get(flow, suffix)['id']}/create_flow_run"
        wanted = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return self.ask(path, idempotency_key=uuid.uuid4().hex, **wanted)["id"]

    def ended(self, run: str) -> dict[str, Any]:
        """Wait until a run has ended."""

        def find() -> dict[str, Any] | None:
            found = self.ask(f"flow_runs/{run}")
            ends = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
            return found if found["state_type"] in ends else None

        return wait_for(find, f"the end of run {run}")

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """Return the runs of a deployment, except those that are only scheduled."""
        which = {"deployments": {"id": {"any_": [self.get(flow)["id"]]}}}
        found = self.ask("flow_runs/filter", limit=200, **which)
        return [run for run in found if not run["auto_scheduled"]]

    def transformed(self, before: int = 0) -> int:
        """Wait for more transformations than before, and return their number.

        Prefect may start two for one event, because its queue delivers events at least once.
        """
        runs = wait_for(
            lambda: (found := self.runs("transform")) and len(found) > before and found,
            "a transformation",
        )
        assert {self.ended(run["id"])["state_type"] for run in runs} == {"COMPLETED"}
        return len(self.runs("transform"))

    def look(self, *statements: str) -> list[Any]:
        """Run statements in the warehouse and return the rows of the last one."""
        return warehouse_files.ask(self.project, self.warehouse, *statements)

    def counts(self) -> dict[str, int]:
        """Return the number of rows in each table of the warehouse."""
        listing = "SELECT table_schema || '.' || table_name FROM information_schema.tables"
        names = [name for (name,) in self.look(listing) if "._" not in name]
        wanted = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in names)
        return dict(self.look(wanted)) if names else {}

    def built(self, run: str) -> set[str]:
        """Return the derived tables in the warehouse."""
        which = {"flow_runs": {"id": {"any_": [run]}}}
        found = self.ask("task_runs/filter", **which)
        return {one["name"].removeprefix("build-") for one in found}


@pytest.fixture(scope="module")
def slack() -> Iterator[Slack]:
    slack = Slack()
    yield slack
    slack.server.shutdown()


@pytest.fixture(scope="module")
def rows(pipeline: Path) -> dict[str, int]:
    """The number of rows in each table of the source."""
    data = pipeline / "tests" / "data"
    return {name: len((data / f"{name}.csv").read_text().splitlines()) - 1 for name in TABLES}


BLOCKS = """
import sys
from prefect.blocks.system import Secret
for name, value in zip(sys.argv[1::2], sys.argv[2::2]):
    Secret(value=value).save(name, overwrite=True)
"""


@pytest.fixture(scope="module")
def operators(
    pipeline: Path, prefect_api: str, slack: Slack, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Operator]:
    """Deploy three environments to one server from the generated files."""
    folder = tmp_path_factory.mktemp("operations")
    source = folder / "source.db"
    build = (
        "import sys; from pathlib import Path; from my_data_project import demo_source;"
        "demo_source.build_source(Path('tests/data'), Path(sys.argv[1]))"
    )
    projects.run("uv", "run", "--no-sync", "python", "-c", build, str(source), cwd=pipeline)
    made = {}
    for name in ("dev", "staging", "prod"):
        # Environment variables override the files: other paths for dev.
        env = {
            "dev": {
                f"{PREFIX}SOURCE_URL": f"sqlite:///{folder / 'dev' / 'source.db'}",
                f"{PREFIX}WAREHOUSE_URL": f"duckdb:///{folder / 'dev' / 'warehouse.duckdb'}",
            },
            "staging": {f"{PREFIX}{what}_AFTER_SECONDS": "10" for what in ("LATE", "LOST")},
            "prod": {},
        }[name]
        made[name] = Operator(pipeline, name, prefect_api, folder / name, **env)
        made[name].source.parent.mkdir()
        shutil.copy(source, made[name].source)
    secrets = []
    for name in ("staging", "prod"):
        for block, value in (
            ("source-url", f"sqlite:///{made[name].source}"),
            ("warehouse-url", made[name].warehouse),
            ("slack-webhook", slack.url),
        ):
            secrets += [f"my-data-project-{name}-{block}", value]
    made["prod"]("python", "-c", BLOCKS, *secrets)
    for operator in made.values():
        operator.deploy()
    return made


def start_worker(operator: Operator) -> subprocess.Popen[Any]:
    """Start a worker that serves an environment."""
    # Only the server's address: runs get their settings from the deployment.
    env = projects.clean_environment(**operator.env, PREFECT_WORKER_QUERY_SECONDS="1")
    prefect = operator.project / ".venv" / "bin" / "prefect"
    command = [prefect, "worker", "start", "--pool", operator.deployment]
    folder = operator.source.parent
    with (folder / "worker.log").open("wb") as log:
        return child_processes.start(
            command, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT
        )


@pytest.fixture(scope="module")
def worker(operators: dict[str, Operator]) -> Iterator[None]:
    """A worker for prod; the other environments have none."""
    prod = operators["prod"]
    # A scheduled run beside that of a test: one of them would be cancelled.
    for flow in ("ingest-all", "ingest-flights"):
        prod.ask(f"deployments/{prod.get(flow)['id']}/pause_deployment", paused=True)
    process = start_worker(prod)
    yield
    child_processes.stop(process, 60)


@pytest.fixture(scope="module")
def late_run(operators: dict[str, Operator]) -> str:
    """A run without a worker, started early, because it takes a while until it is late."""
    return operators["staging"].start("ingest-all")


def test_the_handbook_names_every_command(pipeline: Path) -> None:
    texts = [(pipeline / name).read_text() for name in ("README.md", "docs/operations.md")]
    for module in pipeline.glob("src/*/commands/[a-z]*.py"):
        if "\nHELP = " in module.read_text():  # other modules are not commands
            words = (f"{start} {module.stem}" for start in ("my-data-project", "poe"))
            assert any(word in text for word in words for text in texts), module.stem


def test_environments_differ_in_their_file_alone(operators: dict[str, Operator]) -> None:
    found = {}
    for name, operator in operators.items():
        deployment = operator.get("ingest-all")
        (schedule,) = deployment["schedules"]
        env = deployment["job_variables"]["env"]
        found[name] = (
            deployment["work_pool_name"],
            schedule["schedule"]["cron"],
            schedule["schedule"]["timezone"],
            schedule["active"],
            env[f"{PREFIX}WAREHOUSE_URL"],
            env[f"{PREFIX}SLACK_WEBHOOK_URL"],
        )
        assert deployment["entrypoint"] == "my_data_project.flows.ingestion_flow.ingest_all"
        assert deployment["pull_steps"] == []
        assert operator.get("transform")["schedules"] == []
        assert "hunter2" not in json.dumps(deployment)
    name = "my-data-project"
    assert found == {
        "dev": (
            f"{name}-dev",
            "5 * * * *",
            "UTC",
            False,
            operators["dev"].warehouse,
            "",
        ),
        "staging": (
            f"{name}-staging",
            "35 5 * * *",
            "UTC",
            True,
            f"block:{name}-staging-warehouse-url",
            f"block:{name}-staging-slack-webhook",
        ),
        "prod": (
            f"{name}-prod",
            "5 * * * *",
            "UTC",
            True,
            f"block:{name}-prod-warehouse-url",
            f"block:{name}-prod-slack-webhook",
        ),
    }


def test_an_ingestion_starts_the_transformation(
    operators: dict[str, Operator], worker: None, late_run: str, rows: dict[str, int]
) -> None:
    """In prod, which has its secrets in blocks."""
    prod = operators["prod"]
    done = prod.ended(prod.start("ingest-all"))
    assert done["state_type"] == "COMPLETED", done["state"]
    assert done["name"].startswith("all tables, 20")
    transformed = prod.transformed()
    found = prod.counts()
    assert {name: found[f"raw.{name}"] for name in TABLES} == rows
    assert found["marts.delays_by_carrier"] > 0
    # The flow of a single table with its own schedule triggers nothing.
    assert prod.ended(prod.start("ingest-flights"))["state_type"] == "COMPLETED"
    assert len(prod.runs("transform")) == transformed


def test_a_backfill_runs_on_a_worker(operators: dict[str, Operator], worker: None) -> None:
    """From the command in operations.md to the triggered transformation."""
    prod = operators["prod"]
    before = len(prod.runs("transform"))
    with sqlite3.connect(prod.source) as connection:
        connection.execute("UPDATE flights SET dep_delay = 777")
    connection.close()
    prod.look("UPDATE raw.flights SET dep_delay = -1", "SELECT 1")
    name = f"ingest-all/{prod.deployment}-manual"
    words = ("-p", 'only=["flights"]', "-p", "since=2013-11-01", "-p", "until=2013-11-04")
    printed = prod("prefect", "deployment", "run", name, "--watch", *words)
    assert "finished successfully" in printed
    inside = "time_hour >= '2013-11-01' AND time_hour < '2013-11-04'"
    changed = "FROM raw.flights WHERE dep_delay = 777"
    ((of_window, of_others),) = prod.look(
        f"SELECT count(*) FILTER (WHERE {inside}), count(*) FILTER (WHERE NOT ({inside})) {changed}"
    )
    assert of_window > 0
    assert of_others == 0
    prod.transformed(before)
    shown = json.loads(prod("my-data-project", "status", "--json"))
    states = {row["deployment"]: row["state"] for row in shown["deployments"]}
    assert states["ingest-all/my-data-project-prod-manual"] == "Completed"


def test_a_failed_table_alerts_and_stops_only_what_reads_it(
    operators: dict[str, Operator], worker: None, slack: Slack
) -> None:
    prod = operators["prod"]
    before = {run["id"] for run in prod.runs("transform")}

    def rename(old: str, new: str) -> None:
        connection = sqlite3.connect(prod.source)
        connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
        connection.close()

    rename("weather", "climate")
    failed = prod.ended(prod.start("ingest-all"))
    rename("climate", "weather")
    assert failed["state_type"] == "FAILED"
    message = slack.one(":red_circle: *ingest-all* failed in *prod*")
    page = prod.api.removesuffix("/api") + f"/runs/flow-run/{failed['id']}"
    assert f"<{page}|all tables, 20" in message
    reason = "1 of 5 tables failed.\nweather: The source has no table 'weather'"
    assert f"*Reason:* {reason}" in message
    assert "*To do:* Fix the cause" in message
    assert "hunter2" not in (prod.source.parent / "worker.log").read_text()
    prod.transformed(len(before))
    (run, *_) = [run for run in prod.runs("transform") if run["id"] not in before]
    assert run["parameters"] == {"without": ["weather"]}
    built = wait_for(lambda: prod.built(run["id"]), "the tasks of the transformation")
    assert built == {"delays_by_carrier"}


def processes_of(run: str) -> list[int]:
    """Return the processes of a flow run: those with its id in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            ours = run.encode() in (path / "environ").read_bytes()
            engine = b"prefect.engine" in (path / "cmdline").read_bytes()
        except OSError:
            continue
        if ours and engine:
            found.append(int(path.name))
    return found


@contextlib.contextmanager
def in_the_middle(operator: Operator) -> Iterator[tuple[str, list[int]]]:
    """Let a run wait in the middle, because another process has its warehouse open.

    Yields:
        The run and its processes.
    """
    with warehouse_files.held(operator.project, operator.warehouse):
        run = operator.start("ingest-all", "-manual", only=["airlines"])
        yield run, wait_for(lambda: processes_of(run), "the process of the run")


# Only Linux shows the environment of processes, which has the run's id; the gate runs there.
PROC = pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the run's process in /proc")


@PROC
def test_a_killed_run_alerts(operators: dict[str, Operator], worker: None, slack: Slack) -> None:
    prod = operators["prod"]
    with in_the_middle(prod) as (run, pids):
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert prod.ended(run)["state_type"] == "CRASHED"
    message = slack.one(":red_circle: *ingest-all* crashed in *prod*")
    assert "SIGKILL" in message
    assert "Nothing is half loaded" in message


def test_a_run_that_nobody_starts_alerts(
    operators: dict[str, Operator], late_run: str, slack: Slack
) -> None:
    message = slack.one(":red_circle: *ingest-all* is late in *staging*")
    assert f"/runs/flow-run/{late_run}|" in message
    assert "serves the work pool my-data-project-staging" in message


def test_a_run_whose_worker_died_before_it_began_alerts(
    operators: dict[str, Operator], slack: Slack
) -> None:
    """It would stay Pending for ever and keep its concurrency slot."""
    staging = operators["staging"]
    run = staging.start("transform")
    staging.ask(f"flow_runs/{run}/set_state", state={"type": "PENDING"}, force=True)
    assert staging.ended(run)["state_type"] == "CRASHED"
    message = slack.one(":red_circle: *transform* is stuck in *staging*")
    assert "A worker did not begin it in 10 s" in message
    assert "run it again" in message


@PROC
def test_a_worker_that_dies_alone_takes_its_run_along(
    operators: dict[str, Operator], rows: dict[str, int]
) -> None:
    """Nothing reads the run's output any more; it ends, reports that, and leaves no process."""
    dev = operators["dev"]
    served = start_worker(dev)
    with in_the_middle(dev) as (run, _):
        served.kill()
        served.wait(60)
    assert dev.ended(run)["state_type"] == "CRASHED"
    assert "raw.airlines" not in dev.counts()
    served = start_worker(dev)
    assert (
        dev.ended(dev.start("ingest-all", "-manual", only=["airlines"]))["state_type"]
        == "COMPLETED"
    )
    assert dev.counts()["raw.airlines"] == rows["airlines"]
    child_processes.stop(served, 60)


@pytest.mark.large("faults")
@PROC
def test_a_machine_that_dies_with_its_run_alerts(
    operators: dict[str, Operator], late_run: str, slack: Slack
) -> None:
    """Nothing can tell the server, but it misses the run's heartbeats."""
    staging = operators["staging"]
    staging.ask(f"flow_runs/{late_run}/set_state", state={"type": "CANCELLED"}, force=True)
    served = start_worker(staging)
    with in_the_middle(staging) as (run, pids):
        beat = {
            "event": {"name": ["prefect.flow-run.heartbeat"]},
            "resource": {"id": [f"prefect.flow-run.{run}"]},
        }
        wait_for(lambda: staging.ask("events/filter", filter=beat)["events"], "a heartbeat")
        for pid in (served.pid, *pids):
            os.kill(pid, signal.SIGKILL)
        served.wait(60)
        assert staging.ask(f"flow_runs/{run}")["state_type"] == "RUNNING"
        assert staging.ended(run)["state_type"] == "CRASHED"
    assert "No sign of life" in slack.one(":red_circle: *ingest-all* is lost in *staging*")
