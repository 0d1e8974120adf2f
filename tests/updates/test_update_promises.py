"""What docs/update.md promises for all of 1.x: names that users' code and scripts rely on stay."""

from __future__ import annotations

import ast
import logging
import re
from typing import TYPE_CHECKING

import griffe
import updating

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = ("pipeline", "library", "plugin")
PROMISED = (1,)
"""The first version that keeps what it has; until 2.0."""
MODULES = (
    *("errors", "reporting", "retries", "secrets", "settings"),
    *("db_utils", "rules", "table"),  # of pipelines
    *("extras", "files"),  # of libraries
    *("http", "paging"),  # of plugins
)
"""Modules of `common` that are for users; of others, what the rendered files use, which the tests
that run an old project's checks after an update cover."""
OPTION = re.compile(r"--[a-z][a-z-]+")


def parts(kind: str) -> dict[str, object]:
    """Return answers with everything that a kind can have of code."""
    extras = {"plugin": ["worker", "process_worker", "startup_hook", "conventions"]}
    extras["pipeline"] = ["postgres", "mysql", "filesystem", "dask"]
    return {"project_kind": kind, **({"extras": extras[kind]} if kind in extras else {})}


def breaks(old: Path, new: Path) -> Iterator[str]:
    """Name what a project's code, tests and scripts could rely on, and no longer can.

    Args:
        old: A project as it was rendered.
        new: The same project as it is rendered now.
    """
    logging.getLogger("griffe").setLevel(logging.ERROR)
    (package,) = (path.parent for path in old.glob("src/*/common"))
    name = package.name
    searched = [[project / "src"] for project in (old, new)]
    before, after = (griffe.load(name, search_paths=paths) for paths in searched)
    older, newer = before["common"].members, after["common"].members
    for module in MODULES:
        if module in older and module not in newer:
            yield f"common/{module}.py is gone"
        elif module in older:
            for breakage in griffe.find_breaking_changes(older[module], newer[module]):
                yield breakage.explain(griffe.ExplanationStyle.ONE_LINE)
    for path in sorted(package.glob("commands/*.py")):
        now = new / path.relative_to(old)
        if not now.is_file():
            yield f"{path.relative_to(old)} is gone"
        elif gone := options(path) - options(now):
            yield f"{path.relative_to(old)}: {', '.join(sorted(gone))}"


def options(path: Path) -> set[str]:
    """Return the options that a command defines, by its strings."""
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    texts = (one.value for one in tree if isinstance(one, ast.Constant))
    return {text for text in texts if isinstance(text, str) and OPTION.fullmatch(text)}


def test_1_x_keeps_what_users_rely_on(template_repository: updating.TemplateRepository) -> None:
    """Code written against any 1.x works with the newest."""
    kept = [tag for tag in updating.release_tags() if updating.version(tag) >= PROMISED]
    for tag in kept:
        for kind in KINDS:
            old = template_repository.render(parts(kind), tag)
            assert list(breaks(old, template_repository.render(parts(kind)))) == [], tag


def without_a_function(template: Path) -> None:
    """Rename what users call in each kind, and an option."""
    for path in template.glob("template/**/common/reporting.py"):
        text = path.read_text(encoding="utf-8").replace("def in_run(", "def inside_run(")
        path.write_text(text, encoding="utf-8")
    (path,) = template.glob("template/**/commands/status.py")
    text = path.read_text(encoding="utf-8").replace('"--json"', '"--as-json"')
    path.write_text(text, encoding="utf-8")


def test_what_goes_is_seen(template_repository: updating.TemplateRepository) -> None:
    changed = template_repository.variant(without_a_function)
    for kind in KINDS:
        old = template_repository.render(parts(kind))
        found = list(breaks(old, template_repository.render(parts(kind), changed)))
        assert any("in_run" in one for one in found), kind
        assert any("--json" in one for one in found) == (kind == "pipeline"), kind
        assert list(breaks(old, old)) == []
