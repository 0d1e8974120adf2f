"""The bounds of generated projects, at both ends: too much for the gate, run on demand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import projects
import pytest
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
    """With the lowest versions that `pyproject.toml` allows, and with the newest of today."""
    folder = project(project_kind=kind, **PROJECTS[kind])
    options = RESOLUTIONS[resolution]
    projects.run("uv", "sync", "-q", *options, cwd=folder, UV_PYTHON=require_python("3.13"))
    print(projects.run("uv", "pip", "list", cwd=folder))
    printed = projects.tool(folder, "pytest", "-q", PREFECT_TEST_API_URL=prefect_api)
    assert re.search(r"^\d+ passed", printed, re.MULTILINE)


def test_every_dependency_has_a_lower_bound_and_a_reason() -> None:
    """A bound without a reason is one that nobody dares to change."""
    for path in (projects.ROOT / "includes" / "pyproject").glob("*/*.toml"):
        for line in path.read_text().splitlines():
            if re.match('  "[a-z]', line):
                assert re.fullmatch(r'  "[a-z0-9.-]+(\[[a-z0-9,]+\])?>=[0-9][^"]*",( # .+)?', line)
        text = path.read_text()
        bare = [
            line for line in text.splitlines() if re.match('  "[a-z]', line) and "#" not in line
        ]
        assert bare == [], path
