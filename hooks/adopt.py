# /// script
# requires-python = ">=3.11"
# dependencies = ["tomlkit>=0.13.2", "packaging>=25", "migrate-to-uv>=0.12"]
# ///
"""Merge a repository's own settings into the template's files, after `copier copy`.

It reads the last commit, changes only files that `git diff` shows, and commits nothing. Running
it twice is safe.
"""

from __future__ import annotations

import argparse
import configparser
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import tomlkit
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tomlkit.items import Array

ANSWERS = ".copier-answers.yml"
MARK = "# Yours, below this line"
# Here only the template's text counts: it follows from answers, or is merged elsewhere.
TEMPLATES = {
    ("build-system",),
    *(("project", key) for key in ("name", "version", "dynamic", "authors", "classifiers")),
    *(("project", key) for key in ("readme", "dependencies", "optional-dependencies")),
    ("dependency-groups",),
    *(("tool", name) for name in ("poetry", "setuptools", "pdm", "flit", "pytest", "pyrefly")),
    *(("tool", "hatch", key) for key in ("version", "metadata")),
    ("tool", "hatch", "build", "targets", "sdist"),
    *(("tool", "uv", key) for key in ("default-groups", "cache-keys", "dev-dependencies")),
    *(("tool", "ruff", key) for key in ("target-version", "select", "ignore")),
    *(("tool", "ruff", "lint", key) for key in ("select", "isort")),
}
# pytest reads the first of these that exists.
PYTEST = {
    "pytest.ini": "pytest",
    ".pytest.ini": "pytest",
    "pyproject.toml": "",
    "tox.ini": "pytest",
    "setup.cfg": "tool:pytest",
}
# Tools that find one of these do not read pyproject.toml.
MASKS = ("ruff.toml", ".ruff.toml", "pyrefly.toml", ".coveragerc", "pytest.toml", ".pytest.toml")
SPENT = ("poetry.lock", "Pipfile", "Pipfile.lock", "requirements.txt", "setup.py", "setup.cfg")
NO_PACKAGES = {"src", "tests", "test", "docs", "examples", "scripts", "notebooks", "benchmarks"}


class StopError(Exception):
    """What the user has to do first, in one sentence."""


def run(*command: str, cwd: Path | str) -> subprocess.CompletedProcess[str]:
    """Run a command; text that is not UTF-8 is kept."""
    # `uv run` sets it to this script's environment, not the project's.
    env = {name: text for name, text in os.environ.items() if name != "VIRTUAL_ENV"}
    encoding = {"encoding": "utf-8", "errors": "surrogateescape"}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, check=False, **encoding)


def succeed(*command: str, cwd: Path | str) -> str:
    """Run a command that has to succeed, and return its output."""
    done = run(*command, cwd=cwd)
    if done.returncode:
        raise StopError(f"`{shlex.join(command)}` failed: {done.stderr.strip()[-500:]}")
    return done.stdout


class Repository:
    """A repository: its files at the last commit, and now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.todo: list[str] = []
        if run("git", "rev-parse", "--verify", "--quiet", "HEAD", cwd=self.folder).returncode:
            raise StopError("There is no commit yet, so there is nothing to merge: commit first.")
        self.had = self.git("ls-tree", "-rz", "--name-only", "HEAD").split("\0")[:-1]

    def git(self, *arguments: str) -> str:
        """Return git's output."""
        return succeed("git", *arguments, cwd=self.folder)

    def old(self, name: str) -> str:
        """Return the text of a file at the last commit, or None."""
        return self.git("show", f"HEAD:./{name}") if name in self.had else ""

    def write(self, name: str, text: str) -> None:
        """Write a file, and print its name."""
        (self.folder / name).write_text(text, encoding="utf-8", errors="surrogateescape")
        print(f"  {name}")


