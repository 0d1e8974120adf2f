"""Derived tables on DuckDB, PostgreSQL and files, in a project's environment."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import projects

MODULES = ("test_derived.py", "test_sql_cases.py")


def test_derived_tables(everything: Path, postgres_server: Any, tmp_path: Path) -> None:
    shutil.copy(everything / "tests" / "sql_cases.py", tmp_path)
    for module in MODULES:
        shutil.copy(projects.ROOT / "tests" / "inside" / module, tmp_path)
    command = (everything / ".venv" / "bin" / "pytest", "-q", "--no-cov", "-p", "no:cacheprovider")
    env = {"TEST_POSTGRES_URL": postgres_server.url}
    printed = projects.run(*command, *MODULES, cwd=tmp_path, **env)
    assert " passed" in printed
    assert " skipped" not in printed
