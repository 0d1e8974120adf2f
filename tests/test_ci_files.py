"""CI, container and compose files, judged by the linters of their kind."""

from __future__ import annotations

import shutil
from pathlib import Path

import projects
import pytest
from projects import Render

GITHUB = [
    {"project_kind": kind, "ci": "github", "minimum_python": python, "features": features}
    for kind, python, features in (
        *((kind, "3.11", ["docs", "container"]) for kind in projects.KINDS),
        *((kind, "3.13", []) for kind in projects.KINDS),
    )
]
GITLAB = [{**answers, "ci": "gitlab"} for answers in GITHUB]
CONTAINERS = [
    {"project_kind": "pipeline", "extras": extras, "features": ["container"]}
    for extras in ([], ["postgres"], ["postgres", "duckdb", "dask"])
]


def schema(project: Path, name: str, *files: Path, options: tuple[str, ...] = ()) -> None:
    """Check files against a schema that comes with check-jsonschema."""
    projects.run("check-jsonschema", *options, "--builtin-schema", name, *files, cwd=project)


@pytest.mark.parametrize("answers", GITHUB, ids=projects.label)
def test_github(answers: projects.Answers, render: Render) -> None:
    project = render(**answers)
    workflows = sorted((project / ".github" / "workflows").glob("*.yml"))
    schema(project, "vendor.github-workflows", *workflows)
    schema(project, "custom.github-workflows-require-timeout", *workflows)
    schema(project, "vendor.dependabot", project / ".github" / "dependabot.yml")
    projects.run("actionlint", *workflows, cwd=project)
    options = ("--offline", "--no-progress", "--strict-collection", "--persona", "pedantic")
    projects.run("zizmor", *options, ".", cwd=project)
    for workflow in workflows:
        for line in workflow.read_text().splitlines():
            if "uses:" in line:
                version = line.partition("# v")[2]
                pin = line.partition("@")[2].split(" ")[0]
                assert len(pin) == 40, f"{workflow.name}: {line.strip()}"
                assert version, f"{workflow.name}: {line.strip()}"


@pytest.mark.parametrize("answers", GITLAB, ids=projects.label)
def test_gitlab(answers: projects.Answers, render: Render) -> None:
    project = render(**answers)
    options = ("--data-transform", "gitlab-ci", "--regex-variant", "nonunicode")
    schema(project, "vendor.gitlab-ci", project / ".gitlab-ci.yml", options=options)


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
