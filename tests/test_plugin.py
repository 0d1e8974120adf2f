"""A plugin's wheel in a clean environment: what Prefect finds, a real worker, a real hook."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import child_processes
import projects
import pytest
from environments import require_python
from prefect_server import Server
from projects import Render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the worker needs Linux")

TYPE = "my-system-process"
MARK = "PREFECT_MY_SYSTEM_FLOW_RUN"

WAIT_SECONDS = 300
"""For what takes seconds where nothing else runs."""

FLOWS = """
import subprocess
import sys
import time

from prefect import flow


@flow
def nap():
    time.sleep(4)


@flow
def fill():
    held = [bytearray(b"x") * (1 << 20) for _ in range(2000)]


@flow
def stubborn():
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    time.sleep(600)
"""

DEPLOY = """
import json
import flows
from prefect import deploy
from prefect.types.entrypoint import EntrypointType

made = deploy(
    *[
        getattr(flows, name).to_deployment(name="d", entrypoint_type=EntrypointType.MODULE_PATH)
        for name in ("nap", "fill", "stubborn")
    ],
    work_pool_name="limited",
    ignore_warnings=True,
)
print(json.dumps([str(one) for one in made]))
"""


@pytest.fixture(scope="module")
def python(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the plugin's wheel, and nothing for its development; the Python it is in."""
    project = tmp_path_factory.mktemp("plugin") / "prefect-my-system"
    projects.run("cp", "-r", render(project_kind="plugin"), project, cwd=Path("/"))
    projects.run("git", "init", "-q", cwd=project)
    projects.run("git", "add", "--all", cwd=project)
    projects.run("git", "commit", "-qm", "Start", cwd=project)
    projects.run("uv", "build", "-q", "--wheel", cwd=project)
    wheel = next((project / "dist").glob("*.whl"))
    folder = tmp_path_factory.mktemp("clean")
    projects.run("uv", "venv", "-q", "-p", require_python("3.11"), "env", cwd=folder)
    found = folder / "env" / "bin" / "python"
    install = ("uv", "pip", "install", "-q", "--python", found)
    # The plugin imposes no bounds on those who use it; its README has those of Prefect's server.
    _, bounds = projects.to_install(project)
    projects.run(*install, wheel, *bounds, cwd=folder)
    return found


@pytest.fixture(scope="module")
def api(python: Path, migrated: Path) -> Iterator[str]:
    """A Prefect server in the environment of the wheel; the URL of its API."""
    server = Server(migrated, python=str(python))
    server.start()
    try:
        server.wait()
        yield server.url
    finally:
        server.stop()


def prefect(python: Path, *words: str, check: bool = True, **env: str) -> str:
    """Run a command of Prefect; its output without the line breaks of its tables."""
    command = (python.with_name("prefect"), "--no-prompt", *words)
    return projects.run(*command, cwd=python.parents[2], check=check, COLUMNS="300", **env)


def call(url: str, **body: Any) -> Any:
    """Send a request to Prefect's API, again while its database is locked."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    for _ in range(60):
        try:
            # A write of the server waits for its database for a minute before it gives up.
            with urllib.request.urlopen(request, timeout=180) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
        time.sleep(0.5)
    raise TimeoutError(url)


def start(api: str, deployment: str, **variables: Any) -> str:
    """Ask for a run of a deployment; its id."""
    url = f"{api}/deployments/{deployment}/create_flow_run"
    return call(url, state={"type": "SCHEDULED"}, job_variables=variables)["id"]


def until(api: str, run: str, *types: str) -> dict[str, Any]:
    """Wait for a flow run to be in one of some states; the run."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        found = call(f"{api}/flow_runs/{run}")
        if found["state"]["type"] in types:
            return found
        time.sleep(0.2)
    raise TimeoutError(f"{found['state']}, not one of {types}")


ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def processes(run: str) -> set[int]:
    """Return the ids of the processes of a flow run."""
    found: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={run}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
    return found


def count(run: str, wanted: Callable[[int], bool]) -> bool:
    """Wait for a flow run to have as many processes as are wanted."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if wanted(len(processes(run))):
            return True
        time.sleep(0.1)
    return False


def none_left(run: str) -> bool:
    """Wait for the last process of a flow run to end."""
    return count(run, lambda number: number == 0)


@pytest.fixture(scope="module")
def deployments(python: Path, api: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Deploy three flows to a work pool of the worker's type; their ids by name."""
    folder = tmp_path_factory.mktemp("flows")
    (folder / "flows.py").write_text(FLOWS)
    (folder / "deploy.py").write_text(DEPLOY)
    printed = prefect(python, "work-pool", "create", "limited", "--type", TYPE, PREFECT_API_URL=api)
    assert "Created work pool 'limited'" in printed
    printed = projects.run(python, "deploy.py", cwd=folder, PREFECT_API_URL=api)
    ids = json.loads(printed.strip().splitlines()[-1])
    return {"folder": str(folder), **dict(zip(("nap", "fill", "stubborn"), ids, strict=True))}


