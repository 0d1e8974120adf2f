"""Renders the template, and runs commands in the projects.

Uses Copier's public API as a user would, never with trust. pytest-copie serves only the plain smoke
test: it always trusts the template, and cannot pass answers like `-d`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import copier
import jinja2
import yaml

# As in pytest's settings, for programs that are not tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "template" / "tests"))
import child_processes

ROOT = Path(__file__).parents[1]
CONTENT = ("copier.yml", "includes", "template", "hooks")
"""What a release of the template consists of."""

PREFECT_HOME = Path("~/.prefect").expanduser()
"""Where Prefect keeps profiles, which may name servers; for the tests a folder of their own."""

TEMPORARY = Path(tempfile.gettempdir())
"""Where pytest in generated projects writes; for the tests a folder of each process, because two
that remove old folders of one user at the same time can fail."""

Answers = dict[str, Any]
Render = Callable[..., Path]
"""Renders a project for some answers, given by name."""

RUN_SECONDS = 900
"""How long a command may take: what takes a minute here takes ten on a busy machine."""

QUESTIONS: dict[str, Any] = yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))
KINDS: list[str] = list(QUESTIONS["project_kind"]["choices"].values())
"""The kinds of project of the work tree: a new one is tested without a change here."""

EVERYTHING: Answers = {
    "ci": "gitlab",
    "license": "Apache-2.0",
    "minimum_python": "3.12",
    "extras": ["postgres", "duckdb", "dask", "mysql", "filesystem"],
    "features": ["docs", "container", "agents", "devcontainer"],
    "work_pool_type": "docker",
}
"""Every part of a pipeline switched on, and no answer left at its default."""


def clean_environment(**extra: str) -> dict[str, str]:
    """Return an environment without variables of the developer's machine or CI."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "COPIER_", "VIRTUAL_ENV", "PYTEST_", "COV_"))
        # Without compiled modules, every start of Prefect takes seconds longer.
        and name not in {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "UV_PYTHON"}
    }
    return {
        **kept,
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": str(PREFECT_HOME),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PYTEST_DEBUG_TEMPROOT": str(TEMPORARY),
        "UV_PYTHON_DOWNLOADS": "never",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "Test",
        "GIT_AUTHOR_EMAIL": "test@example.com",
        "GIT_COMMITTER_NAME": "Test",
        "GIT_COMMITTER_EMAIL": "test@example.com",
        **extra,
    }


