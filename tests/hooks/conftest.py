"""A small template repository with two releases, and projects created from it."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import child_processes
import copier_server
import projects
import pytest

OLD, NEW = "v999.0.0", "v999.1.0"
PIPELINE = "template/{{ pipeline }}/src/{{ package_name }}"
EXAMPLE = "template/{{ pipeline_example }}/src/{{ package_name }}"
HOOKS = projects.ROOT / "hooks"

MIGRATION = '''"""Needed while the project has the file `old-layout`."""
import sys
from pathlib import Path

*check, project = sys.argv[1:]
old = Path(project) / "old-layout"
if check:
    sys.exit(1 if old.exists() else 0)
old.rename(old.with_name("new-layout"))
'''


@dataclass(frozen=True)
class Done:
    """The output and exit code of a command."""

    code: int
    printed: str


Run = Callable[..., Done]


def commit(repository: Path, subject: str, *tags: str) -> None:
    """Commit everything, and tag it."""
    projects.run("git", "add", "--all", cwd=repository)
    projects.run("git", "commit", "-qm", subject, cwd=repository)
    for tag in tags:
        projects.run("git", "tag", "-am", tag, tag, cwd=repository)


def append(path: Path, text: str) -> None:
    """Add a line to a file."""
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def command(page: str, name: str) -> str:
    """Return the commands after a `<!-- run: … -->` mark on a page of docs/."""
    text = (projects.ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.search(rf"<!-- run: {name} -->\n```bash\n(.+?)\n```", text, re.DOTALL)
    assert found, name
    return found[1]


def add_release(repository: Path) -> None:
    """Change a seed, a merged file and a new seed; add a migration."""
    append(repository / EXAMPLE / "flows/tables.py", "# better in the template\n")
    append(repository / PIPELINE / "common/rules.py", "# merged from the template\n")
    (repository / PIPELINE / "flows" / "more_flow.py").write_text('"""More."""\n')
    (repository / "template/{{ published }}/README.md").write_text("# Of another kind\n")
    (repository / "hooks/migrations/v999_1_0_layout.py").write_text(MIGRATION)
    commit(repository, "Two", NEW)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template of the work tree as release OLD, and a changed one as release NEW."""
    repository = projects.copy_content(tmp_path_factory.mktemp("source") / "copier-prefect")
    projects.run("git", "init", "-qb", "main", cwd=repository)
    commit(repository, "One", OLD)
    add_release(repository)
    return repository


@pytest.fixture(scope="session")
def rendered(source: Path, uvx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of release OLD, just copied; do not change it."""
    target = tmp_path_factory.mktemp("rendered") / "my-data-project"
    words = ("copier", "copy", "-q", "--defaults", "-r", OLD, source, target)
    projects.run(uvx, *words, cwd=source)
    return target


@pytest.fixture
def fresh(rendered: Path, tmp_path: Path) -> Path:
    """A project of release OLD, without git."""
    return Path(shutil.copytree(rendered, tmp_path / rendered.name))


@pytest.fixture(scope="session")
def started(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed project of release OLD; do not change it."""
    folder = Path(shutil.copytree(rendered, tmp_path_factory.mktemp("started") / rendered.name))
    projects.run("git", "init", "-qb", "main", cwd=folder)
    commit(folder, "Start")
    return folder


@pytest.fixture
def old(started: Path, tmp_path: Path) -> Path:
    """A committed project of release OLD."""
    return Path(shutil.copytree(started, tmp_path / started.name))


@pytest.fixture(scope="session")
def moved(started: Path, uvx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project updated to release NEW without a commit; do not change it."""
    folder = Path(shutil.copytree(started, tmp_path_factory.mktemp("moved") / started.name))
    projects.run(uvx, "copier", "update", "-q", "--defaults", cwd=folder)
    return folder


@pytest.fixture
def updated(moved: Path, tmp_path: Path) -> Path:
    """A project updated to release NEW without a commit."""
    return Path(shutil.copytree(moved, tmp_path / moved.name))


UV = f"""#!{sys.executable}
# Makes what uv would make, without an environment. STALE=1 means that the lock is stale.
import os, sys
from pathlib import Path

if "VIRTUAL_ENV" in os.environ:
    print("warning: VIRTUAL_ENV does not match the project environment path")
match sys.argv[1:]:
    case ["sync"]:
        Path(".venv").mkdir(exist_ok=True)
        Path("uv.lock").write_text("")
    case ["lock", "--check"]:
        sys.exit(int(os.environ.get("STALE", "0")))
    case ["lock"]:
        Path("uv.lock").write_text("locked")
    case ["sync", "--quiet"]:
        Path(".venv").mkdir(exist_ok=True)
    case ["run", "--no-sync", check, *_]:
        sys.exit(Path(check).is_file() and os.spawnlp(os.P_WAIT, "sh", "sh", check))
    case ["run", script, *words] if script.endswith("adopt.py"):
        os.execv(sys.executable, [sys.executable, script, *words])
    case ["run", "--script", script, *words] | ["run", script, *words] if script.endswith(".py"):
        os.execvp("uvx", ["uvx", script, *words])
    case ["run", "poe", *words]:
        os.execvp("poe", ["poe", *words])
    case ["run", "pre-commit", "install"]:
        Path(".git/hooks/pre-commit").write_text("")
    case other:
        sys.exit(f"uv {{other}}")
"""


@pytest.fixture(scope="session")
def uvx(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A `uvx` that only has the installed Copier, and starts it quickly."""
    folder = tmp_path_factory.mktemp("uvx")
    with tempfile.TemporaryDirectory(prefix="copier-") as short:
        address = f"{short}/socket"
        words = [sys.executable, copier_server.__file__, address, folder / "clones", source]
        with child_processes.running([*words, OLD, NEW], env=projects.clean_environment()) as made:
            while not Path(address).exists():
                assert made.poll() is None, "Copier's server does not start"
                time.sleep(0.05)
            program = folder / "uvx"
            client = copier_server.CLIENT.format(python=sys.executable, address=address)
            program.write_text(client)
            program.chmod(0o755)
            yield program


@pytest.fixture(scope="session")
def shims(uvx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a `uvx` for the installed Copier, and a stand-in for `uv`."""
    folder = tmp_path_factory.mktemp("shims")
    (folder / "uvx").symlink_to(uvx)
    (folder / "uv").write_text(UV)
    (folder / "uv").chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def run(shims: Path) -> Run:
    """Run a command as a user would, with the stand-ins first on PATH."""

    def ran(*command: str | Path, cwd: Path, **env: str) -> Done:
        path = f"{shims}{os.pathsep}{os.environ['PATH']}"
        words = ["bash", "-c", '"$@"; code=$?; echo; echo "exit:$code"', "bash", *command]
        printed = projects.run(*words, cwd=cwd, **{"PATH": path, **env})
        text, _, code = printed.rpartition("\nexit:")
        return Done(int(code), text)

    return ran


@pytest.fixture(scope="session")
def hook(run: Run) -> Run:
    """Run a hook; if it needs Copier, in a process that has imported it."""

    def ran(name: str, *arguments: str | Path, cwd: Path, **env: str) -> Done:
        runner = "uvx" if name in {"update.py", "update_fleet.py"} else sys.executable
        return run(runner, HOOKS / name, *arguments, cwd=cwd, **env)

    return ran
