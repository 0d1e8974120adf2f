"""The projects in `examples/` are what the template renders."""

from __future__ import annotations

import sys
from pathlib import Path

import projects

sys.path.insert(0, str(projects.ROOT / "scripts"))
import examples


def content(folder: Path) -> dict[str, bytes]:
    """Read the files in a folder of projects, except those that tools create."""
    listed = (path for path in folder.rglob("*") if path.is_file())
    ignored = {".venv", "__pycache__", ".ruff_cache", ".pytest_cache"}
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in listed
        if not ignored & set(path.parts)
    }


def test_examples_are_what_the_template_renders(template: Path, tmp_path: Path) -> None:
    """Render them again with `uv run poe examples`, and commit the difference."""
    examples.render(template, tmp_path)
    fresh, published = content(tmp_path), content(examples.FOLDER)
    stale = {name for name in fresh | published if fresh.get(name) != published.get(name)}
    assert not stale, f"run `uv run poe examples` and commit it: {sorted(stale)}"


def test_git_ignores_nothing_of_the_examples() -> None:
    """The `.gitignore` of each example also applies to this repository."""
    words = ("ls-files", "--others", "--ignored", "--exclude-standard", "--", "examples")
    ignored = projects.run("git", *words, cwd=projects.ROOT).splitlines()
    names = content(examples.FOLDER)
    assert [line for line in ignored if line.removeprefix("examples/") in names] == []
