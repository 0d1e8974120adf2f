"""What runs the tables of one ingestion: processes, Dask on this machine, Dask by address."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import child_processes
import projects
import pytest
from projects import tool

WRITTEN = "[16, 52, 146, 169, 27]"

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


@pytest.mark.parametrize("runner", ["threads", "processes", "dask"])
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
    assert WRITTEN in printed


@pytest.fixture
def databases(postgres_server: Any) -> dict[str, str]:
    """Give settings that name two databases of a server."""
    return {
        "MY_DATA_PROJECT_SOURCE_URL": postgres_server.create_database(),
        "MY_DATA_PROJECT_WAREHOUSE_URL": postgres_server.create_database(),
    }


@pytest.fixture
def scheduler(
    everything: Path, prefect_api: str, databases: dict[str, str], tmp_path: Path
) -> Iterator[str]:
    """Start a Dask scheduler and a worker with its own settings; the scheduler's address."""
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


def test_a_dask_scheduler_by_address(
    everything: Path,
    prefect_api: str,
    sources: dict[str, str],
    databases: dict[str, str],
    scheduler: str,
    tmp_path: Path,
) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import os\n"
        "from my_data_project.common import merge, staging, state\n"
        "from my_data_project.flows import ingestion_flow, tables\n"
        "if __name__ == '__main__':\n"
        "    origin = os.environ['ORIGIN']\n"
        "    target = os.environ['MY_DATA_PROJECT_SOURCE_URL']\n"
        "    state.prepare(target)\n"
        "    for table in tables.TABLES:\n"
        "        extraction = staging.extract(origin, target, table, batch_size=50)\n"
        "        merge.publish(target, table, extraction)\n"
        "    print([result.written for result in ingestion_flow.ingest_all()])\n"
    )
    env = {
        "ORIGIN": sources["MY_DATA_PROJECT_SOURCE_URL"],
        **databases,
        "MY_DATA_PROJECT_TASK_RUNNER": "dask",
        "MY_DATA_PROJECT_DASK_ADDRESS": scheduler,
        "PREFECT_API_URL": prefect_api,
    }
    assert WRITTEN in tool(everything, "python", script, **env)


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_a_scheduler_by_address_refuses_a_file(
    kind: str, everything: Path, prefect_api: str, tmp_path: Path
) -> None:
    script = tmp_path / "run.py"
    script.write_text(RUN_ALL)
    printed = tool(
        everything,
        "python",
        script,
        check=False,
        MY_DATA_PROJECT_SOURCE_URL="postgresql://reader@db.example.com/crm",
        MY_DATA_PROJECT_WAREHOUSE_URL=f"{kind}:///{tmp_path / 'warehouse.db'}",
        MY_DATA_PROJECT_TASK_RUNNER="dask",
        MY_DATA_PROJECT_DASK_ADDRESS="tcp://127.0.0.1:1",
        PREFECT_API_URL=prefect_api,
    )
    assert "PermanentError: The warehouse" in printed
    assert "is a file, which the workers of the Dask scheduler tcp://127.0.0.1:1" in printed
    assert "use PostgreSQL, or unset the Dask address" in printed
