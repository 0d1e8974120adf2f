"""A copy of this project, for tests of what changes its files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[1]
NAMES = ("src", "tests", "pyproject.toml", "CHANGELOG.md", "prefect.yaml")


def copy_project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy what such changes touch, go there, and return the copy."""
    target = folder / "project"
    ignored = shutil.ignore_patterns("__pycache__", ".prefect-test-db")
    for name in NAMES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignored)
        elif source.is_file():
            shutil.copy(source, target / name)
    monkeypatch.chdir(target)
    return target


def contents(project: Path) -> dict[str, bytes]:
    """Return what is in each file, by its path."""
    return {
        path.relative_to(project).as_posix(): path.read_bytes()
        for path in project.rglob("*")
        if path.is_file()
    }
