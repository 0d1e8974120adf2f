"""Python environments for generated projects, made once and copied."""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import sys
from pathlib import Path

import projects
import pytest


@functools.cache
def find_python(version: str) -> str | None:
    """Return a Python of this machine, or None."""
    known = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    if known:
        return str(known[-1])
    if found := shutil.which(f"python{version}"):
        return found
    return sys.executable if sys.version.startswith(f"{version}.") else None


def require_python(version: str) -> str:
    """Return a Python of this machine, or skip the test."""
    found = find_python(version)
    if found is None:
        pytest.skip(f"there is no Python {version} on this machine")
    return found


class Environments:
    """Synchronises projects quickly: each starts as a copy of the first one like it.

    Args:
        folder: Where the copies stand; processes that test side by side share it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def sync(self, project: Path, python: str = "3.11") -> None:
        """Do what `uv sync` does, for a project that has no environment yet."""
        env = {"UV_PYTHON": require_python(python), "UV_COMPILE_BYTECODE": "1"}
        base = self.folder / python
        with (self.folder / f"{python}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not base.exists():
                projects.run("uv", "venv", "--relocatable", "-q", cwd=project, **env)
                projects.run("uv", "sync", "-q", cwd=project, **env)
                shutil.copytree(project / ".venv", base, symlinks=True, copy_function=os.link)
                return
        shutil.copytree(base, project / ".venv", symlinks=True, copy_function=os.link)
        try:
            # What the first project resolved is cached.
            projects.run("uv", "sync", "-q", cwd=project, UV_OFFLINE="1", **env)
        except AssertionError:
            # Another extra may need more than that.
            projects.run("uv", "sync", "-q", cwd=project, **env)