def old_project(repository: Repository) -> dict[str, Any]:
    """Return the old pyproject.toml, with other tools' metadata in standard form."""
    had = set(repository.had)
    old = tomlkit.parse(repository.old("pyproject.toml")).unwrap()
    poetry = "poetry" in old.get("tool", {})
    if "project" in old and not poetry:
        return old
    if had & {"setup.py", "setup.cfg"} and not poetry:
        command = ["uvx", "hatch", "new", "--init"]
    elif poetry or had & {"Pipfile", "requirements.txt"}:
        command = ["migrate-to-uv", "--skip-lock", "--build-backend", "hatch"]
        command[0] = shutil.which(command[0], path=Path(sys.executable).parent) or command[0]
    else:
        return old
    with tempfile.TemporaryDirectory() as folder:
        archive = ["git", "archive", "HEAD"]
        tar = subprocess.run(archive, cwd=repository.folder, capture_output=True, check=True)
        with tarfile.open(fileobj=io.BytesIO(tar.stdout)) as files:
            files.extractall(folder, filter="data")
        succeed(*command, cwd=folder)
        return tomlkit.parse(Path(folder, "pyproject.toml").read_text("utf-8")).unwrap()


def add(array: Array, items: list[Any]) -> None:
    """Add missing items to a list; in a multi-line list, at its end."""
    for item in items:
        if item in array.unwrap():
            continue
        if "\n" in array.as_string():
            array.add_line(item, indent="  ")
        else:
            array.append(item)


def merge(new: Any, old: dict[str, Any], todo: list[str], path: tuple[str, ...] = ()) -> None:
    """Add what only the old document has: keys of tables, items of lists."""
    for key, value in old.items():
        here = (*path, key)
        if here in TEMPLATES:
            continue
        if key not in new:
            new[key] = value
        elif isinstance(value, dict) and isinstance(new[key], dict):
            merge(new[key], value, todo, here)
        elif isinstance(value, list) and isinstance(new[key], Array):
            add(new[key], value)
        elif new[key] != value:
            todo.append(f"{'.'.join(here)} is {new[key]!r} now; you had {value!r}")


def merge_dependencies(new: Any, old: dict[str, Any], todo: list[str]) -> None:
    """Add dependencies below the template's; if both have one, the template's bounds stay."""
    project, was = new["project"], old.get("project", {})
    extras = project["optional-dependencies"]
    run_time: dict[str, Requirement] = {}

    def known(array: Array) -> dict[str, Requirement]:
        found = [Requirement(line) for line in array.unwrap()]
        return {canonicalize_name(one.name): one for one in found}

    def extend(array: Array, lines: list[str]) -> None:
        there = known(array) | run_time
        for line in lines:
            theirs = Requirement(line)
            ours = there.get(canonicalize_name(theirs.name))
            if ours is None:
                add(array, [line])
                continue
            lowest = [bound.version for bound in ours.specifier if bound.operator == ">="]
            if not all(theirs.specifier.contains(version) for version in lowest):
                todo.append(f"'{ours}' is in pyproject.toml; you had '{line}'")
            if theirs.extras - ours.extras:
                add(array, [f"{theirs.name}[{','.join(sorted(theirs.extras))}]"])

    extend(project["dependencies"], was.get("dependencies", []))
    run_time = known(project["dependencies"])
    if "dependencies" in was.get("dynamic", []):
        todo.append("your dependencies were dynamic: add them to pyproject.toml")
    groups = dict(old.get("dependency-groups", {}))
    development = [line for line in groups.pop("dev", []) if isinstance(line, str)]
    development += old.get("tool", {}).get("uv", {}).get("dev-dependencies", [])
    for name, lines in [*was.get("optional-dependencies", {}).items(), ("dev", development)]:
        if name not in extras:
            extras.add(name, tomlkit.array().multiline(multiline=True))
        extend(extras[name], lines)
    for name, lines in groups.items():
        new["dependency-groups"].setdefault(name, lines)


def words(value: Any, key: str) -> list[str]:
    """Return a setting of pytest as a list."""
    if isinstance(value, list):
        return value
    if key in ("filterwarnings", "markers"):
        return [line.strip() for line in value.splitlines() if line.strip()]
    return shlex.split(value)


