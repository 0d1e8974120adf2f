"""The pages of docs/recipes: reads their modules, and runs a project's checks on these."""

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
    """Return path and code of each module on a page for one of the given folders."""
    places = "|".join(map(re.escape, folders))
    return re.findall(rf"```python\n# ((?:{places})/\S+)\n(.*?)```", read(page), re.DOTALL)


def block(text: str, language: str, word: str) -> str:
    """Return the only code block in a language that contains a word."""
    codes = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    (found,) = [code for code in codes if word in code]
    return str(found)


def check(project: Path, files: Iterable[str | Path]) -> None:
    """Run a project's linter, formatter and type checker on some of its files."""
    chosen = list(files)
    assert chosen
    tool(project, "ruff", "check", *chosen)
    tool(project, "ruff", "format", "--diff", *chosen)
    tool(project, "pyrefly", "check", *chosen)
