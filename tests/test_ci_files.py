"""CI, container and compose files, judged by the linters of their kind."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import checks
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


def test_the_template_s_own_workflow(tmp_path: Path) -> None:
    shutil.copytree(projects.ROOT / ".github", tmp_path / ".github")
    checks.github(tmp_path)


def test_an_action_has_one_version_everywhere() -> None:
    """What Dependabot proposes for this repository has to reach the template too."""
    pins: dict[str, set[str]] = {}
    for path in projects.files(projects.ROOT / ".github") + projects.files(
        projects.ROOT / "template"
    ):
        for name, pin in re.findall(r"uses: ([\w/-]+)@(\S+ # v\S+)", path.read_text()):
            pins.setdefault(name, set()).add(pin)
    assert len(pins) >= 4
    assert {name: found for name, found in pins.items() if len(found) > 1} == {}
