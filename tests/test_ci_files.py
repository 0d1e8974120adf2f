"""Container, compose and CI files, in addition to the linters in `linters.py`."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path
from typing import Any

import container_engine
import linters
import projects
import pytest
import yaml
from projects import Render

STACKS = [
    {"project_kind": "pipeline", "extras": extras, "features": ["container"]}
    for extras in ([], ["postgres"], ["postgres", "duckdb", "dask"])
]
IMAGES = [
    *STACKS,
    *({"project_kind": kind, "features": ["container"]} for kind in projects.KINDS[1:]),
]


@pytest.mark.parametrize("answers", IMAGES, ids=projects.label)
def test_an_image_holds_what_is_listed(answers: projects.Answers, render: Render) -> None:
    project = render(**answers)
    # The build context is an allow list, so that no secret gets in.
    ignored = (project / ".dockerignore").read_text().splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*"
    # A number, for Kubernetes' runAsNonRoot, and not root.
    users = re.findall(r"^USER (.*)$", (project / "Dockerfile").read_text(), re.MULTILINE)
    assert users == ["10001"]


@pytest.mark.parametrize("answers", STACKS, ids=projects.label)
def test_compose_file(answers: projects.Answers, render: Render) -> None:
    project = render(**answers)
    compose = (container_engine.compose(), "--project-directory", project, "config")
    assert "set it in .env" in projects.run(*compose, cwd=project, check=False)
    text = (project / "compose.yaml").read_text()
    secrets = dict.fromkeys(re.findall(r"\$\{(\w+):\?", text), "aSecret")
    for name in secrets:
        assert f"# {name}=" in (project / ".env.example").read_text()
    resolved = json.loads(projects.run(*compose, "--format", "json", cwd=project, **secrets))
    for name, service in resolved["services"].items():
        for port in service.get("ports", []):
            assert port.get("host_ip") == "127.0.0.1", name
        # podman splits an array that begins with CMD at spaces.
        if check := service.get("healthcheck"):
            assert check["test"][0] == "CMD-SHELL", name
        for variable, value in (service.get("environment") or {}).items():
            if "PASSWORD" in variable:
                assert value in {"", "aSecret"}, f"{name} has the secret {variable} written out"
    # Flows are the user's code: they may know at most the warehouse's password.
    worker = resolved["services"]["worker"]["environment"]
    assert worker["PREFECT_DATABASE_PASSWORD"] == ""


@pytest.mark.parametrize("license_", ["MIT", "Proprietary"])
@pytest.mark.parametrize("kind", projects.KINDS[1:])
def test_a_tag_publishes_what_may_be_published(kind: str, license_: str, render: Render) -> None:
    answers = {"project_kind": kind, "license": license_}
    github = render(**answers)
    jobs = yaml.safe_load((github / ".github/workflows/release.yml").read_text())["jobs"]
    assert "uv run pytest" in [step.get("run") for step in jobs["tests"]["steps"]]
    gitlab = render(**answers, ci="gitlab")
    pipeline = yaml.safe_load((gitlab / ".gitlab-ci.yml").read_text())
    stages = pipeline["stages"]
    assert stages.index(pipeline["tests"]["stage"]) < stages.index("publish")
    publishing = {"publish-private"} | ({"publish"} if license_ != "Proprietary" else set())
    assert {name for name in jobs if "publish" in name} == publishing
    assert {name for name in pipeline if name.startswith("publish")} == publishing
    for name in publishing:
        assert jobs[name]["needs"] == ["tests", "build"]
        # With `needs`, it would start before earlier stages have ended.
        assert "needs" not in pipeline[name] | pipeline[".publish"]
    for folder in (github, gitlab):
        told = (folder / "CONTRIBUTING.md").read_text()
        assert ("trusted publisher" in told) == (license_ != "Proprietary")


def test_the_template_s_own_workflow(tmp_path: Path) -> None:
    shutil.copytree(projects.ROOT / ".github", tmp_path / ".github")
    linters.github(tmp_path)


def test_the_template_s_own_issue_forms() -> None:
    folder = projects.ROOT / ".github" / "ISSUE_TEMPLATE"
    linters.schema("vendor.github-issue-config", folder / "config.yml")
    linters.schema("vendor.github-issue-forms", folder / "bug.yml", folder / "idea.yml")


def test_an_action_has_one_version_everywhere() -> None:
    """Updates by Dependabot in this repository have to reach the template too."""
    pins: dict[str, set[str]] = {}
    for path in projects.files(projects.ROOT / ".github") + projects.files(
        projects.ROOT / "template"
    ):
        for name, pin in re.findall(r"uses: ([\w/-]+)@(\S+ # v\S+)", path.read_text()):
            pins.setdefault(name, set()).add(pin)
    assert len(pins) >= 4
    assert {name: found for name, found in pins.items() if len(found) > 1} == {}


@pytest.mark.parametrize(
    "answers",
    [
        {"project_kind": "pipeline"},
        {"project_kind": "library"},
        {"project_kind": "plugin", "license": "Proprietary"},
    ],
    ids=projects.label,
)
def test_dependabot_leaves_to_the_template_what_the_template_pins(
    answers: projects.Answers, render: Render
) -> None:
    """If both update a line, it conflicts."""
    project = render(**answers, features=["container"])
    workflows = "".join(path.read_text() for path in project.glob(".github/workflows/*"))
    # Dependabot's image names have no registry; stages of the same file are not images.
    dockerfile = (project / "Dockerfile").read_text()
    images = re.findall(r"^FROM (?:[\w.-]+\.\w+/)?([\w/-]+):", dockerfile, re.MULTILINE)
    pinned = {
        "uv": set(),
        "github-actions": set(re.findall(r"uses: ([\w/-]+)@", workflows)),
        "docker": set(images),
    }
    assert ignored(yaml.safe_load((project / ".github/dependabot.yml").read_text())) == pinned


@pytest.mark.parametrize("kind", projects.KINDS)
def test_a_dev_container_has_the_pinned_uv(kind: str, render: Render) -> None:
    project = render(project_kind=kind, features=["devcontainer"])
    settings = json.loads((project / ".devcontainer" / "devcontainer.json").read_text())
    # The version that test_one_version_of_uv_is_pinned allows.
    assert re.fullmatch(r"ghcr\.io/astral-sh/uv:[\d.]+-python3\.13-trixie", settings["image"])
    assert settings["postCreateCommand"] == "uv sync"
    # Outside of the folder shared with the machine, which has the machine's environment.
    environment = settings["containerEnv"]["UV_PROJECT_ENVIRONMENT"]
    editor = settings["customizations"]["vscode"]["settings"]
    assert editor["python.defaultInterpreterPath"] == f"{environment}/bin/python"
    assert environment.startswith(f"/home/{settings['remoteUser']}/")


POSIX = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
"""Modules of the standard library that Windows has not."""


@pytest.mark.parametrize("kind", projects.KINDS[1:])
def test_what_runs_on_other_systems(kind: str, project: Render) -> None:
    """Run the step here; it can fail; and no module that Windows lacks is needed."""
    extras = projects.choices(projects.questions()["extras"], kind)
    folder = project(project_kind=kind, extras=extras)
    jobs = yaml.safe_load((folder / ".github/workflows/ci.yml").read_text())["jobs"]
    (step,) = (step for step in jobs["systems"]["steps"] if "run" in step)
    projects.run("git", "init", "-q", cwd=folder)
    projects.run("bash", "-c", step["run"], cwd=folder)
    for path in folder.glob("src/**/*.py"):
        found = list(ast.walk(ast.parse(path.read_text())))
        names = {one.name for node in found if isinstance(node, ast.Import) for one in node.names}
        names |= {str(node.module) for node in found if isinstance(node, ast.ImportFrom)}
        assert not names & POSIX, path
    (folder / "pyproject.toml").touch()  # so that uv builds the wheel again
    next(folder.glob("src/*/common")).joinpath("broken.py").write_text("import termios.broken\n")
    assert "ModuleNotFoundError" in projects.run("bash", "-c", step["run"], cwd=folder, check=False)


def test_no_paid_machine_is_asked_for(render: Render) -> None:
    for answers in (
        {"project_kind": "pipeline"},
        {"project_kind": "library", "license": "Proprietary"},
    ):
        text = (render(**answers) / ".github/workflows/ci.yml").read_text()
        assert set(re.findall(r"runs-on: (.+)", text)) == {"ubuntu-latest"}


def ignored(document: dict[str, Any]) -> dict[str, set[str]]:
    """Return the names that Dependabot ignores, by ecosystem."""
    return {
        update["package-ecosystem"]: {rule["dependency-name"] for rule in update.get("ignore", ())}
        for update in document["updates"]
    }


def test_renovate_leaves_the_same_to_the_template() -> None:
    page = (projects.ROOT / "docs/maintain.md").read_text()
    found = re.search(r"<!-- file: renovate.json -->\n```json\n(.+?)```", page, re.DOTALL)
    assert found
    (rule,) = json.loads(found[1])["packageRules"]
    files = projects.files(projects.ROOT / "template")
    pins = [
        name
        for path in files
        for name in re.findall(
            r"uses: ([\w/-]+)@|^FROM ([\w./-]+):", path.read_text(), re.MULTILINE
        )
    ]
    # Renovate has another name for the uv version that the action installs.
    assert set(rule["matchPackageNames"]) == {"".join(name) for name in pins} | {"astral-sh/uv"}


def test_one_version_of_uv_is_pinned() -> None:
    pins = {
        pin
        for path in projects.files(projects.ROOT / "template")
        for pin in re.findall(
            r"astral-sh/uv:(\d+[\d.]+)|^ +version: \"(.+)\"$", path.read_text(), re.MULTILINE
        )
    }
    assert len({"".join(pin) for pin in pins}) == 1
    assert len(pins) == 2