def complete(
    command: Iterable[str | Path], seconds: float = 600, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """Run a command like `subprocess.run` without `check` and `input`, with a certain end.

    `subprocess.run` waits for ever if a child of the process keeps its output open.

    Args:
        command: The program and its arguments.
        seconds: How long it may take.
        **options: Arguments of `subprocess.Popen`.

    Returns:
        The completed process.

    Raises:
        TimeoutError: It took longer; with the end of its output.
    """
    words = list(map(str, command))
    options.setdefault("stdin", subprocess.DEVNULL)
    process = child_processes.start(words, **options)
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        child_processes.kill(process)
        output, errors = b"", b""
        with contextlib.suppress(subprocess.TimeoutExpired):
            output, errors = process.communicate(timeout=child_processes.SECONDS)
        printed = f"{str(output)[-9000:]}\n{str(errors)[-9000:]}"
        raise TimeoutError(f"{words} took longer than {seconds} s:\n{printed}") from error
    except BaseException:
        child_processes.kill(process)
        raise
    return subprocess.CompletedProcess(words, process.returncode, output, errors)


def run(*command: str | Path, cwd: Path, check: bool = True, **env: str) -> str:
    """Run a command and return its output; if it fails or does not end, fail with the output."""
    done = complete(
        command,
        RUN_SECONDS,
        cwd=cwd,
        env=clean_environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{command} in {cwd}: exit {done.returncode}\n{done.stdout}")
    return done.stdout


def gone(pid: int, seconds: float = 60) -> bool:
    """Wait until a process has ended, on Linux."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            # After the name, which may contain anything.
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def copy_content(target: Path) -> Path:
    """Copy the template from the work tree, without the rest of the repository."""
    target.mkdir(parents=True)
    for name in CONTENT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)
    return target


def render(template: Path, target: Path, answers: Answers) -> Path:
    """Render a project like `copier copy --defaults -d …`, without trust."""
    copier.run_copy(str(template), target, data=answers, defaults=True, unsafe=False, quiet=True)
    return target


def files(project: Path) -> list[Path]:
    """Return the files of a project that git would have."""
    ignored = {".git", ".venv", "__pycache__", ".ruff_cache", ".pytest_cache", "dist", "data"}
    ignored.add(".prefect-test-db")
    return sorted(
        path
        for path in project.rglob("*")
        if path.is_file() and not ignored & set(path.relative_to(project).parts[:-1])
    )


def questions(content: str | None = None) -> dict[str, Any]:
    """Read the questions, without settings and computed answers.

    Args:
        content: A `copier.yml`; by default that of the work tree.

    Returns:
        The questions' details by name, without `engine` and `parts`, which are never asked.
    """
    document = yaml.safe_load(content or (ROOT / "copier.yml").read_text(encoding="utf-8"))
    return {
        name: details
        for name, details in document.items()
        if not name.startswith("_") and details.get("when") is not False
        if name not in {"engine", "parts"}
    }


def rendered(text: str, kind: str) -> str:
    """Render a text of `copier.yml` that depends only on the kind of a new project."""
    return jinja2.Template(text).render(
        project_kind=kind, engine="dlt", parts="chosen", example=True
    )


def choices(details: Mapping[str, Any], kind: str = "") -> list[Any]:
    """List the values of a question with choices or of a boolean.

    Args:
        details: The question.
        kind: The kind of project, for choices that depend on it.

    Returns:
        The values; empty for a question without choices, or one that this kind does not have.
    """
    if rendered(str(details.get("when", True)), kind) == "False":
        return []
    if details.get("type") == "bool":
        return [True, False]
    listed = details.get("choices", [])
    if isinstance(listed, str):
        listed = yaml.safe_load(rendered(listed, kind)) or []
    return list(listed.values()) if isinstance(listed, dict) else list(listed)


def label(answers: Answers) -> str:
    """Return a short name of a set of answers, for test ids."""
    words = ["+".join(some) if isinstance(some, list) else str(some) for some in answers.values()]
    return "-".join(word for word in words if word) or "defaults"


def tool(project: Path, *words: str | Path, check: bool = True, **env: str) -> str:
    """Run a command of the project's own environment."""
    return run("uv", "run", "--no-sync", *words, cwd=project, check=check, **env)


def to_install(project: Path) -> tuple[str, list[str]]:
    """Return the requirement in the install command of a library's or plugin's README."""
    found = re.search(r"^uv add (.+)$", (project / "README.md").read_text(), re.MULTILINE)
    assert found
    first, *more = shlex.split(found[1])
    return first, more


def to_export(project: Path) -> dict[str, str]:
    """Return the variables that a library's or plugin's README sets before the first flow."""
    text = (project / "README.md").read_text()
    return dict(re.findall(r"^export (\w+)=(\S+)$", text, re.MULTILINE))


def type_checkers(python: Path) -> list[tuple[str | Path, ...]]:
    """Return the commands of the type checkers that users of a library may use.

    Args:
        python: The Python that runs the checked code.
    """
    beside = Path(sys.executable).with_name
    pyrefly = (beside("pyrefly"), "check", "--preset", "strict", "--output-format", "min-text")
    return [
        (beside("mypy"), "--strict", "--python-executable", python),
        (beside("pyright"), "--pythonpath", python),
        (*pyrefly, "--python-interpreter-path", python),
    ]


def check_types(*files: Path, python: Path, folder: Path | None = None) -> None:
    """Check code that uses a library or plugin with each type checker.

    Args:
        *files: The modules.
        python: The Python that runs them.
        folder: Folder for the checkers; the default is that of the first module.
    """
    for words in type_checkers(python):
        run(*words, *files, cwd=folder or files[0].parent)
