"""Python interpreters of this machine, and environments for generated projects."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import answer_sets
import projects
import pytest
from prefect_server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

TRIAL = (
    "import ctypes, sqlite3, ssl, sys, venv;"
    "print('%s.%s' % sys.version_info[:2], getattr(sys, '_base_executable', sys.executable))"
)
"""Prints its version and where it is, outside of any environment, if nothing is missing."""

MISSING = "there is no Python {} on this machine that runs"


def try_python(program: str | Path, version: str) -> str | None:
    """Run an interpreter and return where it really is, or None if it is not of this version.

    A file of the right name proves nothing: pyenv has one for every version that it knows, and
    those of versions that are not active only complain.
    """
    try:
        done = subprocess.run(
            [str(program), "-c", TRIAL],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=projects.clean_environment(),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found, _, where = done.stdout.strip().partition(" ")
    return where if (done.returncode, found) == (0, version) else None


def candidates(version: str) -> Iterator[str | Path]:
    """List what may be a Python of a version, the likeliest first."""
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep) if folder]
    # pyenv keeps versions that are not active too; where it is, HOME need not tell.
    roots = [Path(root) for root in (os.environ.get("PYENV_ROOT"),) if root]
    roots += [folder.parent for folder in folders if folder.name == "shims"]
    roots += [Path("~/.pyenv").expanduser()]
    for root in dict.fromkeys(roots):
        found = (root / "versions").glob(f"{version}.*/bin/python")
        yield from sorted(found, key=lambda path: (len(path.parts[-3]), path), reverse=True)
    yield from (folder / f"python{version}" for folder in dict.fromkeys(folders))
    yield sys.executable
    # Those that uv has installed.
    words = ("uv", "python", "find", "--no-project", "--managed-python", version)
    if shutil.which("uv") and (found := projects.run(*words, cwd=Path("/"), check=False)):
        yield found.splitlines()[-1]


@functools.cache
def find_python(version: str) -> str | None:
    """Return a Python of this machine that runs, or None."""
    tried = (try_python(program, version) for program in candidates(version))
    return next((found for found in tried if found), None)


def require_python(version: str) -> str:
    """Return a Python of this machine, or skip the test."""
    found = find_python(version)
    if found is None:
        pytest.skip(MISSING.format(version))
    return found


def link_pythons(folder: Path) -> None:
    """Fill a folder for the beginning of PATH: uv finds no more of pyenv than its shims.

    Args:
        folder: Gets a link to the interpreter of each version that runs here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for version in answer_sets.PYTHONS:
        if found := find_python(version):
            (folder / f"python{version}").symlink_to(found)


class Environments:
    """Synchronises projects quickly: each starts as a copy of the first one like it.

    Best of one that has the same requirements, for which nothing but the project is left to
    install; else of the first one of its Python.

    Args:
        folder: Where the copies stand; processes that test side by side share it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def sync(self, project: Path, python: str = "3.11", *, keep: bool = True) -> None:
        """Do what `uv sync` does, for a project that has no environment yet.

        Args:
            project: Its folder.
            python: The version it shall run on.
            keep: Whether others will need what this one needs; then all of it is compiled
                once, else what is imported when it is.
        """
        env = {"UV_PYTHON": require_python(python)}
        first = self.folder / python
        same = self.folder / f"{python}-{requirements(project)}"
        with (self.folder / f"{python}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not first.exists():
                projects.run("uv", "venv", "--relocatable", "-q", cwd=project, **env)
                projects.run("uv", "sync", "-q", cwd=project, **env)
                if keep:
                    _compile(project / ".venv")
                _copy(project / ".venv", first)
                same.symlink_to(first.name)
                return
        known = same.exists()
        _copy(same if known else first, project / ".venv")
        try:
            # What the first project resolved is cached.
            projects.run("uv", "sync", "-q", cwd=project, UV_OFFLINE="1", **env)
        except AssertionError:
            # Another extra may need more than that.
            projects.run("uv", "sync", "-q", cwd=project, **env)
        if not known and keep:
            _compile(project / ".venv")
            with (self.folder / f"{same.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not same.exists():
                    _copy(project / ".venv", self.folder / f"{same.name}.part")
                    (self.folder / f"{same.name}.part").rename(same)


@contextlib.contextmanager
def serve(python: Path, migrated: Path) -> Iterator[str]:
    """Run a Prefect server by a Python that has Prefect; the URL of its API."""
    server = Server(migrated, python=str(python))
    server.start()
    try:
        server.wait()
        yield server.url
    finally:
        server.stop()


def requirements(project: Path) -> str:
    """Return a short name of all that a project asks for."""
    document = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    names = ("requires-python", "dependencies", "optional-dependencies")
    asked = [document["project"].get(name) for name in names]
    asked += [document.get("dependency-groups"), document.get("tool", {}).get("uv")]
    # A project names itself where it asks for all of its extras.
    text = json.dumps(asked, sort_keys=True).replace(document["project"]["name"], "")
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _compile(environment: Path) -> None:
    """Compile what is installed, except packages' own tests: a quarter of all files."""
    words = ("-m", "compileall", "-q", "-x", "/tests?/", *environment.glob("lib/*/site-packages"))
    # Some packages have files that are not Python, or for another version of it.
    projects.run(environment / "bin" / "python", *words, cwd=environment, check=False)


def _copy(environment: Path, target: Path) -> None:
    """Copy an environment by links to its files, which nobody writes to."""
    shutil.copytree(environment, target, symlinks=True, copy_function=os.link)
