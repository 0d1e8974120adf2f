"""Add a block or a task to this project, with its export and its test.

What is written is complete and passes the project's checks; a TODO says where your own step goes.
If anything is in the way, nothing is written.
"""

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

from ..common import errors

if TYPE_CHECKING:
    import argparse

HELP = "add a block or a task to this project"
PACKAGE = __name__.partition(".")[0]
SOURCE = f"src/{PACKAGE}"
NAMES = {"block": "[A-Z][A-Za-z0-9]{0,39}", "task": "[a-z][a-z0-9_]{0,39}"}
LIKE = {"block": "like Repository: letters and digits", "task": "like close_issues: a-z, 0-9 and _"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what can be added."""
    words = parser.add_subparsers(dest="part", required=True, metavar="WHAT")
    for part, example in LIKE.items():
        text = f"a {part}, exported, with its test"
        word = words.add_parser(part, help=text, description=f"Add {text}.")
        word.add_argument("name", metavar="NAME", help=example)
        word.add_argument("--dry-run", action="store_true", help="show the changes, make none")
        if part == "task":
            word.add_argument("--writes", action="store_true", help="it writes, which is done once")


def run(arguments: argparse.Namespace) -> None:
    """Plan the changes, then write or show them.

    Raises:
        PermanentError: Something is in the way. Nothing was written.
    """
    root, changes = _root(), _plan(arguments)
    for path, text in changes.items():
        target = root / path
        old = target.read_text(encoding="utf-8") if target.exists() else None
        if arguments.dry_run:
            lines = ((old or "").splitlines(keepends=True), text.splitlines(keepends=True))
            names = ("/dev/null" if old is None else f"a/{path}", f"b/{path}")
            print("".join(difflib.unified_diff(*lines, *names)), end="")
        else:
            newline = "\r\n" if old is not None and b"\r\n" in target.read_bytes() else "\n"
            target.write_text(text, encoding="utf-8", newline=newline)
            print(f"{'wrote' if old is None else 'changed'} {path}")
    if not arguments.dry_run:
        print(f"Next: edit {next(iter(changes))}, then run `uv run pytest`.")


def _plan(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the new texts of files by their paths."""
    from .. import blocks

    part, name = arguments.part, arguments.name
    taken = keyword.iskeyword(name.lower()) or hasattr(builtins, name) or name.startswith("test_")
    if not re.fullmatch(NAMES[part], name) or taken:
        message = f"{name!r} is no name for a {part}. Take one {LIKE[part]}, 40 at most,"
        raise errors.PermanentError(f"{message} and no word of Python's own.")
    credentials = next((one for one in blocks.__all__ if one.endswith("Credentials")), None)
    if credentials is None:
        raise errors.PermanentError(f"{SOURCE}/blocks exports no credentials: bring them back.")
    prefix = credentials.removesuffix("Credentials")
    short = name.removeprefix(prefix) or name
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_", " ", short)
    module, folder = words.replace(" ", "_").lower(), f"{part}s"
    if part == "block":
        name = f"{prefix}{short}"
        call = f'{name}(credentials=credentials, path="things/7").read()'
    else:
        module, call = f"{module}_task", f'{name}.fn(credentials, "things/7")'
    names = {"package": PACKAGE, "credentials": credentials, "name": name, "folder": folder}
    names |= {"slug": words.replace(" ", "-").lower(), "words": words, "call": call}
    code, test = CODE["writing" if getattr(arguments, "writes", False) else part]
    other = re.compile(rf"^(from|import) .*\b{name}\b|\b{name}: ", re.MULTILINE)
    tests = f"tests/test_{module.removesuffix('_task')}_{part}.py"
    changes: dict[str, str] = {}
    for path, text in {f"{SOURCE}/{folder}/{module}.py": code, tests: test}.items():
        if (_root() / path).exists():
            raise errors.PermanentError(f"{path} already exists: choose another name.")
        if other.search(text):
            message = f"{path} needs the name {name} for something else: choose another."
            raise errors.PermanentError(message)
        changes[path] = _tidy(path, string.Template(text).substitute(names))
    exporting = f"{SOURCE}/{folder}/__init__.py"
    changes[exporting] = _export(exporting, module, name)
    return changes


def _export(path: str, module: str, name: str) -> str:
    """Return the text of a package that exports one name more."""
    try:
        text = (_root() / path).read_text(encoding="utf-8")
        [listed] = [
            node
            for node in ast.parse(text).body
            if isinstance(node, ast.Assign | ast.AnnAssign) and "__all__" in ast.unparse(node)
        ]
        old = ast.get_source_segment(text, listed) or ""
        exported = ast.literal_eval(listed.value or ast.Tuple([]))
    except (OSError, SyntaxError, ValueError) as error:
        message = f"{path} has no plain __all__ ({error}): export {name} there by hand."
        raise errors.PermanentError(message) from error
    if "#" in old or not isinstance(exported, list):
        raise errors.PermanentError(f"{path} has no plain __all__: export {name} there by hand.")
    if name in exported:
        raise errors.PermanentError(f"{path} already exports {name}: choose another name.")
    items = "".join(f"    {json.dumps(one)},\n" for one in [*exported, name])
    new = f"from .{module} import {name}\n\n__all__ = [\n{items}]"
    return _tidy(path, text.replace(old, new, 1))


def _tidy(path: str, text: str) -> str:
    """Return the text of a Python file with its imports and its `__all__` sorted, formatted."""
    for words in (("check", "--fix-only", "--select", "I001,RUF022"), ("format",)):
        done = subprocess.run(  # noqa: S603 - the project's own ruff, on the project's own text
            [sys.executable, "-m", "ruff", *words, "--quiet", "--stdin-filename", path, "-"],
            cwd=_root(),
            input=text,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode:
            raise errors.PermanentError(f"ruff cannot read {path}: {done.stderr.strip()}")
        text = done.stdout
    return text


def _root() -> Path:
    """Return the folder of the project: the current one, or one above it."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "pyproject.toml").is_file() and (folder / SOURCE).is_dir():
            return folder
    raise errors.PermanentError(f"This is not the project of {PACKAGE}: go to its folder first.")


IMPORTS = """from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..blocks import names
from ..common import http, reporting, retries

if TYPE_CHECKING:
    from ..blocks import $credentials

"""
TASK = f'''"""The task $name."""

{IMPORTS}
@task(task_run_name="$slug-{{path}}", cache_policy=NO_CACHE, **retries.TRANSIENT)
def $name(credentials: $credentials, path: str) -> dict[str, Any]:
    """Return the record at a path below the base URL."""
    # TODO: put your own step here; say above what it does.
    with credentials.get_client() as client:
        record = http.read_json(names.SYSTEM, client.get(path))
    reporting.logger(__name__).info("Read %s", path)
    return record
'''
WRITING = f'''"""The task $name, which writes."""

{IMPORTS}
# Retried only where nothing was written: else the outcome is unknown, which is permanent.
@task(task_run_name="$slug-{{path}}", cache_policy=NO_CACHE, **retries.TRANSIENT)
def $name(credentials: $credentials, path: str, record: dict[str, Any]) -> dict[str, Any]:
    """Add a record to a collection, once, and return what the system says of it.

    Raises:
        OutcomeUnknownError: It may have been added: look before you run this again.
    """
    # TODO: put your own step here. If the system knows the header Idempotency-Key, send one that
    # is the same whenever this is repeated, and it will be.
    with credentials.get_client() as client:
        created = http.read_json(names.SYSTEM, client.post(path, json=record))
    reporting.logger(__name__).info("Added a record to %s", path)
    return created
'''
BLOCK = '''"""The block $name."""

from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field

from ..common import http
from . import names
from .credentials import $credentials


class $name(Block):
    """Reads what is at a path of the system.

    Example:
        Load it and read:

        ```python
        from $package import $name

        block = $name.load("BLOCK_NAME")
        print(block.read())
        ```
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    _block_type_name: ClassVar[str | None] = f"{names.SYSTEM} $words"
    _block_type_slug: ClassVar[str | None] = f"{names.SLUG}-$slug"
    _logo_url: ClassVar[Any] = names.LOGO_URL
    _documentation_url: ClassVar[Any] = names.DOCUMENTATION_URL

    credentials: $credentials = Field(description="Address of the system, and what opens it.")
    path: str = Field(description="Path below the base URL.")

    def read(self) -> Any:
        """Return what is at the path, from JSON."""
        # TODO: put what your block does here, and its fields above.
        with self.credentials.get_client() as client:
            return http.read_json(names.SYSTEM, client.get(self.path))
'''
TEST = """from local_server import Answer, FileServer

from $package import $credentials
from $package.$folder import $name


def test_the_path_is_read(web: FileServer, credentials: $credentials) -> None:
    web.put("/api/things/7", Answer(body=b'{"id": 7}'))
    assert $call == {"id": 7}
"""
WRITING_TEST = """import pytest
from local_server import Answer, FileServer

from $package import $credentials
from $package.common import http
from $package.tasks import $name


def test_the_record_is_sent(web: FileServer, credentials: $credentials) -> None:
    web.put("/api/things", Answer(status=201, body=b'{"id": 7}'))
    assert $name.fn(credentials, "things", {"name": "a"}) == {"id": 7}
    assert web.bodies == [b'{"name":"a"}']


def test_it_is_not_sent_twice(web: FileServer, credentials: $credentials) -> None:
    web.put("/api/things", Answer(status=502))
    with pytest.raises(http.OutcomeUnknownError):
        $name.fn(credentials, "things", {"name": "a"})
    assert len(web.requests) == 1
"""
CODE = {"block": (BLOCK, TEST), "task": (TASK, TEST), "writing": (WRITING, WRITING_TEST)}
