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

CASES = [
    pytest.param(
        ref,
        answers,
        id=f"{ref} {json.dumps(answers)}",
        # The gate takes nothing, everything and hostile text.
        marks=[pytest.mark.large("updates")] if 1 < number < last else [],
    )
    for ref, content in updating.release_copier_yml().items()
    for kind in updating.choices(updating.questions(content)["project_kind"])
    for last in [len(updating.covering(content, kind)) - 1]
    for number, answers in enumerate(updating.covering(content, kind))
]


@pytest.mark.parametrize(("ref", "answers"), CASES)
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
