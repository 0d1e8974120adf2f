"""How commands change files of this project: they write all changes, or show them as a diff."""

from __future__ import annotations

import ast
import builtins
import difflib
import json
import keyword
import re
import string
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from my_task_library.common import errors

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

PACKAGE = "my_task_library"
SOURCE = f"src/{PACKAGE}"


def root() -> Path:
    """Return the folder of the project: the current one, or one above it."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "pyproject.toml").is_file() and (folder / SOURCE).is_dir():
            return folder
    raise errors.PermanentError(f"This is not the project of {PACKAGE}: go to its folder first.")


def read(path: str) -> str:
    """Return the text of a file of the project."""
    try:
        return (root() / path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.PermanentError(f"{path} cannot be read: {error}.") from error


def write(changes: Mapping[str, str], *, dry_run: bool) -> None:
    """Write files, or show what would change as a diff."""
    for path, text in changes.items():
        target = root() / path
        old = read(path) if target.exists() else None
        if dry_run:
            lines = ((old or "").splitlines(keepends=True), text.splitlines(keepends=True))
            names = ("/dev/null" if old is None else f"a/{path}", f"b/{path}")
            print("".join(difflib.unified_diff(*lines, *names)), end="")
            continue
        newline = "\r\n" if old is not None and b"\r\n" in target.read_bytes() else "\n"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8", newline=newline)
        except OSError as error:
            raise errors.PermanentError(f"{path} cannot be written: {error}.") from error
        print(f"{'wrote' if old is None else 'changed'} {path}")


def tidy(path: str, text: str, imports: Collection[str] = ()) -> str:
    """Return the text of a Python file, with imports added and sorted, as ruff formats it."""
    required = f"lint.isort.required-imports={json.dumps([*imports])}"
    fix = ("check", "--fix-only", "--select", "I001,I002,RUF022", "--config", required)
    for words in (fix, ("format",)):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "--quiet", "--stdin-filename", path, "-"],
            cwd=root(),
            input=text,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode:
            raise errors.PermanentError(f"ruff cannot format {path}: {done.stderr.strip()}")
        text = done.stdout
    return text


def check_name(name: str, pattern: str, wanted: str) -> None:
    """Refuse a name that does not match, or that Python has already; say what is wanted."""
    words = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins)}
    if not re.fullmatch(pattern, name) or name in words or keyword.iskeyword(name.lower()):
        message = f"{name!r} is not a valid name: use {wanted}, at most 40,"
        raise errors.PermanentError(f"{message} and no keyword or builtin of Python.")


def fill(files: Mapping[str, str], names: Mapping[str, str], name: str) -> dict[str, str]:
    """Return new files by their paths, both filled templates; refuse a name that exists."""
    changes: dict[str, str] = {}
    for template, text in files.items():
        path = string.Template(template).substitute(names)
        if (root() / path).exists():
            raise errors.PermanentError(f"{path} already exists: choose another name.")
        is_python = path.endswith(".py")
        other = rf"^(from|import) .*\b{name}\b|\b{name}: "
        if is_python and re.search(other, text, re.MULTILINE):
            message = f"{path} needs the name {name} for something else: choose another."
            raise errors.PermanentError(message)
        filled = string.Template(text).substitute(names)
        changes[path] = tidy(path, filled) if is_python else filled
    return changes


def export(path: str, module: str, name: str) -> str:
    """Return the text of a package's `__init__.py` with one more name, if `__all__` is a list."""
    text, old, exported = read(path), "", None
    try:
        for node in ast.parse(text).body:
            is_set = isinstance(node, ast.Assign | ast.AnnAssign)
            if is_set and ast.unparse(node).startswith("__all__"):
                old = ast.get_source_segment(text, node) or ""
                exported = ast.literal_eval(node.value or ast.Tuple([]))
    except (SyntaxError, ValueError):
        exported = None
    if "#" in old or not isinstance(exported, list):
        raise errors.PermanentError(f"{path} has no plain __all__: export {name} there by hand.")
    if name in exported:
        raise errors.PermanentError(f"{path} already exports {name}: choose another name.")
    items = "".join(f"    {json.dumps(one)},\n" for one in [*exported, name])
    new = f"from .{module} import {name}\n\n__all__ = [\n{items}]"
    return tidy(path, text.replace(old, new, 1))
