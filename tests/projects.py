"""Rendering the template, and running commands in what came out.

Copier's public API is used as a user would, never with trust. pytest-copie serves the plain
smoke test only: it always trusts, and cannot pass answers the way `-d` does.
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

# As pytest's settings do; for programs that are no tests.
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
    """Return an environment without what a developer's or CI's machine adds to it."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "COPIER_", "VIRTUAL_ENV", "PYTEST_", "COV_"))
        # Without compiled modules every start of Prefect takes seconds longer.
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
    """Do what `subprocess.run` does without `check` and `input`, with an end that is certain.

    That one waits for ever when a child of the process holds its output open.

    Args:
        command: The program and its arguments.
        seconds: How long it may take.
        **options: What `subprocess.Popen` takes.

    Returns:
        What became of it.

    Raises:
        TimeoutError: It took longer; with the end of what it printed.
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
    """Run a command and return all it printed; if it fails or does not end, fail with that."""
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
    """Wait for a process to end, on Linux."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            # After the name, which may hold anything.
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def copy_content(target: Path) -> Path:
    """Copy the template as it is in the work tree, and nothing else of the repository."""
    target.mkdir(parents=True)
    for name in CONTENT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)
    return target


def render(template: Path, target: Path, answers: Answers) -> Path:
    """Render a project as `copier copy --defaults -d …` does, without trust."""
    copier.run_copy(str(template), target, data=answers, defaults=True, unsafe=False, quiet=True)
    return target


def files(project: Path) -> list[Path]:
    """Return the files of a project that a developer would see in git."""
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
        The question's name and its details; not `engine` and `parts`, which nobody answers.
    """
    document = yaml.safe_load(content or (ROOT / "copier.yml").read_text(encoding="utf-8"))
    return {
        name: details
        for name, details in document.items()
        if not name.startswith("_") and details.get("when") is not False
        if name not in {"engine", "parts"}
    }


def rendered(text: str, kind: str) -> str:
    """Render a text of `copier.yml` that depends on nothing but the kind of a new project."""
    return jinja2.Template(text).render(
        project_kind=kind, engine="dlt", parts="chosen", example=True
    )


def choices(details: Mapping[str, Any], kind: str = "") -> list[Any]:
    """List the values of a question with choices, or of one that is a yes or a no.

    Args:
        details: The question.
        kind: The kind of project, for choices that depend on it.

    Returns:
        The values; none for a question without choices or one not asked of this kind.
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
    """Return what a library's or a plugin's README says to install: it, and what goes with it."""
    found = re.search(r"^uv add (.+)$", (project / "README.md").read_text(), re.MULTILINE)
    assert found
    first, *more = shlex.split(found[1])
    return first, more


def to_export(project: Path) -> dict[str, str]:
    """Return what a library's or a plugin's README says to set before the first flow runs."""
    text = (project / "README.md").read_text()
    return dict(re.findall(r"^export (\w+)=(\S+)$", text, re.MULTILINE))


def type_checkers(python: Path) -> list[tuple[str | Path, ...]]:
    """Return the commands of the type checkers that users of a library may have.

    Args:
        python: The Python with which the code runs that is checked.
    """
    beside = Path(sys.executable).with_name
    pyrefly = (beside("pyrefly"), "check", "--preset", "strict", "--output-format", "min-text")
    return [
        (beside("mypy"), "--strict", "--python-executable", python),
        (beside("pyright"), "--pythonpath", python),
        (*pyrefly, "--python-interpreter-path", python),
    ]


def check_types(*files: Path, python: Path, folder: Path | None = None) -> None:
    """Check the types of code that uses a library or plugin, by each type checker.

    Args:
        *files: The modules.
        python: The Python they run with.
        folder: Where the checkers run; by default that of the first.
    """
    for words in type_checkers(python):
        run(*words, *files, cwd=folder or files[0].parent)