def merge_pytest(repository: Repository, new: Any, old: dict[str, Any]) -> None:
    """Merge pytest's settings from whatever file has them."""
    settings: dict[str, Any] = {}
    for name, section in PYTEST.items():
        parser = configparser.ConfigParser(interpolation=None)
        if section:
            parser.read_string(repository.old(name))
            settings = dict(parser[section]) if parser.has_section(section) else {}
        else:
            table = old.get("tool", {}).get("pytest", {})
            settings = dict(table.get("ini_options", table))
        if settings and name.endswith("pytest.ini"):
            (repository.folder / name).unlink(missing_ok=True)
            print(f"  {name} (removed: its settings are in pyproject.toml)")
        if settings:
            break
    tests = [name for name in repository.had if re.search(r"(^|/)(test_\w+|\w+_test)\.py$", name)]
    if not tests:
        return
    # Existing warnings must not fail pytest; the old filters stay.
    filters = words(settings.get("filterwarnings", []), "filterwarnings")
    settings["filterwarnings"] = filters if "error" in filters else ["default", *filters]
    outside = {str(Path(name).parent) for name in tests if not name.startswith("tests/")}
    settings.setdefault("testpaths", sorted(outside))
    target = new["tool"]["pytest"]["ini_options"]
    for key, value in settings.items():
        if key in target and isinstance(target[key], Array):
            add(target[key], words(value, key))
        elif key == "markers":
            target[key] = tomlkit.item(words(value, key)).multiline(multiline=True)
        else:
            target.setdefault(key, value)
    # pyrefly has to find what tests can import.
    add(new["tool"]["pyrefly"]["search-path"], words(settings.get("pythonpath", []), "pythonpath"))


