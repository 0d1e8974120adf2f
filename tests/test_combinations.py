"""Every choice, every pair of choices, every Python: nothing broken comes out."""

from __future__ import annotations

import re
import shutil
import tomllib
import zipfile
from typing import TYPE_CHECKING

import answer_sets
import linters
import projects
import pytest
import yaml
from environments import require_python
from projects import Answers, Render

if TYPE_CHECKING:
    from pathlib import Path

    from environments import Environments


MORE = [
    pytest.param(row, marks=pytest.mark.large("combinations")) for row in answer_sets.more_rows()
]


@pytest.mark.parametrize("answers", [*answer_sets.rows(), *MORE], ids=projects.label)
def test_files(answers: Answers, render: Render) -> None:
    project = render(**answers)
    linters.files(project)
    linters.python(project)
    linters.github(project)
    linters.gitlab(project)
    linters.container(project)
    linters.secrets(project)
    given = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert answers.items() <= given.items()
    metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert metadata["requires-python"] == f">={given['minimum_python']}"
    # DuckDB is a choice of older projects, and always there; those of a plugin are parts of it.
    extras = set(given.get("extras", [])) - {"duckdb"}
    extras = set() if given["project_kind"] == "plugin" else extras
    together = {"all"} if given["project_kind"] == "library" else set()
    assert set(metadata["optional-dependencies"]) == extras | together | {"dev"}
    assert (project / "Dockerfile").is_file() == ("container" in given["features"])
    assert (project / "mkdocs.yml").is_file() == ("docs" in given["features"])
    assert (project / "AGENTS.md").is_file() == ("agents" in given["features"])
    assert (project / ".github").is_dir() == (given["ci"] == "github")
    assert (project / ".gitlab-ci.yml").is_file() == (given["ci"] == "gitlab")
    container = (project / ".devcontainer" / "devcontainer.json").is_file()
    assert container == ("devcontainer" in given["features"])


@pytest.mark.parametrize("kind", projects.KINDS)
def test_what_the_community_expects(kind: str, project: Render) -> None:
    folder = project(project_kind=kind, features=["docs"])
    projects.run("git", "init", "-q", cwd=folder)
    projects.run("git", "add", "--all", cwd=folder)
    linters.repository(folder)


def test_all_extras_resolve_together(project: Render) -> None:
    """For every Python of the project at once, and so each of them; large runs install them."""
    extras = projects.choices(projects.questions()["extras"], "pipeline")
    folder = project(project_kind="pipeline", extras=extras)
    projects.run("uv", "lock", "-q", cwd=folder)
    locked = tomllib.loads((folder / "uv.lock").read_text())["package"]
    (own,) = (one for one in locked if one["name"] == "my-data-project")
    assert set(own["optional-dependencies"]) == {*extras, "dev"} - {"duckdb"}


def live(rows: list[Answers]) -> list[object]:
    """Name each row by its Python and its answers."""
    return [pytest.param(row, id=projects.label(row)) for row in rows]


@pytest.mark.parametrize(
    "row",
    live([row for kind in projects.KINDS for row in answer_sets.live(kind, everything=False)]),
)
def test_gates(
    row: Answers, render: Render, environments: Environments, prefect_api: str, tmp_path: Path
) -> None:
    """What changes code meets each Python, and passes what the project itself demands."""
    gates(row, render, environments, prefect_api, tmp_path, everything=False)


@pytest.mark.large("combinations")
@pytest.mark.parametrize(
    "row", live([row for kind in projects.KINDS for row in answer_sets.live(kind, everything=True)])
)
def test_gates_of_all_pairs(
    row: Answers, render: Render, environments: Environments, prefect_api: str, tmp_path: Path
) -> None:
    """Every choice meets every other, and each Python."""
    gates(row, render, environments, prefect_api, tmp_path, everything=True)


