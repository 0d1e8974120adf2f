"""Unedited projects of old releases, updated to the work tree: their own checks stay green.

What an update brings is plumbing, and runs with the code and the tests that the old release
wrote: the fresh projects of the other tests do not have this pair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import projects
import pytest
import updating

if TYPE_CHECKING:
    from pathlib import Path

    from environments import Environments
    from updating import TemplateRepository


def releases() -> list[object]:
    """List each release with each of its kinds; the gate takes the oldest of each kind."""
    found: list[object] = []
    seen: set[str] = set()
    for ref, content in updating.release_copier_yml().items():
        for kind in updating.choices(updating.questions(content)["project_kind"]):
            if ref != updating.CURRENT:
                marks = [pytest.mark.large("updates")] if kind in seen else []
                found.append(pytest.param(ref, kind, id=f"{ref}-{kind}", marks=marks))
                seen.add(kind)
    return found


def update_and_sync(
    ref: str, kind: str, repository: TemplateRepository, environments: Environments, folder: Path
) -> Path:
    """Update a project of an old release, and install it with what belongs to it."""
    extras = {"pipeline": ["postgres", "duckdb"], "library": ["pandas", "ml"]}.get(kind)
    answers = {"project_kind": kind, **({"extras": extras} if extras else {})}
    project = repository.project(answers, folder / "project", ref)
    updating.update(project)
    environments.sync(project)
    return project


@pytest.mark.parametrize(("ref", "kind"), releases())
def test_lint_and_types_stay_green(
    ref: str,
    kind: str,
    template_repository: TemplateRepository,
    environments: Environments,
    tmp_path: Path,
) -> None:
    project = update_and_sync(ref, kind, template_repository, environments, tmp_path)
    projects.tool(project, "ruff", "check", ".")
    projects.tool(project, "ruff", "format", "--diff", ".")
    projects.tool(project, "pyrefly", "check")


@pytest.mark.large("updates")
@pytest.mark.parametrize(("ref", "kind"), releases())
def test_tests_stay_green(
    ref: str,
    kind: str,
    template_repository: TemplateRepository,
    environments: Environments,
    prefect_api: str,
    tmp_path: Path,
) -> None:
    project = update_and_sync(ref, kind, template_repository, environments, tmp_path)
    printed = projects.tool(project, "pytest", "-q", "--no-cov", PREFECT_TEST_API_URL=prefect_api)
    assert " passed" in printed