def add_packages(repository: Repository, new: Any) -> None:
    """Add the existing packages to the build and to the type checks."""
    code = [Path(name).parts for name in repository.had if name.endswith(".py")]
    folders = {parts[0] for parts in code if len(parts) > 1 and not parts[0].startswith(".")}
    # A namespace has its first `__init__.py` one folder below.
    found = {parts[0] for parts in code if parts[-1] == "__init__.py" and len(parts) in (2, 3)}
    packages = {f"src/{parts[1]}" for parts in code if parts[0] == "src" and len(parts) > 2}
    packages |= (found & folders) - NO_PACKAGES
    add(new["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], sorted(packages))
    add(new["tool"]["pyrefly"]["project-includes"], sorted(folders))


def merge_settings(repository: Repository) -> None:
    """Merge pyproject.toml."""
    old = old_project(repository)
    path = repository.folder / "pyproject.toml"
    new = tomlkit.parse(path.read_text(encoding="utf-8"))
    merge(new, old, repository.todo)
    merge_dependencies(new, old, repository.todo)
    merge_pytest(repository, new, old)
    add_packages(repository, new)
    repository.write("pyproject.toml", tomlkit.dumps(new))
    version = old.get("project", {}).get("version")
    if version and not repository.git("tag", "--list", f"v{version}"):
        repository.todo.append(f"the version comes from git tags now: `git tag v{version}`")


def merge_ignored(repository: Repository) -> None:
    """Put the template's patterns before those of .gitignore, which `copier copy` has kept."""
    text = repository.old(".gitignore")
    if text and MARK not in (repository.folder / ".gitignore").read_text(errors="replace"):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(repository.folder / ANSWERS, folder)
            words = [
                "uvx",
                "copier",
                "recopy",
                "-q",
                "--defaults",
                "--overwrite",
                "-r",
                ":current:",
            ]
            succeed(*words, "-x", "**", "-x", "!/.gitignore", cwd=folder)
            patterns = Path(folder, ".gitignore").read_text(encoding="utf-8").rstrip()
        repository.write(".gitignore", f"{patterns}\n{text}")
    hidden = repository.git("ls-files", "--cached", "--ignored", "--exclude-standard").split()
    for name in sorted({name.split("/")[0] for name in hidden}):
        repository.todo.append(f".gitignore hides new files of {name}: end it with `!/{name}`")


def share_fixtures(repository: Repository) -> None:
    """Add the template's fixtures to an existing conftest.py."""
    name = "tests/conftest.py"
    text = repository.old(name)
    tests = repository.folder / "tests"
    plugins = [one for one in ("prefect_server", "databases") if (tests / f"{one}.py").is_file()]
    if "pytest_plugins" in text:
        repository.todo.append(f"{name}: add {plugins} to its `pytest_plugins`")
    elif text:
        line = f"pytest_plugins = {plugins}  # fixtures of the template".replace("'", '"')
        repository.write(name, f"{text.rstrip()}\n\n{line}\n")


def look(repository: Repository) -> None:
    """Print what the user has to decide."""
    changed = repository.git("diff", "--name-only", "--relative", "-z", "--diff-filter=M", "HEAD")
    merged = ("pyproject.toml", ".gitignore", "tests/conftest.py", "uv.lock")
    for name in changed.split("\0")[:-1]:
        if name not in merged:
            repository.todo.append(f"{name} is the template's now: `git diff {shlex.quote(name)}`")
    for name in {*MASKS, *SPENT} & set(repository.had):
        what = "overrides pyproject.toml: move it there" if name in MASKS else "may be obsolete"
        repository.todo.append(f"{name} {what}")
    if "LICENSE" not in repository.had:
        repository.todo.append("LICENSE is new: is it yours?")


def adopt(repository: Repository) -> None:
    """Merge everything, and print what is left to do."""
    if ANSWERS in repository.had:
        raise StopError(f"It is adopted already: the last commit has {ANSWERS}.")
    print("Merged:")
    merge_ignored(repository)
    merge_settings(repository)
    share_fixtures(repository)
    look(repository)
    print("\nLook at these:" if repository.todo else "\nNothing is left to look at.")
    for line in repository.todo:
        print(f"  - {line}")


def accept(repository: Repository) -> None:
    """Format the code, and suppress each finding of ruff and pyrefly where it is."""
    if repository.git("status", "--porcelain", "--untracked-files=no"):
        raise StopError("Commit the merged files first, so that this is a separate commit.")

    def tool(*words: str) -> subprocess.CompletedProcess[str]:
        return run("uv", "run", *words, cwd=repository.folder)

    # Formatting moves some comments away from their code, so repeat it.
    for turn in range(6):
        tool("ruff", "format", "--quiet")
        checks = {name: tool(name, "check") for name in ("ruff", "pyrefly")}
        for name, check in checks.items():
            count = re.findall(r"(?:^|\s)(\d+) errors?\b", check.stdout + check.stderr)
            if turn == 0:
                print(f"{name}: {count[-1] if count else 0} errors")
        if not any(check.returncode for check in checks.values()):
            return
        tool("pyrefly", "suppress", "--remove-unused")
        tool("pyrefly", "suppress")
        tool("ruff", "check", "--quiet", "--fix", "--fixable", "RUF100")
        tool("ruff", "check", "--quiet", "--add-noqa")
    raise StopError("Findings are left: see `uv run ruff check` and `uv run pyrefly check`.")


def main() -> int:
    """Merge, and print what is left to do; or suppress what the tools find."""
    parser = argparse.ArgumentParser(
        description="Merge a repository's settings into the template's files, after `copier copy`.",
        epilog="Exit code: 0 done, 1 something has to be done first, 2 wrong usage.",
    )
    parser.add_argument("project", nargs="?", default=".", type=Path, help="folder (default: .)")
    accepts = "format the code, and suppress today's findings"
    parser.add_argument("--baseline", action="store_true", help=accepts)
    options = parser.parse_args()
    if not (options.project / ANSWERS).is_file():
        parser.error(f"{options.project} holds no {ANSWERS}: run `copier copy` over it first.")
    try:
        repository = Repository(options.project)
        (accept if options.baseline else adopt)(repository)
    except StopError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
