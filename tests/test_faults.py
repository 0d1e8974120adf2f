"""Faults in the middle of an ingestion: afterwards, a run again equals a clean run."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import child_processes
import postgres
import projects
import pytest
from prefect_server import Server
from projects import tool

INSIDE = projects.ROOT / "tests" / "inside"
KINDS = ["sqlite", "postgres", "duckdb"]
SEED = "2013"


@pytest.fixture
def inside(everything: Path, tmp_path: Path) -> Path:
    """Give a test a folder with the scripts that run inside the project, and its test helpers."""
    folder = tmp_path / "inside"
    shutil.copytree(everything / "tests", folder / "tests")
    for script in INSIDE.glob("*.py"):
        shutil.copy(script, folder)
    return folder


def script(project: Path, inside: Path, name: str, *words: str, **env: str) -> str:
    """Run one of the scripts with the project's Python."""
    python = project / ".venv" / "bin" / "python"
    return projects.run(python, inside / name, *words, cwd=inside, **env)


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_any_point_and_run_again(
    kind: str,
    everything: Path,
    inside: Path,
    postgres_server: Any,
    pytestconfig: pytest.Config,
) -> None:
    kills = 80 if "faults" in pytestconfig.getoption("--large") else 20
    env = {"TEST_POSTGRES_URL": postgres_server.url}
    printed = script(everything, inside, "kills.py", kind, str(kills), SEED, **env)
    found = json.loads(printed.splitlines()[-1])
    assert found["kills"] == kills
    assert found["before"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_five_runs_at_once(kind: str, everything: Path, inside: Path, postgres_server: Any) -> None:
    env = {"TEST_POSTGRES_URL": postgres_server.url}
    assert "together: fine" in script(everything, inside, "faults.py", "together", kind, **env)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Mount a disk of 32 MiB that every user may write to, or skip the test."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    folder = Path(tempfile.mkdtemp(prefix="small-disk-"))
    words = ["mount", "-t", "tmpfs", "-o", "size=32m,mode=1777", "tmpfs", str(folder)]
    mounted = subprocess.run(words, check=False, timeout=60).returncode == 0
    if mounted:
        yield folder
        subprocess.run(["umount", str(folder)], check=True, timeout=60)
    folder.rmdir()
    if not mounted:
        pytest.skip("this machine does not let root mount a small disk")


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_one_clear_error(
    kind: str, everything: Path, inside: Path, small_disk: Path, postgres_server: Any
) -> None:
    env = {"TEST_POSTGRES_URL": postgres_server.url}
    printed = script(everything, inside, "faults.py", "full_disk", kind, str(small_disk), **env)
    assert "PermanentError: Table 'large': Cannot write to" in printed
    assert "Make room on its disk, then run it again." in printed
    assert "full disk: fine" in printed


@pytest.mark.parametrize("way", ["cut", "restart"])
def test_the_warehouse_goes_away_in_the_middle(
    way: str,
    everything: Path,
    inside: Path,
    sources: dict[str, str],
    prefect_api: str,
    postgres_server: Any,
) -> None:
    """The flow run tries again by itself and completes; no row is lost or doubled."""
    server = postgres_server
    restart = [*server.user, str(server.programs / "pg_ctl"), "-D", str(server.data), "-l"]
    restart += [
        str(server.folder / "log"),
        "-o",
        server.options,
        "-m",
        "immediate",
        "-w",
        "restart",
    ]
    env = {
        **sources,
        "MY_DATA_PROJECT_WAREHOUSE_URL": server.create_database(),
        "MY_DATA_PROJECT_BATCH_SIZE": "50",
        "PREFECT_API_URL": prefect_api,
    }
    printed = script(everything, inside, "faults.py", "interrupted", way, *restart, **env)
    assert "Completed" in printed
    assert "TransientError" in printed, "the retry is logged with its reason"
    assert printed.splitlines()[-1] == "(169, 169)"


def test_without_a_prefect_server_nothing_starts(
    everything: Path, sources: dict[str, str], tmp_path: Path
) -> None:
    code = "from my_data_project.flows.ingestion_flow import ingest_all; ingest_all()"
    env = {
        **sources,
        "PREFECT_API_URL": "http://127.0.0.1:1/api",
        "PREFECT_CLIENT_MAX_RETRIES": "0",
    }
    printed = tool(everything, "python", "-c", code, check=False, **env)
    assert "Failed to reach API at http://127.0.0.1:1/api/" in printed
    assert not (tmp_path / "warehouse.db").exists()


FLOW_RUN = """
import sys
from my_data_project.flows import ingestion_flow
print(ingestion_flow.FLOWS["flights"].with_options(flow_run_name=sys.argv[1])().written, flush=True)
"""


@pytest.fixture
def own_server(
    everything: Path, migrated: Path, prefect_api: str, tmp_path: Path
) -> Iterator[Server]:
    """A Prefect server that a test may kill, and start again once."""
    server = Server(migrated, python=str(everything / ".venv" / "bin" / "python"))
    server.start()
    server.wait()
    server.migrated = tmp_path / "none.db"  # From now on it keeps its own database.
    yield server
    server.stop()


@pytest.mark.parametrize("way", ["restarted", "gone"])
def test_the_prefect_server_goes_away_in_the_middle(
    way: str, everything: Path, sources: dict[str, str], own_server: Server, tmp_path: Path
) -> None:
    """A run waits for its server; without it, what it loaded stays, and nothing is doubled."""
    python = everything / ".venv" / "bin" / "python"
    (tmp_path / "run.py").write_text(FLOW_RUN)
    settings = {**sources, "PREFECT_API_URL": own_server.url}
    retries = {} if way == "restarted" else {"PREFECT_CLIENT_MAX_RETRIES": "1"}
    url = settings["MY_DATA_PROJECT_WAREHOUSE_URL"]
    # Somebody else writes, so that the run waits in the middle.
    warehouse = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    warehouse.execute("BEGIN IMMEDIATE")
    started = child_processes.start(
        [str(python), "run.py", "in the middle"],
        cwd=tmp_path,
        env=projects.clean_environment(**settings, **retries),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert started.stdout is not None
    for line in started.stdout:
        if "Beginning flow run" in line:
            break
    assert own_server.process is not None
    child_processes.kill(own_server.process)
    if way == "restarted":
        own_server.start()
        own_server.wait()
    warehouse.execute("ROLLBACK")
    printed = started.communicate(timeout=300)[0]
    if way == "restarted":
        assert started.returncode == 0, printed
        assert "Finished in state Completed" in printed
    else:
        assert started.returncode != 0
        assert "Connection refused" in printed or "ConnectError" in printed, printed
        own_server.start()
        own_server.wait()
    again = projects.run(python, "run.py", "again", cwd=tmp_path, **settings)
    assert "Completed" in again
    wanted = "SELECT COUNT(*), COUNT(DISTINCT time_hour || carrier || flight) FROM flights"
    rows, keys = warehouse.execute(wanted).fetchone()
    warehouse.close()
    assert rows == keys == 169
    words = ("flow-run", "ls", "--limit", "9", "--output", "json")
    listed = tool(everything, "prefect", "--no-prompt", *words, PREFECT_API_URL=own_server.url)
    runs = {run["name"]: run["state_name"] for run in json.loads(listed)}
    assert runs["again"] == "Completed"
    assert runs["in the middle"] == ("Completed" if way == "restarted" else "Running")


KILLED = """
import sys
import time
from pathlib import Path

import child_processes
import postgres
from prefect_server import Server

child_processes.take_charge()
module = postgres.load()
database = module.Server(module.find_programs())
database.start()
server = Server(Path(sys.argv[1]), python=sys.argv[2])
server.start()
server.wait()
print(database.data / "postmaster.pid", server.process.pid, flush=True)
time.sleep(600)
"""


def test_servers_end_with_a_killed_run(
    everything: Path, migrated: Path, postgres_server: Any, prefect_api: str, tmp_path: Path
) -> None:
    """PostgreSQL, which leaves the process that starts it, and Prefect's server."""
    (tmp_path / "run.py").write_text(KILLED)
    modules = (Path(postgres.__file__).parent, Path(child_processes.__file__).parent)
    env = projects.clean_environment(PYTHONPATH=os.pathsep.join(map(str, modules)))
    command = [sys.executable, "run.py", migrated, everything / ".venv" / "bin" / "python"]
    with child_processes.running(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        file, pid = process.stdout.readline().split()
        pids = {int(pid), int(Path(file).read_text().split()[0])}
        child_processes.kill(process)
    assert all(projects.gone(pid) for pid in pids)
    shutil.rmtree(Path(file).parents[1])


@pytest.mark.large("faults")
def test_killed_flow_runs_and_run_again(
    everything: Path,
    sources: dict[str, str],
    prefect_api: str,
    postgres_server: Any,
    tmp_path: Path,
) -> None:
    """Real runs, killed at random moments: Prefect still sees them running, the next completes."""
    dice = random.Random(SEED)
    python = everything / ".venv" / "bin" / "python"
    (tmp_path / "run.py").write_text(FLOW_RUN)
    settings = {**sources, "PREFECT_API_URL": prefect_api, "MY_DATA_PROJECT_BATCH_SIZE": "5"}
    source = sqlite3.connect(sources["MY_DATA_PROJECT_SOURCE_URL"].removeprefix("sqlite:///"))
    wanted = source.execute("SELECT COUNT(*) FROM flights").fetchone()[0]
    source.close()
    states: list[str] = []
    for number in range(12):
        settings["MY_DATA_PROJECT_WAREHOUSE_URL"] = postgres_server.create_database()
        name = f"killed {number}"
        command = [str(python), "run.py", name]
        env = projects.clean_environment(**settings)
        started = child_processes.start(
            command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert started.stderr is not None
        for line in started.stderr:
            if b"Beginning flow run" in line:
                break
        time.sleep(dice.uniform(0, 1.5))
        child_processes.kill(started)
        started.stderr.close()
        printed = projects.run(python, "run.py", f"again {number}", cwd=tmp_path, **settings)
        assert "Completed" in printed
        with_key = "COUNT(DISTINCT (time_hour, carrier, flight))"
        query = f"SELECT COUNT(*) || ' ' || {with_key} FROM flights"
        assert postgres_server.ask(settings["MY_DATA_PROJECT_WAREHOUSE_URL"], query) == (
            f"{wanted} {wanted}"
        )
        words = ("flow-run", "ls", "--limit", "200", "--output", "json")
        listed = tool(everything, "prefect", "--no-prompt", *words, PREFECT_API_URL=prefect_api)
        runs = {run["name"]: run["state_name"] for run in json.loads(listed)}
        states.append(runs[name])
    assert set(states) <= {"Running", "Completed"}
    assert "Running" in states
