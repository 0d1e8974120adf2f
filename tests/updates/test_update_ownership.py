"""Who owns which file: one list, held in `copier.yml` twice, and obeyed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import updating
import yaml
from updating import CURRENT, KINDS, ROOT

if TYPE_CHECKING:
    from updating import TemplateRepository

SETTINGS: dict[str, Any] = yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))


def excluded() -> list[str]:
    """Read the patterns that `_exclude` holds during an update."""
    lines = SETTINGS["_exclude"][0].strip().splitlines()
    assert lines[0] == "{% if _copier_operation == 'update' %}"
    assert lines[-1] == "{% endif %}"
    return lines[1:-1]


def test_both_lists_are_equal() -> None:
    """One guards updates, the other `copier recopy` and adopting."""
    assert excluded() == SETTINGS["_skip_if_exists"]


def test_seeds_depend_on_no_answer() -> None:
    """An answer in `_exclude` breaks updates from releases that did not ask for it."""
    for pattern in SETTINGS["_skip_if_exists"]:
        assert "{" not in pattern
        assert pattern.startswith("/"), f"{pattern} would match in any folder"


def test_what_old_projects_keep_asks_for_answers_that_are_there() -> None:
    """The old release is rendered with these patterns too, and knows of no engine and no parts."""
    assert len(SETTINGS["_exclude"]) == 3
    lines = SETTINGS["_exclude"][1].strip().splitlines()
    for kinds, name, old in (("== 'pipeline'", "engine", "own"), ("!= 'pipeline'", "parts", "all")):
        has = f"({name} is defined and {name} == '{old}')"
        assert f"project_kind {kinds} and ({has}" in lines[0]
        assert f"({name} is not defined and _copier_operation == 'update')" in lines[0]
    assert lines[-1] == "{% endif %}"
    assert all(line.startswith("/") for line in lines[1:-1])


def test_nothing_needs_trust() -> None:
    """One release with any of these would cost every later update a `--trust`."""
    unsafe = {"_tasks", "_migrations", "_jinja_extensions", "_external_data"}
    for ref, content in updating.release_copier_yml().items():
        assert unsafe & set(yaml.safe_load(content)) == set(), ref


def test_every_pattern_has_a_file(template_repository: TemplateRepository) -> None:
    """A pattern that matches nothing is a typing error or a leftover."""
    paths: set[str] = set()
    for kind in KINDS:
        content = (ROOT / "copier.yml").read_text(encoding="utf-8")
        for answers in updating.covering(content, kind):
            paths |= set(updating.snapshot(template_repository.render(answers)))
    for pattern in SETTINGS["_skip_if_exists"]:
        assert any(updating.is_seed(path, [pattern]) for path in paths), pattern


@pytest.mark.parametrize("kind", KINDS)
def test_common_modules_are_not_seeds(kind: str, template_repository: TemplateRepository) -> None:
    """What updates shall reach must not match a seed's pattern."""
    files = updating.snapshot(template_repository.render({"project_kind": kind}, CURRENT))
    owned = {path for path in files if not updating.is_seed(path)}
    assert {path for path in files if "/common/" in path} <= owned
    assert {"pyproject.toml", ".gitignore", ".gitattributes"} <= owned


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_is_binary_or_ignored(kind: str, template_repository: TemplateRepository) -> None:
    """Copier takes a binary back silently, and git could not bring an ignored file back."""
    content = (ROOT / "copier.yml").read_text(encoding="utf-8")
    for answers in updating.covering(content, kind):
        folder = template_repository.render(answers)
        listed = updating.git(folder, "ls-files", "-z").split("\0")
        assert set(updating.snapshot(folder)) <= set(listed), "git ignores a generated file"
        for path, (_, text) in updating.snapshot(folder).items():
            assert b"\0" not in text, path