@pytest.fixture(scope="module")
def worker(
    python: Path, api: str, deployments: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], subprocess.Popen[Any]]]:
    """Give the worker that runs, or start one as `prefect worker start` does."""
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    env = projects.clean_environment(
        PREFECT_API_URL=api,
        PREFECT_WORKER_QUERY_SECONDS="1",
        PREFECT_HOME=str(log.parent),
        PYTHONPATH=deployments["folder"],
    )
    started: list[subprocess.Popen[Any]] = []

    def running() -> subprocess.Popen[Any]:
        if started and started[-1].poll() is None:
            return started[-1]
        command = [python.with_name("prefect"), "worker", "start", "--pool", "limited"]
        with log.open("ab") as output:
            process = child_processes.start(command, env=env, stdout=output, stderr=output)
        started.append(process)
        return process

    yield running
    for process in started:
        child_processes.stop(process, 60)


def test_prefect_finds_everything_by_itself(python: Path, api: str) -> None:
    template = prefect(python, "work-pool", "get-default-base-job-template", "--type", TYPE)
    assert json.loads(template)["job_configuration"]["memory_mib"] == "{{ memory_mib }}"
    # The server registered the blocks when it started.
    assert "my-system" in prefect(python, "block", "type", "ls", PREFECT_API_URL=api)


def snippets(readme: str, language: str) -> list[str]:
    """Return the README's blocks of code in a language."""
    return re.findall(rf"```{language}\n(.+?)```", readme, re.DOTALL)


def test_the_readme_leads_to_a_flow_that_uses_saved_blocks(
    python: Path, render: Render, prefect_api: str, tmp_path: Path
) -> None:
    """On a server that knows nothing of the plugin, which is then told."""
    readme = (render(project_kind="plugin") / "README.md").read_text()
    commands = re.findall(r"^uv run prefect (block .+)$", readme, re.MULTILINE)
    assert commands == ["block register -m prefect_my_system.collection", "block type ls"]
    printed = [prefect(python, *line.split(), PREFECT_API_URL=prefect_api) for line in commands]
    assert "Successfully registered 2 blocks" in printed[0]
    assert "my-system-credentials" in printed[1]

    save, use = snippets(readme, "python")[:2]
    assert "https://system.example.com/api" in save
    lines = [
        "from prefect_my_system import demo_server",
        "things = [{'id': number} for number in range(250)]",
        "manager = demo_server.running(things=things)",
        "server = manager.__enter__()",
        save.replace(
            '"https://system.example.com/api"', "str(server.credentials.base_url)"
        ).replace('"..."', "demo_server.TOKEN"),
        use,
        "copy_things()",
        "print('copied:', server.collections['copies'] == things, server.told)",
        "manager.__exit__(None, None, None)",
    ]
    (tmp_path / "use.py").write_text("\n".join(lines))
    ran = projects.run(python, "use.py", cwd=tmp_path, PREFECT_API_URL=prefect_api)
    assert "copied: True [200, 200, 429, 200, 201, 503, 201, 201]" in ran
    listed = prefect(python, "block", "ls", PREFECT_API_URL=prefect_api)
    assert "my-system-credentials/prod" in listed
    assert "my-system/prod" in listed


def test_the_readme_passes_a_strict_type_checker(
    python: Path, render: Render, tmp_path: Path
) -> None:
    lines = [
        *snippets((render(project_kind="plugin") / "README.md").read_text(), "python")[:2],
        "from prefect_my_system.tasks import fetch_record",
        "@flow",
        "def name_of(system: System) -> str:",
        "    return str(fetch_record(system, 'things/7')['name'])",
    ]
    (tmp_path / "use.py").write_text("\n".join(lines))
    projects.check_types(tmp_path / "use.py", python)


