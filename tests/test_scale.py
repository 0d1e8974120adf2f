"""Many tables in one ingestion, with threads, processes, and Dask here or by address."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import child_processes
import projects
import pytest
from projects import tool

LOADED = "[16, 52, 146, 169, 27]"

RUN_ALL = (
    "from my_data_project.flows.ingestion_flow import ingest_all\n"
    "if __name__ == '__main__':\n"
    "    print([result.loaded for result in ingest_all()])\n"
)


FIFTY = """
import sys
from my_data_project.common import errors, warehouse
from my_data_project.common.table import Table
from my_data_project.flows import ingestion_flow, tables

tables.TABLES = tuple(
    Table(name=f"t{number}", key=("id",), mode="incremental", cursor="changed")
    for number in range(50)
)
try:
    print([result.loaded for result in ingestion_flow.ingest_all()])
except errors.PermanentError as error:
    print(error)
with warehouse.connect() as opened:
    union = " UNION ALL ".join(
        f"SELECT {number}, count(*), sum(id) FROM raw.t{number}" for number in range(50)
    )
    print(len(opened.query(union)), sorted({row[1:] for row in opened.query(union)}))
    loads = "SELECT count(DISTINCT _dlt_load_id), count(*) FILTER (mode <> 'reset')"
    loads = f"{loads} FROM raw._ingestions"
    print("loads", *opened.query(loads))
"""


def test_fifty_tables_are_loaded_in_few_loads(
    pipeline: Path, prefect_api: str, tmp_path: Path
) -> None:
    """In groups, but each is its own task run, and a failing one stops no other."""
    (tmp_path / "run.py").write_text(FIFTY)
    source = sqlite3.connect(tmp_path / "source.db")
    for number in range(50):
        source.execute(f"CREATE TABLE t{number} (id INTEGER, changed INTEGER)")
        source.execute(f"INSERT INTO t{number} VALUES (1, 1), (2, 2)")
    source.commit()
    env = {
        "PREFECT_API_URL": prefect_api,
        "MY_DATA_PROJECT_SOURCE_URL": f"sqlite:///{tmp_path / 'source.db'}",
        "MY_DATA_PROJECT_WAREHOUSE_URL": f"duckdb:///{tmp_path / 'warehouse.duckdb'}",
    }
    printed = tool(pipeline, "python", tmp_path / "run.py", **env)
    assert str([2] * 50) in printed
    assert "50 [(2, 3)]" in printed
    for number in range(50):
        assert f"Task run 'ingest-t{number}'" in printed
    for number in range(50):
        source.execute(f"INSERT INTO t{number} VALUES (3, 2)")
    source.execute("UPDATE t7 SET changed = 'soon' WHERE id = 3")
    source.commit()
    printed = tool(pipeline, "python", tmp_path / "run.py", **env)
    assert "1 of 50 tables failed.\nt7: " in printed
    assert "50 [(2, 3), (3, 6)]" in printed
    loads, receipts = map(int, re.findall(r"loads \((\d+), (\d+)\)", printed)[0])
    assert receipts == 99
    assert loads <= 25


# All other tests use threads.
@pytest.mark.parametrize(
    "runner",
    [pytest.param("threads", marks=pytest.mark.large("faults")), "processes", "dask"],
)
def test_runners_of_one_machine(
    runner: str, everything: Path, prefect_api: str, sources: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "run.py").write_text(RUN_ALL)
    printed = tool(
        everything,
        "python",
        tmp_path / "run.py",
        MY_DATA_PROJECT_TASK_RUNNER=runner,
        MY_DATA_PROJECT_MAX_WORKERS="2",
        PREFECT_API_URL=prefect_api,
        **sources,
    )
    assert LOADED in printed


# Copies a warehouse's tables to a source.
PUBLISH = """
from my_data_project.common import warehouse
from my_data_project.flows import ingestion_flow, tables
ingestion_flow.ingest_all()
with warehouse.connect() as opened:
    for table in tables.TABLES:
        opened.execute(
            f"ALTER TABLE raw.{table.name} DROP COLUMN _dlt_load_id",
            f"ALTER TABLE raw.{table.name} SET SCHEMA public",
        )
"""


@pytest.fixture
def databases(postgres_server: Any) -> dict[str, str]:
    """Settings with two databases of a server."""
    return {
        "MY_DATA_PROJECT_SOURCE_URL": postgres_server.create_database(),
        "MY_DATA_PROJECT_WAREHOUSE_URL": postgres_server.create_database(),
    }


@pytest.fixture
def scheduler(
    everything: Path, prefect_api: str, databases: dict[str, str], tmp_path: Path
) -> Iterator[str]:
    """Start a Dask scheduler and a worker with its own settings; yield the scheduler's address."""
    file, logs = tmp_path / "scheduler.json", tmp_path / "dask.log"
    bin_ = everything / ".venv" / "bin"
    common = ["--scheduler-file", str(file), "--no-dashboard"]
    env = projects.clean_environment(PREFECT_API_URL=prefect_api, **databases)
    with logs.open("wb") as log:
        started = [
            child_processes.start(
                [str(bin_ / "dask"), role, *common, *words],
                cwd=tmp_path,
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            for role, words in (
                ("scheduler", ["--host", "127.0.0.1", "--port", "0"]),
                ("worker", ["--host", "127.0.0.1", "--nworkers", "1", "--nthreads", "2"]),
            )
        ]
    try:
        for _ in range(1800):
            if found := re.search(r"Scheduler at: +(tcp://127\.0\.0\.1:\d+)", logs.read_text()):
                break
            assert started[0].poll() is None, logs.read_text()
            time.sleep(0.1)
        else:
            pytest.fail(logs.read_text())
        yield found[1]
    finally:
        for process in reversed(started):
            child_processes.stop(process, 30)


@pytest.mark.large("faults")
def test_a_dask_scheduler_by_address(
    everything: Path,
    prefect_api: str,
    sources: dict[str, str],
    databases: dict[str, str],
    scheduler: str,
    tmp_path: Path,
) -> None:
    script = tmp_path / "run.py"
    script.write_text(PUBLISH)
    here = {**sources, "MY_DATA_PROJECT_WAREHOUSE_URL": databases["MY_DATA_PROJECT_SOURCE_URL"]}
    tool(everything, "python", script, PREFECT_API_URL=prefect_api, **here)
    script.write_text(RUN_ALL)
    env = {
        **databases,
        "MY_DATA_PROJECT_TASK_RUNNER": "dask",
        "MY_DATA_PROJECT_DASK_ADDRESS": scheduler,
        "PREFECT_API_URL": prefect_api,
    }
    assert LOADED in tool(everything, "python", script, **env)


def test_a_scheduler_by_address_refuses_a_file(
    everything: Path, prefect_api: str, tmp_path: Path
) -> None:
    script = tmp_path / "run.py"
    script.write_text(RUN_ALL)
    printed = tool(
        everything,
        "python",
        script,
        check=False,
        MY_DATA_PROJECT_SOURCE_URL="postgresql://reader@db.example.com/crm",
        MY_DATA_PROJECT_WAREHOUSE_URL=f"duckdb:///{tmp_path / 'warehouse.db'}",
        MY_DATA_PROJECT_TASK_RUNNER="dask",
        MY_DATA_PROJECT_DASK_ADDRESS="tcp://127.0.0.1:1",
        PREFECT_API_URL=prefect_api,
    )
    assert "PermanentError: The warehouse" in printed
    assert "is a file, which the workers of the Dask scheduler tcp://127.0.0.1:1" in printed
    assert not (tmp_path / "warehouse.db").exists()
    assert "use a database server, or unset the Dask address" in printed
