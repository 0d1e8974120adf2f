"""Lowest and newest dependencies of generated projects; too slow for the gate, run on demand."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import projects
import pytest
import yaml
from environments import require_python

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Render

PROJECTS = {
    "pipeline": {"extras": ["postgres", "duckdb", "dask"], "features": ["docs"]},
    "library": {"features": ["docs"]},
    "plugin": {"features": ["docs"]},
}
RESOLUTIONS = {
    "lowest": ("--upgrade", "--resolution", "lowest-direct"),
    "newest": ("--upgrade",),
}
"""As the scheduled CI of a project does it, on the same Python."""


@pytest.mark.large("dependencies")
@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("kind", projects.KINDS)
def test_both_ends_of_the_bounds_work(
    kind: str, resolution: str, project: Render, prefect_api: str, tmp_path: Path
) -> None:
    """With the lowest versions that `pyproject.toml` allows, and with the newest ones."""
    folder = project(project_kind=kind, **PROJECTS[kind])
    options = RESOLUTIONS[resolution]
    projects.run("uv", "sync", "-q", *options, cwd=folder, UV_PYTHON=require_python("3.13"))
    print(projects.run("uv", "pip", "list", cwd=folder))
    printed = projects.tool(folder, "pytest", "-q", PREFECT_TEST_API_URL=prefect_api)
    assert re.search(r"^\d+ passed", printed, re.MULTILINE)


@pytest.mark.large("dependencies")
@pytest.mark.parametrize("kind", projects.KINDS)
def test_the_newest_python_of_its_ci_works(
    kind: str, project: Render, prefect_api: str, tmp_path: Path
) -> None:
    folder = project(project_kind=kind, **PROJECTS[kind])
    workflow = yaml.safe_load((folder / ".github" / "workflows" / "ci.yml").read_text())
    newest = workflow["jobs"]["tests"]["strategy"]["matrix"]["python"][-1]
    projects.run("uv", "sync", "-q", cwd=folder, UV_PYTHON=require_python(newest))
    printed = projects.tool(folder, "pytest", "-q", PREFECT_TEST_API_URL=prefect_api)
    assert re.search(r"^\d+ passed", printed, re.MULTILINE)


def report_of_expired(template: Path) -> str:
    """Return the weekly job's report about a template."""
    script = projects.ROOT / "scripts" / "expired_bounds.py"
    return projects.run("uv", "run", "-q", script, template, cwd=projects.ROOT, check=False)


def test_bounds_that_nothing_needs_are_reported(tmp_path: Path) -> None:
    shutil.copy(projects.ROOT / "copier.yml", tmp_path)
    (tmp_path / "pyproject.toml").write_text(
        'dev = [\n  "prefect>=3.9.1,<3.9.2",\n  "fastapi>=0.139,<0.151", # Prefect fails on newer\n'
        '  "idna>=3,<3.5", # planted\n  "PyYAML>=6,<6.0.1", # written otherwise\n'
        "  \"tzdata>=2024,<2025; sys_platform == 'win32'\" # the last one\n]\n"
    )
    printed = report_of_expired(tmp_path)
    assert re.search(
        r"^tests: fastapi<0.151,>=0.139: expired, without it .*", printed, re.MULTILINE
    )
    assert re.search(
        r"^tests: idna<3.5,>=3: keeps 3.4 where .*; its reason: planted$", printed, re.MULTILINE
    )
    assert printed.endswith("1 expired\n")


def test_lists_of_pythons_that_fall_behind_are_reported(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    text = (projects.ROOT / "copier.yml").read_text()
    assert "['3.14', '3.15']" in text
    (tmp_path / "copier.yml").write_text(text.replace("['3.14', '3.15']", "['3.14', '3.9']"))
    printed = report_of_expired(tmp_path)
    assert "plugin: Python 3.15 is known to prefect, and missing in CI" in printed


def test_every_dependency_has_a_lower_bound_and_a_reason() -> None:
    """Nobody dares to change a bound without a reason."""
    folder = projects.ROOT / "includes" / "pyproject"
    paths = [
        path for name in ("dependencies", "extras", "dev") for path in folder.glob(f"*/{name}.toml")
    ]
    assert len(paths) == 18
    for path in [*paths, *folder.glob("*/groups.toml")]:
        for line in path.read_text().splitlines():
            if re.match('  "[a-z]', line):
                assert re.fullmatch(r'  "[a-z0-9.-]+(\[[a-z0-9,]+\])?>=[0-9][^"]*",( # .+)?', line)
        text = path.read_text()
        bare = [
            line for line in text.splitlines() if re.match('  "[a-z]', line) and "#" not in line
        ]
        assert bare == [], path