def test_the_hook_is_diagnosed(python: Path, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    text = '[environment]\nPREFECT_API_AUTH_STRING = "a:hunter2"\nMY_TOKEN = "hunter3"\nA_B = 5\n'
    file.write_text(text)
    found = {"PREFECT_PLUGINS_ENABLED": "1", "PREFECT_MY_SYSTEM_SETTINGS_FILE": str(file)}
    printed = prefect(python, "plugins", "diagnose", **found)
    assert re.search(r"prefect-my-system: active\s+Module: prefect_my_system\.hooks", printed)
    assert "prefect-my-system: success" in printed
    assert "A_B=5" in printed
    assert "not shown: PREFECT_API_AUTH_STRING" in printed
    assert "hunter" not in printed


WRONG = 'PREFECT_API_REQUEST_TIMEOUT = "soon"'
REFUSED = r"settings\.toml: Prefect cannot use the value of PREFECT_API_REQUEST_TIMEOUT"


@pytest.mark.parametrize(
    ("text", "settings", "code", "sentence"),
    [
        ("A_B = 5", {}, 0, "A_B: 5"),
        ("A_B = 5", {"SAFE_MODE": "1"}, 0, "A_B: None"),
        ("A_B = 5", {"DENY": "prefect-my-system"}, 0, "A_B: None"),
        ("A_B = [", {}, 0, r"(?s)is not TOML.*A_B: None"),
        ("A_B = [", {"STRICT": "1"}, 1, "required plugin 'prefect-my-system' failed: .*not TOML"),
        (f"A_B = 5\n{WRONG}", {}, 0, f"(?s){REFUSED}.*A_B: None"),
        (f"A_B = 5\n{WRONG}", {"STRICT": "1"}, 1, f"'prefect-my-system' failed: .*{REFUSED}"),
    ],
    ids=str,
)
def test_prefect_rules_the_hook(
    text: str, settings: dict[str, str], code: int, sentence: str, python: Path, tmp_path: Path
) -> None:
    (tmp_path / "settings.toml").write_text(f"[environment]\n{text}\n")
    chosen = {f"PREFECT_PLUGINS_{name}": value for name, value in settings.items()}
    done = projects.complete(
        [python, "-c", "import prefect, os; print('A_B:', os.environ.get('A_B'))"],
        env=projects.clean_environment(
            PREFECT_PLUGINS_ENABLED="1",
            PREFECT_MY_SYSTEM_SETTINGS_FILE=str(tmp_path / "settings.toml"),
            PREFECT_HOME=str(tmp_path),
            **chosen,
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == code, done.stderr
    assert re.search(sentence, done.stderr + done.stdout)


def test_a_worker_holds_runs_to_what_they_may(
    api: str, deployments: dict[str, str], worker: Callable[[], subprocess.Popen[Any]]
) -> None:
    worker()
    burn = f"{sys.executable} -c 'while True: pass'"
    expected = {
        start(api, deployments["fill"], memory_mib=600): "MiB of memory, over its limit of 600",
        start(api, deployments["nap"], command=burn, cpu_seconds=2, grace_seconds=1): (
            "seconds of processor time, over its limit of 2. Make it use less, or raise the job"
            " variable cpu_seconds"
        ),
        start(api, deployments["nap"], command="sleep 600", wall_seconds=2): (
            "seconds, over its limit of 2. Make it use less, or raise the job variable wall_sec"
        ),
        start(api, deployments["nap"], memory_mb=600): "knows no job variable memory_mb: correct",
        start(api, deployments["nap"], command="/nowhere/x"): "/nowhere/x: No such file or dir",
    }
    for run, sentence in expected.items():
        state = until(api, run, *ENDED)["state"]
        assert state["type"] == "CRASHED", state
        assert sentence in state["message"]
        assert none_left(run)


def test_wrong_job_variables_are_refused_at_once(api: str, deployments: dict[str, str]) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        start(api, deployments["nap"], memory_mib="much")
    assert "Validation failed for field 'memory_mib'" in caught.value.read().decode()


def test_a_cancelled_run_leaves_nothing(
    api: str, deployments: dict[str, str], worker: Callable[[], subprocess.Popen[Any]]
) -> None:
    worker()
    run = start(api, deployments["stubborn"], grace_seconds=1)
    until(api, run, "RUNNING")
    # Supervisor, Prefect's command, engine, and the stubborn one.
    assert count(run, lambda number: number >= 4)
    call(f"{api}/flow_runs/{run}/set_state", state={"type": "CANCELLING"})
    assert until(api, run, *ENDED)["state"]["type"] == "CANCELLED"
    assert none_left(run)


def test_runs_outlive_their_worker_but_not_their_supervisor(
    api: str, deployments: dict[str, str], worker: Callable[[], subprocess.Popen[Any]]
) -> None:
    first = worker()
    lasting = start(api, deployments["nap"])
    doomed = start(api, deployments["nap"], command="sleep 600")
    until(api, lasting, "RUNNING")
    assert count(doomed, lambda number: number >= 2)
    call(f"{api}/flow_runs/{doomed}/set_state", state={"type": "RUNNING"})
    first.kill()
    first.wait(60)
    assert until(api, lasting, *ENDED)["state"]["type"] == "COMPLETED"
    assert none_left(lasting)
    supervisor = call(f"{api}/flow_runs/{doomed}")["infrastructure_pid"].rpartition(":")[2]
    os.kill(int(supervisor), signal.SIGKILL)
    assert none_left(doomed)
    worker()
    state = until(api, doomed, *ENDED)["state"]
    assert state["type"] == "CRASHED"
    assert "its supervisor or its machine went down" in state["message"]


def test_nothing_remains_when_it_is_uninstalled(python: Path) -> None:
    uninstall = ("uv", "pip", "uninstall", "-q", "--python", python, "prefect-my-system")
    projects.run(*uninstall, cwd=Path("/"))
    lines = [
        "from importlib.metadata import entry_points",
        "groups = ('prefect.collections', 'prefect.plugins')",
        "print([one.name for group in groups for one in entry_points(group=group)])",
    ]
    assert projects.run(python, "-c", "\n".join(lines), cwd=Path("/")) == "[]\n"
    packages = next(python.parents[1].glob("lib/python*/site-packages"))
    assert not [*packages.glob("*my_system*")]
    assert not python.with_name("prefect-my-system").exists()
