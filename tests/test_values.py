"""Reading sources: all types of SQLite, PostgreSQL, MySQL and DuckDB, and the list of tables.

Also tests settings, the list of tables and the commands that edit it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import projects
import pytest

INSIDE = projects.ROOT / "tests" / "inside"
FILES = ("value_cases.py", "bench.py", "test_values.py")
LISTED = ("test_add.py", "test_settings.py", "test_tables.py")


@pytest.mark.parametrize("modules", [("test_values.py",), LISTED], ids=["values", "lists"])
def test_sources(
    modules: tuple[str, ...],
    everything: Path,
    postgres: str,
    mariadb: str,
    prefect_api: str,
    tmp_path: Path,
) -> None:
    """In a project's environment, with its tests' fixtures."""
    for name in {*FILES, *modules}:
        shutil.copy(INSIDE / name, tmp_path)
    command = (everything / ".venv" / "bin" / "pytest", "-q", "--no-cov", "-p", "no:cacheprovider")
    plugins = ("-p", "prefect_server", "-p", "databases")
    printed = projects.run(
        *command,
        *plugins,
        *modules,
        cwd=tmp_path,
        PYTHONPATH=str(everything / "tests"),
        PREFECT_TEST_API_URL=prefect_api,
        TEST_POSTGRES_URL=postgres,
        TEST_MYSQL_URL=mariadb,
    )
    assert " passed" in printed
    assert " skipped" not in printed


@pytest.mark.parametrize(
    ("scheme", "driver", "extra"),
    [
        ("postgresql", "PostgreSQL", "postgres"),
        ("mariadb", "MariaDB", "mysql"),
        ("snowflake", "Snowflake", "snowflake"),
    ],
)
def test_a_source_without_its_extra_is_one_sentence(
    scheme: str, driver: str, extra: str, pipeline: Path
) -> None:
    env = {"MY_DATA_PROJECT_SOURCE_URL": f"{scheme}://me:hunter2@localhost/db"}
    printed = projects.tool(pipeline, "my-data-project", "discover", check=False, **env)
    assert f"The driver for {driver} is not installed: add the template's extra" in printed
    assert repr(extra) in printed
    assert printed.count("\n") == 1
    assert "hunter2" not in printed
