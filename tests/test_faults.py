"""Faults during an ingestion: after a repeated run, the result equals that of a clean run."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import socket
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
import warehouse_files
from prefect_server import Server
from projects import tool

INSIDE = projects.ROOT / "tests" / "inside"
LARGE = pytest.mark.large("faults")
SEED = "2013"
PREFIX = "MY_DATA_PROJECT_"
ENCODING = "ENCODING '{}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """A folder with the scripts that run inside the project."""
    folder = tmp_path / "inside"
    folder.mkdir()
    for script in ("stores.py", "kills.py", "faults.py"):
        shutil.copy(INSIDE / script, folder)
    return folder


@pytest.fixture
def script(everything: Path, inside: Path, postgres_server: Any) -> Any:
    """Run a script with the project's Python; return its output."""

    def run(name: str, *words: str, **env: str) -> str:
        python = everything / ".venv" / "bin" / "python"
        # The scripts fork, and Arrow's jemalloc crashes in threads of a forked child.
        pool = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
        env = {"TEST_POSTGRES_URL": postgres_server.url, **pool, **env}
        return projects.run(python, inside / name, *words, cwd=inside, **env)

    return run


@pytest.mark.parametrize("kind", [pytest.param("duckdb", marks=LARGE), "postgresql"])
def test_killed_at_any_point_and_run_again(
    kind: str, script: Any, pytestconfig: pytest.Config
) -> None:
    """Modes full, incremental, append with and without a cursor, and a function's rows."""
    kills = 60 if "faults" in pytestconfig.getoption("--large") else 4
    found = json.loads(script("kills.py", kind, str(kills), SEED).splitlines()[-1])
    assert len(found) == 5
    for ends in found.values():
        assert sum(number for end, number in ends.items() if end != "cut") == kills
        assert ends["before"] > 0


@pytest.mark.parametrize("kind", ["duckdb", pytest.param("postgresql", marks=LARGE)])
def test_several_runs_at_once(kind: str, script: Any) -> None:
    assert "together: fine" in script("faults.py", "together", kind)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Mount a disk of 64 MiB that all users may write to, or skip the test."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    folder = Path(tempfile.mkdtemp(prefix="small-disk-"))
    words = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=1777", "tmpfs", str(folder)]
    mounted = subprocess.run(words, check=False, timeout=60).returncode == 0
    if mounted:
        yield folder
        subprocess.run(["umount", str(folder)], check=True, timeout=60)
    folder.rmdir()
    if not mounted:
        pytest.skip("this machine does not let root mount a small disk")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("duckdb", "large in duckdb:///.*: .*No space left on device. Make room, then run it"),
        # Either the table's file or the write-ahead log is full first.
        # Only in the large run: a checkpoint at that time can crash the shared server.
        pytest.param(
            "postgresql",
            "large in postgresql://.*: .*(could not extend file|No space left).* Make room, then",
            marks=LARGE,
        ),
        (
            "spool",
            "Cannot keep the rows in .*: .*No space left on device. Make room, or set TMPDIR",
        ),
    ],
)
def test_a_full_disk_is_one_clear_error(
    what: str, message: str, script: Any, small_disk: Path
) -> None:
    """In the warehouse, and in the folder for extracted rows."""
    printed = script("faults.py", "full_disk", what, str(small_disk))
    assert re.search(f"^PermanentError: {message}", printed, re.MULTILINE), printed
    assert "full disk: fine" in printed


@pytest.mark.parametrize(
    "way", [*(pytest.param(way, marks=LARGE) for way in ("source", "warehouse")), "restart"]
)
def test_a_database_goes_away_in_the_middle(
    way: str, script: Any, prefect_api: str, postgres_server: Any
) -> None:
    """The flow run retries and completes; no row is lost or duplicated."""
    server = postgres_server
    restart = [*server.user, str(server.programs / "pg_ctl"), "-D", str(server.data), "-l"]
    restart += [str(server.folder / "log"), "-o", server.options]
    restart += ["-m", "immediate", "-w", "restart"]
    words = restart if way == "restart" else []
    printed = script("faults.py", "interrupted", way, *words, PREFECT_API_URL=prefect_api)
    assert "TransientError" in printed, "the retry is logged with its reason"
    assert "Traceback" not in printed
    assert printed.splitlines()[-2:] == ["Completed: ", "(40000, 40000)"]


@pytest.mark.parametrize(
    ("source", "warehouse", "message"),
    [
        ("UTF8", "LATIN1", 'has no equivalent in encoding "LATIN1"'),
        ("LATIN1", "UTF8", ""),
        ("SQL_ASCII", "UTF8", "Column 'text' (text) of table 'odd' holds what string cannot"),
        ("UTF8", "SQL_ASCII", ""),
    ],
)
def test_settings_of_databases_change_no_value(
    source: str, warehouse: str, message: str, script: Any
) -> None:
    words = (ENCODING.format(source), ENCODING.format(warehouse))
    printed = script("faults.py", "encodings", *words)
    assert "encodings: fine" in printed
    assert message in printed


