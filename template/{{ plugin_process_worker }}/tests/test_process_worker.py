"""The worker as users start it: `prefect worker start`, with a real Prefect server."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import child_processes
import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import WorkPool
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling, Running
from prefect.types.entrypoint import EntrypointType
from prefect.workers.base import BaseWorker
from process_flows import behave

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from prefect.client.schemas.objects import FlowRun
    from prefect.states import State

SECONDS = 150
"""How long anything may take on a busy machine."""

SOURCES = Path(__file__).parents[1] / "src"
PACKAGE = next(SOURCES.glob("*/common/process_worker/worker.py")).parts[-4]
jobs = importlib.import_module(f"{PACKAGE}.common.process_worker.jobs")
Worker = importlib.import_module(f"{PACKAGE}.common.process_worker.worker").LimitedProcessWorker
PermanentError = importlib.import_module(f"{PACKAGE}.common.errors").PermanentError

TEMPLATE = Worker.get_default_base_job_template()

linux = pytest.mark.skipif(sys.platform != "linux", reason="the worker needs Linux")
real = pytest.mark.usefixtures("prefect_server")


def until(done: Callable[[], Any]) -> Any:
    """Call a function until its result is true, and return that."""
    deadline = time.monotonic() + SECONDS
    while not (found := done()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)
    return found


def python(*lines: str) -> str:
    """Return the job variable `command` for lines of Python."""
    return shlex.join([sys.executable, "-c", "\n".join(lines)])


class Site:
    """A work pool, a deployment in it, and workers."""

    def __init__(self, api: str, folder: Path) -> None:
        self.api = api
        self.folder = folder
        self.pool = f"pool-{uuid.uuid4().hex}"
        self.log = folder / "worker.log"
        asyncio.run(self._make())

    async def _make(self) -> None:
        pool = WorkPoolCreate(name=self.pool, type=Worker.type, base_job_template=TEMPLATE)
        async with get_client() as client:
            await client.create_work_pool(pool)
        made = await behave.ato_deployment(
            name=self.pool,
            work_pool_name=self.pool,
            entrypoint_type=EntrypointType.MODULE_PATH,
            job_variables={
                "env": {"PYTHONPATH": str(Path(__file__).parent), "COLOUR": "blue"},
                "grace_seconds": 5,
            },
        )
        self.deployment = await made.aapply()

    @contextlib.contextmanager
    def worker(self, *before: str, log: Path | None = None) -> Generator[subprocess.Popen[bytes]]:
        """Run a worker during the `with` block, under a command such as `unshare`."""
        home = Path(tempfile.mkdtemp(prefix="prefect-test-worker-"))
        home.chmod(0o777)  # for a worker of another user
        env = {
            **os.environ,
            "PREFECT_API_URL": self.api,
            "PREFECT_HOME": str(home),
            "PYTHONPATH": str(Path(__file__).parent),  # cancellation hooks run in the worker
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_WORKER_HEARTBEAT_SECONDS": "2",
            "COLOUR": "red",
        }
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", self.pool]
        with (
            (log or self.log).open("ab") as out,
            child_processes.running([*before, *command], env=env, stdout=out, stderr=out) as it,
        ):
            yield it
        shutil.rmtree(home, ignore_errors=True)

    def run(self, how: str, **job_variables: Any) -> Run:
        """Start a run of the flow."""
        return Run(self, how, job_variables)


class Run:
    """A flow run of the deployment."""

    def __init__(self, site: Site, how: str, job_variables: dict[str, Any]) -> None:
        self.folder = site.folder / uuid.uuid4().hex
        self.folder.mkdir()
        with get_client(sync_client=True) as client:
            self.id = client.create_flow_run_from_deployment(
                site.deployment,
                parameters={"how": how, "folder": str(self.folder)},
                job_variables=job_variables,
            ).id

    def read(self) -> FlowRun:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(self.id)

    def ended(self) -> State[Any]:
        """Wait for the run's final state."""

        def final() -> State[Any] | None:
            state = self.read().state
            return state if state is not None and state.is_final() else None

        return until(final)

    def crashed(self) -> str:
        """Wait until the run is Crashed, and return the message."""
        state = self.ended()
        assert state.is_crashed(), state
        return str(state.message)

    def wrote(self, name: str) -> str:
        """Return the text that the run writes to a file."""
        path = self.folder / name
        return until(lambda: path.exists() and path.read_text())

    def processes(self) -> list[psutil.Process]:
        """Return the processes of the run."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get("PREFECT__FLOW_RUN_ID") == str(self.id):
                    found.append(process)
        return found

    def supervisor(self) -> psutil.Process:
        return psutil.Process(int(until(lambda: self.read().infrastructure_pid)))


@pytest.fixture(scope="module")
def site(_server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    """A work pool with one worker, for tests that do not stop it."""
    with temporary_settings({PREFECT_API_URL: _server_url}):
        made = Site(_server_url, tmp_path_factory.mktemp("site"))
    with made.worker():
        yield made


@pytest.fixture
def lonely(prefect_server: str, tmp_path: Path) -> Site:
    """A work pool without a worker."""
    return Site(prefect_server, tmp_path)


def test_prefect_finds_the_worker_by_its_type() -> None:
    assert BaseWorker.get_worker_class_from_type(Worker.type) is Worker
    assert Worker.get_description()
    assert Worker.get_documentation_url()


def test_every_job_variable_is_explained_and_reaches_the_worker() -> None:
    properties = TEMPLATE["variables"]["properties"]
    assert all(variable["description"] for variable in properties.values())
    # Prefect's UI asks for a type first for these.
    assert not [name for name, variable in properties.items() if "anyOf" in variable]
    used = {name: text.strip("{} ") for name, text in TEMPLATE["job_configuration"].items()}
    assert used == {name: name for name in properties}


def resolve(
    of_deployment: dict[str, Any], of_run: dict[str, Any] | None = None, **of_pool: Any
) -> Any:
    """Return the job configuration of a flow run."""
    pool = {**TEMPLATE, "job_configuration": {**TEMPLATE["job_configuration"], **of_pool}}
    run = SimpleNamespace(id=uuid.uuid4(), name="run", flow_id=None, job_variables=of_run or {})
    deployment = SimpleNamespace(
        id=uuid.uuid4(), name="one", updated=None, job_variables=of_deployment
    )

    class Client:
        async def read_flow(self, _flow: None) -> None: ...

    return asyncio.run(
        jobs.LimitedConfiguration.resolve_for_flow_run(
            run,
            client=Client(),
            work_pool=WorkPool(name="pool", type=Worker.type, base_job_template=pool),
            worker_name="worker",
            deployment=deployment,
        )
    )


def test_the_variables_of_a_run_come_first_and_what_the_pool_fixes_stays() -> None:
    given = resolve(
        {"memory_mib": 4096, "wall_seconds": 60, "env": {"A": "deployment", "B": "deployment"}},
        {"wall_seconds": 30, "env": {"B": "run"}},
        memory_mib=512,
    )
    assert (given.memory_mib, given.wall_seconds, given.cpu_seconds) == (512, 30, None)
    assert (given.env["A"], given.env["B"]) == ("deployment", "run")
    assert given.env["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"memory_mib": 1}, r"Wrong job variables \(memory_mib: .*greater than or equal to 64\)"),
        ({"niceness": "x", "cpu_seconds": 0.5}, "cpu_seconds: .*valid integer.*; niceness: "),
        ({"memory_mb": 512}, "has no job variable memory_mb: .* use one of command, cpu_sec"),
        ({"command": 'say "hello'}, r"Wrong job variables \(command: .*No closing quotation\)"),
    ],
)
def test_wrong_job_variables_are_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PermanentError, match=sentence):
        resolve(values)


def test_another_system_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(PermanentError, match="on this machine use a work pool of the type process"):
        asyncio.run(Worker(work_pool_name="pool").setup())


@linux
@real
def test_a_run_completes(site: Site) -> None:
    run = site.run("end", niceness=3)
    assert run.ended().is_completed()
    folder, colour, niceness = run.wrote("here").split()
    assert (colour, niceness) == ("blue", str(os.nice(0) + 3))
    until(lambda: not Path(folder).exists())
    assert not (run.folder / "hook").exists()


@linux
@real
def test_a_flow_that_fails_is_not_called_crashed(site: Site) -> None:
    run = site.run("fail")
    assert run.ended().is_failed()
    assert not (run.folder / "hook").exists()


HOLD = "held = bytearray(b'x') * (300 << 20); time.sleep(600)"
# A daemon: in its own session, without its parent.
LEAVE = f"""
import subprocess, sys, time
code = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True)"
subprocess.run([sys.executable, "-c", code, sys.executable, "-c", "import time; {HOLD}"])
time.sleep(600)
"""


@linux
@real
@pytest.mark.parametrize(
    ("variable", "limit", "lines"),
    [
        ("memory_mib", 100, ["import time", HOLD]),
        ("memory_mib", 100, [LEAVE]),
        ("cpu_seconds", 1, ["while True: pass"]),
        ("wall_seconds", 1, ["import time", "time.sleep(600)"]),
    ],
    ids=["memory", "memory of a session of its own", "cpu", "wall"],
)
def test_a_run_over_a_limit_is_ended(
    site: Site, variable: str, limit: int, lines: list[str]
) -> None:
    run = site.run("end", **{variable: limit, "command": python(*lines)})
    message = run.crashed()
    used = re.search(r"it used ([\d,.]+) .* over its limit of (\d+)\. .* variable (\w+) ", message)
    assert used is not None, message
    assert float(used[1].replace(",", "")) >= limit
    assert (int(used[2]), used[3]) == (limit, variable)
    assert run.wrote("hook") == f"Crashed: {message}"
    until(lambda: not run.processes())


@linux
@real
def test_memory_that_forks_share_counts_once(site: Site) -> None:
    lines = ["import os, time", "held = bytearray(40 << 20)", "os.fork(); os.fork()"]
    run = site.run("end", memory_mib=110, command=python(*lines, "time.sleep(2)"))
    assert "ended with exit code 0" in run.crashed()  # not at its limit


@linux
@real
@pytest.mark.parametrize(
    ("how", "variables", "sentence"),
    [
        ("disappear", {}, "exit code 0, and Prefect has not heard how the run ended"),
        ("end", {"command": "echo hello"}, "exit code 0, and Prefect has not heard how the run"),
        ("end", {"command": "sh -c 'exit 3'"}, "ended with exit code 3; no limit was broken"),
        ("end", {"command": "sh -c 'kill -9 $$'"}, "was killed by signal 9; no limit was broken"),
        ("end", {"command": "no-such"}, "was not started: no-such: No such file or directory"),
        ("end", {"memory_mb": 512}, "has no job variable memory_mb"),
    ],
)
def test_the_state_says_what_was_seen(
    site: Site, how: str, variables: dict[str, Any], sentence: str
) -> None:
    run = site.run(how, **variables)
    assert sentence in run.crashed()
    if "memory_mb" not in variables:  # if there was a run
        assert sentence in run.wrote("hook")


@linux
@real
def test_a_run_is_cancelled(site: Site) -> None:
    run = site.run("talk")
    run.wrote("here")
    cancel(run)
    assert run.ended().is_cancelled()
    assert run.wrote("hook").startswith("Cancelling")
    until(lambda: not run.processes())


def cancel(run: Run) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Cancelling())


@linux
@real
def test_a_run_whose_supervisor_is_killed_is_crashed(site: Site) -> None:
    child = "import subprocess, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"
    run = site.run("end", command=python(child))
    until(lambda: len(run.processes()) == 3)
    run.supervisor().kill()
    assert "SIGKILL" in run.crashed()
    until(lambda: not run.processes())


@linux
@real
def test_a_worker_that_is_stopped_ends_its_runs(lonely: Site) -> None:
    with lonely.worker() as worker:
        run, sleeping = lonely.run("talk"), lonely.run("end", command="sleep 600")
        run.wrote("here")
        until(lambda: len(sleeping.processes()) == 2)
        worker.terminate()
        worker.wait(SECONDS)
    # Prefect's message, if the flow got the signal
    assert run.crashed() == run.wrote("hook").partition(": ")[2]
    assert "Execution was aborted by a termination signal" in run.crashed()
    assert sleeping.crashed() == "The run was ended with its worker, which was stopped."
    assert not run.processes() + sleeping.processes()


@linux
@real
def test_runs_go_on_when_their_worker_is_killed(lonely: Site) -> None:
    wait = "while os.path.exists(%r): time.sleep(0.1)"
    gate = lonely.folder / "gate"
    gate.touch()
    with lonely.worker() as worker:
        runs = [lonely.run("talk") for _ in range(3)]
        greedy = lonely.run(
            "end", memory_mib=100, command=python("import os, time", wait % str(gate), HOLD)
        )
        for run in runs:
            run.wrote("here")
        until(lambda: len(greedy.processes()) == 2)
        child_processes.kill(worker)
    ending, cancelled, forsaken = runs
    time.sleep(3)  # their output would fill a pipe
    (ending.folder / "go").touch()
    assert ending.ended().is_completed()
    gate.unlink()
    assert "over its limit of 100" in greedy.crashed()
    cancel(cancelled)
    assert cancelled.ended().is_cancelled()
    until(lambda: any("report" in " ".join(one.cmdline()) for one in forsaken.processes()))
    forsaken.supervisor().kill()
    assert "its supervisor was killed, after its worker" in forsaken.crashed()
    for run in [*runs, greedy]:
        until(lambda run=run: not run.processes())
    assert cancelled.ended().is_cancelled()  # no later state


@real
def test_a_run_that_has_gone_silent_is_crashed_as_the_docs_say(
    prefect_server: str, tmp_path: Path
) -> None:
    docs = (Path(__file__).parents[1] / "docs" / "process-worker.md").read_text(encoding="utf-8")
    text = docs.rpartition("```yaml\n")[2].partition("```")[0]
    with get_client(sync_client=True) as client:
        silent = client.create_flow_run(
            behave, parameters={"how": "", "folder": ""}, state=Running()
        )
    # For this run only, with the shortest time that Prefect accepts.
    text = text.replace('"prefect.flow-run.*" }', f'"prefect.flow-run.{silent.id}" }}')
    file = tmp_path / "silent.yaml"
    file.write_text(text.replace("within: 600", "within: 10"))
    command = [sys.executable, "-m", "prefect", "automation", "create", "--from-file", str(file)]
    env = {**os.environ, "PREFECT_API_URL": prefect_server}
    subprocess.run(command, env=env, check=True, timeout=SECONDS)
    with get_client(sync_client=True) as client:
        emit_event(
            "prefect.flow-run.heartbeat",
            resource={"prefect.resource.id": f"prefect.flow-run.{silent.id}"},
        )

        def message() -> str | None:
            state = client.read_flow_run(silent.id).state
            return state.message if state is not None and state.is_crashed() else None

        assert "went down" in until(message)


ELSEWHERE = {
    "PID namespace": ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"],
    "user": ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
}


@linux
@real
def test_workers_elsewhere_on_the_same_host_leave_a_run_alone(site: Site, tmp_path: Path) -> None:
    def starts(before: list[str]) -> bool:
        probe = [*before, sys.executable, "-c", "import prefect"]
        return not subprocess.run(probe, capture_output=True, check=False).returncode

    elsewhere = [before for before in ELSEWHERE.values() if starts(before)]
    if not elsewhere:
        pytest.skip(f"this machine starts no worker as another {' or '.join(ELSEWHERE)}")
    run = site.run("talk")
    run.wrote("here")
    log = tmp_path / "worker.log"
    with contextlib.ExitStack() as workers:
        for before in elsewhere:
            workers.enter_context(site.worker(*before, log=log))
        until(lambda: log.read_text().count("started!") == len(elsewhere))
        time.sleep(5)  # they exchange state every two seconds
        state = run.read().state
        assert state is not None
        assert state.is_running(), state
        (run.folder / "go").touch()
        assert run.ended().is_completed()


@linux
def test_a_worker_that_sees_other_processes_is_refused() -> None:
    code = f"""
import asyncio
from {PACKAGE}.common.process_worker.worker import LimitedProcessWorker
asyncio.run(LimitedProcessWorker('pool').setup())
"""
    command = ["unshare", "--pid", "--fork", sys.executable, "-c"]
    if subprocess.run([*command, ""], capture_output=True, check=False).returncode:
        pytest.skip("this machine gives no PID namespace")
    done = subprocess.run([*command, code], capture_output=True, text=True, check=False)
    assert "watches runs by means of Linux and a /proc of its own PID namespace" in done.stderr
