"""Linters for all kinds of files in a generated project.

Many projects share identical files. Each is checked once in a process, because the same name and
content give the same result.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import io
import json
import re
import subprocess
import tomllib
from typing import TYPE_CHECKING

import check_jsonschema
import projects
import yaml
from detect_secrets import pre_commit_hook

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WINDOWS_HOSTILE = re.compile(r'[<>:"|?*\\\x00-\x1f]|[ .]$')

REPO_REVIEW = {
    "PP302": "the lower bound of pytest in the dev extra is the one place for its version",
    "PP304": "pytest shows the log of a failed test at every level that was logged",
    "PC": "hooks are local, through uv: each tool's version stands in one place",
    "SEC001": "zizmor is run by this template's tests on every workflow it can make",
}
"""What sp-repo-review asks for and we do otherwise, and why."""

_seen: set[bytes] = set()


def unseen(project: Path, *patterns: str) -> list[Path]:
    """Return matching files that no earlier project had with the same content."""
    found = []
    paths = {path for pattern in patterns for path in project.glob(pattern) if path.is_file()}
    for path in sorted(paths):
        name = path.relative_to(project).as_posix()
        key = hashlib.sha256(f"{patterns}{name}\0".encode() + path.read_bytes()).digest()
        if key not in _seen:
            _seen.add(key)
            found.append(path)
    return found


def here(command: Callable[[list[str]], object], *words: str | Path) -> None:
    """Run a Python package's command in this process, which imports it once; like `run`."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            code = command([str(word) for word in words])
        except SystemExit as end:
            code = end.code
    assert not code, f"{words}: exit {code}\n{printed.getvalue()}"


def schema(name: str, *files: Path, options: tuple[str, ...] = ()) -> None:
    """Check files with a schema from check-jsonschema."""
    if files:
        here(check_jsonschema.main, *options, "--builtin-schema", name, *files)


def files(project: Path) -> None:
    """Assert the rules for all files: their names, their ends, and that they parse."""
    for path in projects.files(project):
        name = path.relative_to(project).as_posix()
        assert not any(WINDOWS_HOSTILE.search(part) for part in name.split("/")), name
        text = path.read_text(encoding="utf-8")
        assert "\r" not in text, name
        assert text == "" or text.endswith("\n"), f"{name} does not end with a line break"
        assert not text.endswith("\n\n"), f"{name} ends with an empty line"
        blanks = [line for line in text.splitlines() if line != line.rstrip()]
        assert blanks == [], f"{name} has trailing blanks: {blanks}"
        assert "{%" not in text, f"{name} holds Jinja"
        match path.suffix:
            case ".py":
                ast.parse(text, name)
            case ".toml":
                tomllib.loads(text)
            case ".yml" | ".yaml":
                list(yaml.compose_all(text, yaml.SafeLoader))
            case ".json":
                json.loads(text)
    empty = [path for path in project.rglob("*") if path.is_dir() and not any(path.iterdir())]
    assert empty == []


def python(project: Path) -> None:
    """Assert that ruff finds nothing, with the project's configuration."""
    projects.run("ruff", "check", "--no-cache", ".", cwd=project)
    projects.run("ruff", "format", "--no-cache", "--diff", ".", cwd=project)


def github(project: Path) -> None:
    """Assert that workflows are correct, safe, and pinned with the version in a comment."""
    if workflows := unseen(project, ".github/workflows/*.yml"):
        schema("vendor.github-workflows", *workflows)
        schema("custom.github-workflows-require-timeout", *workflows)
        projects.run("actionlint", *workflows, cwd=project)
        options = ("--offline", "--no-progress", "--strict-collection", "--persona", "pedantic")
        projects.run("zizmor", *options, ".", cwd=project)
    schema("vendor.dependabot", *unseen(project, ".github/dependabot.yml"))
    for workflow in workflows:
        for line in workflow.read_text().splitlines():
            if "uses:" in line:
                version = line.partition("# v")[2]
                pin = line.partition("@")[2].split(" ")[0]
                assert len(pin) == 40, f"{workflow.name}: {line.strip()}"
                assert version, f"{workflow.name}: {line.strip()}"


def gitlab(project: Path) -> None:
    """Assert that GitLab accepts the pipeline."""
    options = ("--data-transform", "gitlab-ci", "--regex-variant", "nonunicode")
    schema("vendor.gitlab-ci", *unseen(project, ".gitlab-ci.yml"), options=options)


def container(project: Path) -> None:
    """Assert that hadolint finds nothing, and that compose.yaml follows its specification."""
    if dockerfiles := unseen(project, "Dockerfile"):
        projects.run("hadolint", *dockerfiles, cwd=project)
    schema("vendor.compose-spec", *unseen(project, "compose.yaml"))


def secrets(project: Path) -> None:
    """Assert that nothing looks like a secret, except in tests."""
    found = [
        path for path in unseen(project, "**/*") if path.relative_to(project).parts[0] != "tests"
    ]
    # A docstring shows the place of the password; and a checksum of public data.
    options = (
        "--no-verify",
        "--exclude-lines",
        "(user|token):(password|token)@|databricks://|SHA256",
    )
    if found:
        here(pre_commit_hook.main, *options, *found)


def repository(project: Path) -> None:
    """Assert that repo-review finds nothing, except `REPO_REVIEW`."""
    listed = projects.run("repo-review", "--list-all", cwd=project)
    names = re.findall(r"\b[A-Z]+[0-9]+\b", listed)
    ignored = [name for name in names if name.startswith(tuple(REPO_REVIEW))]
    # The report is JSON on standard output; the exit code counts failures.
    done = subprocess.run(
        ["repo-review", "--format", "json", "--ignore", ",".join(ignored), "."],
        cwd=project,
        env=projects.clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    checks = json.loads(done.stdout)["checks"]
    assert len(checks) > 40
    failed = {name: check["err_msg"] for name, check in checks.items() if check["result"] is False}
    assert failed == {}
