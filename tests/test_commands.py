"""A pipeline's commands and alerts, in a project's own environment and with its tests' fixtures."""

from __future__ import annotations

import shutil
from pathlib import Path

import projects
import pytest

MODULES = ("test_commands.py", "test_deploy_command.py", "test_alerts.py")


def test_inside(
    pipeline: Path, prefect_api: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    for module in MODULES:
        shutil.copy(projects.ROOT / "tests" / "inside" / module, tmp_path)
    command = (pipeline / ".venv" / "bin" / "pytest", "-q", "-p", "no:cacheprovider")
    plugins = ("-p", "prefect_server", "-p", "databases")
    env = {"PYTHONPATH": str(pipeline / "tests"), "PREFECT_TEST_API_URL": prefect_api}
    env["TEST_KILLS"] = "12" if "faults" in pytestconfig.getoption("--large") else "5"
    printed = projects.run(*command, *plugins, *MODULES, cwd=tmp_path, **env)
    assert " passed" in printed
    assert " skipped" not in printed
