"""Add a block or a task to this project, with its export and its test.

The new code works and passes the project's checks; put your own code at the line marked TODO.
If the command cannot do what you ask, it writes nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..common import errors
from .edits import PACKAGE, SOURCE, check_name, export, fill, write

if TYPE_CHECKING:
    import argparse

HELP = "add a block or a task to this project"
NAMES = {"block": "[A-Z][A-Za-z0-9]{0,39}", "task": "[a-z][a-z0-9_]{0,39}"}
LIKE = {
    "block": "a capital, then letters and digits, such as Repository",
    "task": "a-z, 0-9 and _, such as close_issues",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what can be added."""
    words = parser.add_subparsers(dest="part", required=True, metavar="WHAT")
    for part, example in LIKE.items():
        text = f"a {part}, exported, with its test"
        word = words.add_parser(part, help=text, description=f"Add {text}.")
        word.add_argument("name", metavar="NAME", help=example)
        word.add_argument("--dry-run", action="store_true", help="only show the changes")
        if part == "task":
            word.add_argument("--writes", action="store_true", help="send its request only once")


def run(arguments: argparse.Namespace) -> None:
    """Plan the changes, then write or show them.

    Raises:
        PermanentError: The command cannot do it; the message says why. Nothing is written.
    """
    changes = _plan(arguments)
    write(changes, dry_run=arguments.dry_run)
    if not arguments.dry_run:
        print(f"Next: edit {next(iter(changes))}, then run `uv run pytest`.")


def _plan(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the new texts of files by their paths."""
    from .. import blocks

    part, name = arguments.part, arguments.name
    # pytest would collect a function whose name begins with test_.
    check_name(name, f"(?!test_){NAMES[part]}", LIKE[part])
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
    tests = f"tests/test_{module.removesuffix('_task')}_{part}.py"
    changes = fill({f"{SOURCE}/{folder}/{module}.py": code, tests: test}, names, name)
    exporting = f"{SOURCE}/{folder}/__init__.py"
    changes[exporting] = export(exporting, module, name)
    return changes


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
        OutcomeUnknownError: The record may have been added: look before you run this again.
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
