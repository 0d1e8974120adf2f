"""Unedited projects of every release, updated to the work tree: equal to new ones.

Seeds are the exception: they stay as the old release wrote them. With no release yet, the
work tree stands for one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import updating
from updating import CURRENT, git

if TYPE_CHECKING:
    from pathlib import Path

    from updating import TemplateRepository


def cases() -> list[object]:
    """List every release with its kinds and their answers.

    The gate takes everything from the oldest release of each kind and from the work tree, and
    nothing, everything and hostile text from the newest release.
    """
    contents = updating.release_copier_yml()
    newest = [ref for ref in contents if ref != CURRENT][-1:] or [CURRENT]
    found: list[object] = []
    seen: set[str] = set()
    for ref, content in contents.items():
        for kind in updating.choices(updating.questions(content)["project_kind"]):
            rows = updating.covering(content, kind)
            chosen = {1} if kind not in seen or ref == CURRENT else set[int]()
            chosen |= {0, 1, len(rows) - 1} if ref in newest else set()
            seen.add(kind)
            for number, answers in enumerate(rows):
                marks = [] if number in chosen else [pytest.mark.large("updates")]
                name = f"{ref} {json.dumps(answers)}"
                found.append(pytest.param(ref, answers, id=name, marks=marks))
    return found


@pytest.mark.parametrize(("ref", "answers"), cases())
def test_updated_equals_new(
    ref: str, answers: dict[str, Any], template_repository: TemplateRepository, tmp_path: Path
) -> None:
    """Same files, same bytes, same modes; no leftovers; and a second update does nothing."""
    newest = CURRENT if ref != CURRENT else template_repository.variant()
    project = template_repository.project(answers, tmp_path / "project", ref)
    before = updating.snapshot(project)
    updating.update(project, ref=newest)

    fresh_folder = template_repository.render(answers, newest)
    fresh = updating.snapshot(fresh_folder)
    after = updating.snapshot(project)
    assert {path: text for path, text in after.items() if not updating.is_seed(path)} == {
        path: text for path, text in fresh.items() if not updating.is_seed(path)
    }
    assert {path: text for path, text in after.items() if updating.is_seed(path)} == {
        path: text for path, text in before.items() if updating.is_seed(path)
    }
    assert updating.unmerged(project) == set()
    assert not [path for path in after if path.endswith((".rej", ".orig"))]
    assert updating.empty_folders(project) == []
    recorded = updating.answers(project)
    assert recorded.pop("_commit") == newest
    expected = updating.answers(fresh_folder)
    expected.pop("_commit")
    # An answer that a release has given is kept; a new question brings its default.
    assert recorded == expected

    updating.commit_all(project, "Updated")
    updating.update(project, ref=newest)
    assert git(project, "status", "--porcelain") == ""
