"""CI, container and compose files, judged by the linters of their kind."""

from __future__ import annotations

import shutil
from pathlib import Path

import projects
import pytest
from projects import Render

CONTAINERS = [
    {"project_kind": "pipeline", "extras": extras, "features": ["container"]}
    for extras in ([], ["postgres"], ["postgres", "duckdb", "dask"])
]


def schema(project: Path, name: str, *files: Path, options: tuple[str, ...] = ()) -> None:
    """Check files against a schema that comes with check-jsonschema."""
    projects.run("check-jsonschema", *options, "--builtin-schema", name, *files, cwd=project)


@pytest.mark.parametrize("answers", CONTAINERS, ids=projects.label)
def test_container(answers: projects.Answers, render: Render) -> None:
    project = render(**answers)
    projects.run("hadolint", "Dockerfile", cwd=project)
    schema(project, "vendor.compose-spec", project / "compose.yaml")


@pytest.mark.parametrize("answers", CONTAINERS, ids=projects.label)
def test_compose_resolves(answers: projects.Answers, render: Render) -> None:
    if shutil.which("docker") is None:
        pytest.skip("there is no docker client on this machine")
    if "unknown" in projects.run("docker", "compose", "version", cwd=Path.cwd(), check=False):
        pytest.skip("the docker client of this machine has no compose plugin")
    passwords = {"PREFECT_DATABASE_PASSWORD": "a", "WAREHOUSE_PASSWORD": "b"}
    projects.run("docker", "compose", "config", "-q", cwd=render(**answers), **passwords)