LONG = {
    "test_alerts": ("cancelled_by_hand", "ended_by_the_worker", "lost"),
    "test_job_worker": (
        *("the_state_tells_what_was_seen", "a_job_killed_or_deleted", "a_run_that_is_run_again"),
        *("a_system_that_is_away", "a_job_that_must_not_be_looked_at", "jobs_that_wait"),
        *("a_job_that_does_not_end", "a_long_output", "one_worker_takes_over"),
        "a_flow_is_deployed_as_the_docs_say",
    ),
    "test_process_worker": (
        *("a_run_over_a_limit_is_ended[cpu", "a_run_over_a_limit_is_ended[memory of"),
        *("memory_that_forks_share", "the_state_says_what_was_seen", "a_flow_that_fails"),
        *("a_worker_that_is_stopped", "a_run_that_has_gone_silent", "workers_elsewhere"),
    ),
}
"""Stories of a plugin's workers, which together take minutes and are told in the large run; the
gate has the first ones of each: a run to its end, over its limit, cancelled, its worker killed."""


TOLD_ONCE = ("test_http", "test_paging")
"""Tests of a plugin that its parts do not change: the gate runs them where there are none."""


def without_long_stories(project: Path) -> list[str]:
    """Return the options that leave out what of a project's tests is only told in the large run.

    Raises:
        AssertionError: A test has another name now.
    """
    options = []
    for module, starts in LONG.items():
        path = project / "tests" / f"{module}.py"
        for start in starts if path.is_file() else ():
            assert f"def test_{start.partition('[')[0]}" in path.read_text(), start
            options += ["--deselect", f"tests/{module}.py::test_{start}"]
    return options


def gates(
    row: Answers,
    render: Render,
    environments: Environments,
    prefect_api: str,
    tmp_path: Path,
    *,
    everything: bool,
) -> None:
    """Do with a new project what a developer and CI do, and expect no complaint."""
    answers = {name: row[name] for name in row if name != answer_sets.RUN_ON}
    project = tmp_path / "project"
    shutil.copytree(render(**answers), project)
    require_python(row[answer_sets.RUN_ON])
    projects.run("git", "init", "-q", cwd=project)
    projects.run("git", "add", "--all", cwd=project)
    projects.run("git", "commit", "-qm", "Start", cwd=project)
    # Few projects run on other versions: these compile what they import.
    python = row[answer_sets.RUN_ON]
    environments.sync(project, python, keep=python == answer_sets.PYTHONS[0])
    projects.run("git", "add", "uv.lock", cwd=project)
    projects.run("git", "commit", "-qm", "Lock", cwd=project)

    projects.tool(project, "poe", "check")
    # Measuring coverage doubles the time; the gate for it needs one project of each kind.
    options = [] if row["features"] else ["--no-cov"]
    options += [] if everything else without_long_stories(project)
    if row["project_kind"] == "plugin" and row["extras"] and not everything:
        assert all((project / "tests" / f"{module}.py").is_file() for module in TOLD_ONCE)
        options += [f"--ignore=tests/{module}.py" for module in TOLD_ONCE]
    words = ("poe", "test", "-q", *options)
    printed = projects.tool(project, *words, PREFECT_TEST_API_URL=prefect_api)
    ended = r"^\d+ passed(, \d+ (skipped|deselected))* in "
    assert re.search(ended, printed, re.MULTILINE), printed
    if (project / "mkdocs.yml").is_file():
        projects.tool(project, "poe", "docs", "-q")
        assert (project / "site" / "index.html").is_file()
    assert projects.run("git", "status", "--porcelain", cwd=project) == ""
    # Now: a new plugin's own tests ask for a picture and addresses before its first release.
    projects.run("git", "tag", "v1.2.3", cwd=project)
    check_distributions(project)


def check_distributions(project: Path) -> None:
    """Assert that what is built is fit for an index, and that its version is the tag."""
    projects.run("uv", "build", "-q", cwd=project)
    built = [path for path in (project / "dist").iterdir() if path.suffix in {".whl", ".gz"}]
    assert {path.suffix for path in built} == {".whl", ".gz"}
    assert all("-1.2.3" in path.name for path in built)
    wheel = next(path for path in built if path.suffix == ".whl")
    projects.run("twine", "check", "--strict", *built, cwd=project)
    projects.run("check-wheel-contents", wheel, cwd=project)
    projects.run("validate-pyproject", "pyproject.toml", cwd=project)
    package = next((project / "src").iterdir()).name
    names = zipfile.ZipFile(wheel).namelist()
    assert f"{package}/py.typed" in names
    assert {name.split("/")[0].partition("-")[0].lower() for name in names} == {package}
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
