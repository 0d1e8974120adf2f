"""Unedited projects of every release, updated to the work tree: equal to new ones.

By `update.py --refresh` wholly; a pipeline of before 0.5 by `-d engine=dlt` as well, a plugin of
before 0.6 by `-d parts=chosen`. By plain `copier update` but for seeds, which stay as the old
release wrote them, and all code of such a pipeline or plugin. With no release yet, the work tree
stands for one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import update_in_process
import updating
from updating import CURRENT, git

if TYPE_CHECKING:
    from pathlib import Path

    from updating import TemplateRepository


def cases(way: str) -> list[object]:
    """List every release with its kinds and their answers.

    The gate takes everything from the oldest release of each kind and from the work tree, and
    nothing, everything and hostile text from the newest release; of the latter, plain Copier takes
    hostile text.
    """
    contents = updating.release_copier_yml()
    newest = [ref for ref in contents if ref != CURRENT][-1:] or [CURRENT]
    found: list[object] = []
    seen: set[str] = set()
    for ref, content in contents.items():
        for kind in updating.choices(updating.questions(content)["project_kind"]):
            rows = updating.covering(content, kind)
            chosen = {1} if kind not in seen or ref == CURRENT else set[int]()
            if ref in newest:
                chosen |= {len(rows) - 1, *({0, 1} if way == "script" else ())}
            seen.add(kind)
            for number, answers in enumerate(rows):
                marks = [] if number in chosen else [pytest.mark.large("updates")]
                name = f"{ref} {json.dumps(answers)}"
                found.append(pytest.param(ref, answers, id=name, marks=marks))
    return found


@pytest.fixture
def newest(ref: str, template_repository: TemplateRepository) -> str:
    """The release to update to."""
    return CURRENT if ref != CURRENT else template_repository.variant()


@pytest.fixture
def move(ref: str, answers: dict[str, Any]) -> dict[str, str]:
    """What has to be answered to get the code of new projects."""
    return updating.newer(updating.release_copier_yml()[ref], answers["project_kind"])


def recorded(project: Path) -> dict[str, Any]:
    """Return answers of a project whose defaults may have changed since: it keeps what it has."""
    given = updating.answers(project)
    return {name: given[name] for name in ("project_description", "features")}


def check_new(project: Path, fresh: Path) -> None:
    """Compare a project with a new one: files, bytes, modes and answers."""
    after, expected = updating.snapshot(project), updating.snapshot(fresh)
    assert sorted(after) == sorted(expected)
    assert [path for path in after if after[path] != expected[path]] == []
    assert updating.answers(project) == updating.answers(fresh)
    assert updating.empty_folders(project) == []


@pytest.mark.parametrize(("ref", "answers"), cases("script"))
def test_refreshed_equals_new(
    ref: str,
    answers: dict[str, Any],
    newest: str,
    move: dict[str, str],
    template_repository: TemplateRepository,
    tmp_path: Path,
) -> None:
    """By one command, to the last byte."""
    project = template_repository.project(answers, tmp_path / "project", ref)
    report = update_in_process.update(project, move, newest, "--refresh")
    assert report["is_good"], report
    wanted = {**answers, **move, **recorded(project)}
    check_new(project, template_repository.render(wanted, newest))


@pytest.mark.parametrize(("ref", "answers"), cases("copier"))
def test_updated_equals_new(
    ref: str,
    answers: dict[str, Any],
    newest: str,
    move: dict[str, str],
    template_repository: TemplateRepository,
    tmp_path: Path,
) -> None:
    """By plain Copier, where the template owns it; a second update does nothing.

    What it leaves as it was can be refreshed later.
    """
    patterns = [*updating.seed_patterns(), *(updating.kept_patterns() if move else [])]

    def theirs(files: updating.Snapshot) -> updating.Snapshot:
        """Return the files that are the user's, or that an older project keeps."""
        return {path: held for path, held in files.items() if updating.is_seed(path, patterns)}

    project = template_repository.project(answers, tmp_path / "project", ref)
    before = updating.snapshot(project)
    updating.update(project, ref=newest)

    # What a render brings of code that it does not have is left out of the comparison.
    old = updating.older(updating.release_copier_yml()[ref], answers["project_kind"])
    wanted = {**answers, **old, **recorded(project)}
    fresh_folder = template_repository.render(wanted, newest)
    fresh = updating.snapshot(fresh_folder)
    after = updating.snapshot(project)
    assert theirs(after) == theirs(before)
    assert after.items() - theirs(after).items() == fresh.items() - theirs(fresh).items()
    assert updating.unmerged(project) == set()
    assert not [path for path in after if path.endswith((".rej", ".orig"))]
    assert updating.empty_folders(project) == []
    # An answer that a release has given is kept; a new question brings its default.
    assert updating.answers(project) == updating.answers(fresh_folder)

    updating.commit_all(project, "Updated")
    updating.update(project, ref=newest)
    assert git(project, "status", "--porcelain") == ""

    report = update_in_process.update(project, move, newest, "--refresh")
    assert report["is_good"], report
    wanted = {**answers, **move, **recorded(project)}
    check_new(project, template_repository.render(wanted, newest))
