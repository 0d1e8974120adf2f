"""Loads into DuckDB and PostgreSQL: modes, windows, schema drift and rules."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import projects
import pytest

INSIDE = projects.ROOT / "tests" / "inside"


LOADING, DRIFT, CHECKS = "test_loading.py", "test_drift.py", "test_checks.py"
RUNS = [(LOADING, "postgres"), (CHECKS, "duckdb")]
MORE = [(LOADING, "duckdb"), (DRIFT, "duckdb"), (DRIFT, "postgres"), (CHECKS, "postgres")]
"""For the large run: most of it is the same for both."""


@pytest.mark.parametrize(
    ("module", "warehouse"),
    [*RUNS, *(pytest.param(*run, marks=pytest.mark.large("faults")) for run in MORE)],
)
def test_loads(
    module: str,
    warehouse: str,
    everything: Path,
    postgres_server: Any,
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    """In a project's environment, without its tests' fixtures."""
    shutil.copy(everything / "tests" / "postgres_server.py", tmp_path)
    for name in (module, "bench.py"):
        shutil.copy(INSIDE / name, tmp_path)
    command = (everything / ".venv" / "bin" / "pytest", "-q", "--no-cov", "-p", "no:cacheprovider")
    env = {"TEST_POSTGRES_URL": postgres_server.url, "TEST_WAREHOUSES": warehouse}
    # Rows of functions are the same for each warehouse; the large run tests both.
    large = "faults" in pytestconfig.getoption("--large")
    chosen = () if large or module != LOADING else ("-k", "not function and not since")
    printed = projects.run(*command, module, *chosen, cwd=tmp_path, **env)
    assert " passed" in printed
    assert " skipped" not in printed