@pytest.fixture
def pgbouncer(postgres_server: Any, tmp_path: Path) -> Iterator[str]:
    """Start PgBouncer in transaction mode before the server, or skip the test; its port."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("no PgBouncer here: install the package pgbouncer")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = postgres_server.folder / f"pgbouncer-{port}"
    folder.mkdir(mode=0o755)
    (folder / "ini").write_text(
        f"[databases]\n* = host={postgres_server.folder} user=tests\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        "auth_type = any\npool_mode = transaction\n"
    )
    with (tmp_path / "pgbouncer.log").open("wb") as log:
        words = [*postgres_server.user, program, "-q", str(folder / "ini")]
        started = child_processes.start(words, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            alive = started.poll() is None and time.monotonic() < deadline
            assert alive, (tmp_path / "pgbouncer.log").read_text()
            time.sleep(0.1)
        yield str(port)
    finally:
        child_processes.stop(started)


@LARGE
def test_a_pooler_in_transaction_mode(script: Any, pgbouncer: str) -> None:
    """As source and as warehouse, from several processes."""
    assert "pooled: fine" in script("faults.py", "pooled", pgbouncer)


@pytest.mark.parametrize(
    ("source", "kind", "loading"),
    [
        pytest.param("postgresql", "postgresql", 1000, marks=LARGE),
        # DuckDB processes 2,048 rows at a time, and caches up to its memory limit.
        pytest.param("sqlite", "duckdb", None, marks=LARGE),
    ],
)
def test_memory_is_bounded_by_bytes(
    source: str, kind: str, loading: int | None, script: Any, pytestconfig: pytest.Config
) -> None:
    """Rows of 400 kB: 240 MB in the gate, 1.2 GB in the large run."""
    rows = 3000 if "faults" in pytestconfig.getoption("--large") else 600
    printed = script("faults.py", "wide", source, kind, str(rows), "400000")
    found = json.loads(printed.splitlines()[-1])
    assert found["extract"] < 200, found  # MiB
    assert loading is None or found["load"] < loading, found


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
    assert not list(tmp_path.glob("warehouse*"))


FLOW_RUN = """
import sys
from my_data_project.flows import ingestion_flow
print(ingestion_flow.FLOWS["flights"].with_options(flow_run_name=sys.argv[1])().loaded, flush=True)
"""

COUNTED = "SELECT count(*), count(DISTINCT (time_hour, carrier, flight)) FROM raw.flights"


@pytest.fixture
def own_server(
    everything: Path, migrated: Path, prefect_api: str, tmp_path: Path
) -> Iterator[Server]:
    """A Prefect server that a test may kill and restart once."""
    server = Server(migrated, python=str(everything / ".venv" / "bin" / "python"))
    server.start()
    server.wait()
    server.migrated = tmp_path / "none.db"  # Keep its own database from now on.
    yield server
    server.stop()


@pytest.mark.parametrize("way", ["restarted", pytest.param("gone", marks=LARGE)])
def test_the_prefect_server_goes_away_in_the_middle(
    way: str, everything: Path, sources: dict[str, str], own_server: Server, tmp_path: Path
) -> None:
    """A run waits for the server; without it, loaded rows stay, and none is duplicated."""
    python = everything / ".venv" / "bin" / "python"
    (tmp_path / "run.py").write_text(FLOW_RUN)
    settings = {**sources, "PREFECT_API_URL": own_server.url}
    retries = {} if way == "restarted" else {"PREFECT_CLIENT_MAX_RETRIES": "1"}
    # Another process has the file open, so that the run waits in the middle.
    with warehouse_files.held(everything, settings[f"{PREFIX}WAREHOUSE_URL"]):
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
    url = settings[f"{PREFIX}WAREHOUSE_URL"]
    assert warehouse_files.ask(everything, url, COUNTED) == [[169, 169]]
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
from postgres import module
from prefect_server import Server

child_processes.take_charge()
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
    """PostgreSQL, which detaches from its parent process, and Prefect's server."""
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


@LARGE
def test_killed_flow_runs_and_run_again(
    everything: Path,
    sources: dict[str, str],
    prefect_api: str,
    postgres_server: Any,
    tmp_path: Path,
) -> None:
    """Runs killed at random moments: Prefect still shows them as running, the next completes."""
    dice = random.Random(SEED)
    python = everything / ".venv" / "bin" / "python"
    (tmp_path / "run.py").write_text(FLOW_RUN)
    settings = {**sources, "PREFECT_API_URL": prefect_api}
    states: list[str] = []
    for number in range(12):
        settings[f"{PREFIX}WAREHOUSE_URL"] = postgres_server.create_database()
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
        url = settings[f"{PREFIX}WAREHOUSE_URL"]
        assert warehouse_files.ask(everything, url, COUNTED) == [[169, 169]]
        words = ("flow-run", "ls", "--limit", "200", "--output", "json")
        listed = tool(everything, "prefect", "--no-prompt", *words, PREFECT_API_URL=prefect_api)
        runs = {run["name"]: run["state_name"] for run in json.loads(listed)}
        states.append(runs[name])
    assert set(states) <= {"Running", "Completed"}
    assert "Running" in states
