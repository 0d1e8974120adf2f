"""The pages of docs/recipes: the modules on them, and what a project's own checks say of these."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import projects
from projects import tool

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FOLDER = projects.ROOT / "docs" / "recipes"


def read(page: str) -> str:
    """Return the text of a page."""
    return (FOLDER / page).read_text(encoding="utf-8")


def modules(page: str, *folders: str) -> list[tuple[str, str]]:
    """Return the path and the code of each module on a page that is for one of some folders."""
    places = "|".join(map(re.escape, folders))
    return re.findall(rf"```python\n# ((?:{places})/\S+)\n(.*?)```", read(page), re.DOTALL)


def block(text: str, language: str, word: str) -> str:
    """Return the one block of code in a language that has a word in it."""
    codes = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    (found,) = [code for code in codes if word in code]
    return str(found)


def check(project: Path, files: Iterable[str | Path]) -> None:
    """Run a project's own linter, formatter and type checker on some of its files."""
    chosen = list(files)
    assert chosen
    tool(project, "ruff", "check", *chosen)
    tool(project, "ruff", "format", "--diff", *chosen)
    tool(project, "pyrefly", "check", *chosen)
