"""Add a namespace or a task to this library, with its test, exports and changelog entry.

The new code works and passes the project's checks; put your own code at the line marked TODO.
If the command cannot do what you ask, it writes nothing.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib

from edits import PACKAGE, SOURCE, check_name, errors, export, fill, read, root, write

PARTS = {
    "namespace": "a package of tasks, with a first task and optionally an extra",
    "task": "a task of a namespace, with its export and its test",
}
NAME = "lower-case letters, digits and _"
NOT_NAMESPACES = {"commands", "common"}


def main(words: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 1 after an error message."""
    try:
        add(parser().parse_args(words))
    except errors.PermanentError as error:
        print(f"add: {error}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """Declare what can be added."""
    made = argparse.ArgumentParser(description=__doc__)
    words = made.add_subparsers(dest="part", required=True, metavar="WHAT")
    for part, text in PARTS.items():
        word = words.add_parser(part, help=text, description=f"Add {text}.")
        word.add_argument("name", metavar="NAME", help=f"its name: {NAME}")
        if part == "task":
            word.add_argument("--namespace", metavar="N", help="namespace, if there are several")
        else:
            word.add_argument("--task", metavar="T", help="its first task (default: use_NAME)")
            word.add_argument("--extra", metavar="E", help="extra for what only its tasks import")
        word.add_argument("--dry-run", action="store_true", help="only show the changes")
    return made


def add(arguments: argparse.Namespace) -> None:
    """Plan the changes, then write or show them.

    Raises:
        PermanentError: The command cannot do it; the message says why. Nothing is written.
    """
    name = arguments.name
    check_name(name, "(?!test_)[a-z][a-z0-9_]{0,39}", NAME)
    if arguments.part == "namespace":
        changes = _namespace(name, arguments.task or f"use_{name}"[:40], arguments.extra)
    else:
        changes = _task(name, _chosen(arguments.namespace))
    write(changes, dry_run=arguments.dry_run)
    if arguments.dry_run:
        return
    if getattr(arguments, "extra", None):
        print(f"Next: uv add --optional {arguments.extra} PACKAGE for what it needs, or uv lock.")
    print(f"Next: edit {next(iter(changes))}, then run `uv run pytest`.")


def _chosen(given: str | None) -> str:
    """Return the namespace to add to."""
    found = sorted(path.parent.name for path in (root() / SOURCE).glob("*/__init__.py"))
    spaces = [space for space in found if space not in NOT_NAMESPACES]
    if given is None and len(spaces) == 1:
        return spaces[0]
    if given not in spaces:
        message = f"There is no namespace {given}" if given else "Say which, by --namespace"
        raise errors.PermanentError(f"{message}. Namespaces: {', '.join(spaces)}.")
    return given


def _task(name: str, space: str) -> dict[str, str]:
    changes = _files(name, space)
    exporting = f"{SOURCE}/{space}/__init__.py"
    changes[exporting] = export(exporting, f"{name}_task", name)
    readme = read("README.md")
    row = rf"(?m)^(\| `{PACKAGE}\.{space}` \| `\w+`(?:, `\w+`)*)(?= \|)"
    if (told := re.sub(row, rf"\1, `{name}`", readme)) != readme:
        changes["README.md"] = told
    return _told(changes, name, space)


def _namespace(name: str, task: str, extra: str | None) -> dict[str, str]:
    if name in NOT_NAMESPACES:
        raise errors.PermanentError(f"The template needs the name {name}: choose another.")
    if taken := [*(root() / SOURCE).glob(f"{name}.*"), *(root() / SOURCE).glob(name)]:
        message = f"{SOURCE}/{taken[0].name} already exists: choose another name."
        raise errors.PermanentError(message)
    check_name(task, "(?!test_)[a-z][a-z0-9_]{0,39}", NAME)
    project = _with_extra(read("pyproject.toml"), extra) if extra else None
    changes = _files(task, name)
    names = {"name": task, "space": name}
    changes |= fill({f"{SOURCE}/$space/__init__.py": PACKAGE_CODE}, names, task)
    if project:
        changes["pyproject.toml"] = project
    readme = read("README.md")
    row = f"| `{PACKAGE}.{name}` | `{task}` | {f'`{extra}`' if extra else 'none'} |\n"
    # After the last row, or after the header of the table.
    line = rf"(?m)^\| (`{PACKAGE}\.\w+` \|.*\n|import from .*\n\|.*\n)"
    if rows := list(re.finditer(line, readme)):
        at = rows[-1].end()
        changes["README.md"] = f"{readme[:at]}{row}{readme[at:]}"
    return _told(changes, task, name)


def _files(name: str, space: str) -> dict[str, str]:
    """Return a task's module and its test; with its suffix, the module does not hide the task."""
    names = {"package": PACKAGE, "name": name, "title": name.replace("_", "-"), "space": space}
    files = {f"{SOURCE}/$space/${{name}}_task.py": TASK, "tests/test_${name}_task.py": TEST}
    return fill(files, names, name)


def _told(changes: dict[str, str], name: str, space: str) -> dict[str, str]:
    """Add a line to the changelog, if there is one, and return all changes."""
    if not (root() / "CHANGELOG.md").exists():
        return changes
    text, line = read("CHANGELOG.md"), f"- `{name}` in `{PACKAGE}.{space}`: a new task.\n"
    if heading := re.search(r"(?im)^## \[?unreleased\b.*$", text):
        before, rest = text[: heading.end()], text[heading.end() :].lstrip("\n")
    else:
        first = re.search(r"(?m)^## |\Z", text)
        at = first.start() if first else len(text)
        before, rest = f"{text[:at]}## Unreleased", text[at:]
    gap = "\n" if rest and not rest.startswith(("- ", "* ")) else ""
    changes["CHANGELOG.md"] = f"{before}\n\n{line}{gap}{rest}"
    return changes


def _with_extra(text: str, extra: str) -> str:
    """Return pyproject.toml with one more extra, which `all` and `dev` include."""
    if not re.fullmatch("[a-z][a-z0-9-]{0,39}", extra) or extra in {"all", "dev"}:
        message = f"{extra!r} is not a valid extra: use lower-case letters, digits and -,"
        raise errors.PermanentError(f"{message} at most 40, and neither 'all' nor 'dev'.")
    unknown = f"pyproject.toml has an unknown layout: add the extra {extra} there by hand first."
    try:
        project = tomllib.loads(text)["project"]
        name, had = project["name"], project["optional-dependencies"]
        if extra in had:
            return text
        new = re.sub(
            r"(?ms)^(all = \[\n(?:  .*?\n)??)(\]\n)",
            rf'\1  "{name}[{extra}]",\n\2{extra} = [\n  # uv add --optional {extra} NAME\n]\n',
            text,
            count=1,
        )
        has = tomllib.loads(new)["project"]["optional-dependencies"]
        nothing: list[str] = []
        wanted = {**had, extra: nothing, "all": [*had["all"], f"{name}[{extra}]"]}
        in_dev = f"{name}[all]" in had["dev"]
    except (tomllib.TOMLDecodeError, LookupError) as error:
        raise errors.PermanentError(unknown) from error
    if has != wanted or not in_dev:
        raise errors.PermanentError(unknown)
    return new


PACKAGE_CODE = '''"""Tasks of $space.

Importing this takes little longer than importing Prefect: other dependencies are imported
when a task is called.
"""

from .${name}_task import $name

__all__ = ["$name"]
'''
TASK = '''"""The task $name."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..common import errors, reporting, retries


# Not cached: the file may have changed since.
@task(task_run_name="$title-{path}", cache_policy=NO_CACHE, **retries.TRANSIENT)
def $name(path: str) -> int:
    """Count the line breaks in a file.

    Raises:
        PermanentError: It cannot be read.
    """
    # TODO: put your own step here, with what it needs as arguments; then describe it above. What
    # an extra installs is imported here too, in `with extras.required("name of the extra"):`.
    try:
        count = Path(path).read_bytes().count(b"\\n")
    except OSError as error:
        raise errors.PermanentError(f"{path} cannot be read: {error.strerror}.") from error
    reporting.logger(__name__).info("%s has %s line breaks", path, f"{count:,}")
    return count
'''
TEST = """from pathlib import Path

import pytest

from $package import $space as module
from $package.common import errors


def test_line_breaks_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"1\\n2\\n")
    assert module.$name.fn(str(path)) == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(errors.PermanentError, match="cannot be read: No such file"):
        module.$name.fn(str(tmp_path / "a.txt"))
"""

if __name__ == "__main__":
    sys.exit(main())
