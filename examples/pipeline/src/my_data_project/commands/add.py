"""Add a table, a derived table, a flow or a task to this project.

A table becomes an entry in flows/tables.py, filled in from the source. The others are new files
with a test each; a flow also gets a deployment in prefect.yaml. If the command cannot do what you
ask, it writes nothing.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from ..common import errors, settings
from .discover import TABLES, choose_target, insert, propose, read_list
from .edits import PACKAGE, check_name, fill, read, write

if TYPE_CHECKING:
    import argparse

HELP = "add a table, a derived table, a flow or a task to this project"
PARTS = {
    "table": "a table of the source, with its key and cursor",
    "derived": "a table built by a SELECT statement, with its test",
    "flow": "a flow, with its deployment and its test",
    "task": "a task, with its test",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what can be added."""
    words = parser.add_subparsers(dest="part", required=True, metavar="WHAT")
    for part, text in PARTS.items():
        word = words.add_parser(part, help=text, description=f"Add {text}.")
        word.add_argument("name", metavar="NAME")
        word.add_argument("--dry-run", action="store_true", help="only show the changes")
        if part == "table":
            word.add_argument("--source", metavar="S", help="a named source, SOURCE_URLS__<S>")
            word.add_argument("--schema", metavar="S", help="its schema in the source")
            word.add_argument("--target", metavar="T", help="its name in the warehouse")
            word.add_argument("--key", metavar="A,B", help="columns that identify a row")
            word.add_argument("--cursor", metavar="C", help="column that rises with each change")
            word.add_argument("--mode", choices=("full", "incremental", "append"))


def run(arguments: argparse.Namespace) -> None:
    """Plan the changes, then write or show them.

    Raises:
        PermanentError: The command cannot do it; the message says why. Nothing is written.
    """
    changes = _table(arguments) if arguments.part == "table" else _files(arguments)
    write(changes, dry_run=arguments.dry_run)
    if not arguments.dry_run:
        print(f"Next: edit {next(iter(changes))}, then run `uv run pytest`.")
        if arguments.part == "derived":
            print(f"To build it: `uv run {settings.PROJECT} ingest --transform`.")


def _table(arguments: argparse.Namespace) -> dict[str, str]:
    from ..common import db_utils, readers

    source, schema, name = arguments.source, arguments.schema, arguments.name
    is_listed, taken, targets = read_list(source, schema)
    if is_listed(name) and arguments.target is None:
        message = f"flows/tables.py already has {name}; --target loads it a second time."
        raise errors.PermanentError(message)
    [found] = readers.describe(db_utils.source_url(source), schema, name)
    columns = [column.name for column in found.columns]
    key = tuple(column for column in re.split(" *, *", arguments.key or "") if column)
    for column in (*key, *filter(None, [arguments.cursor])):
        if column not in columns:
            message = f"{name} has no column {column!r}. Columns: {', '.join(columns)}."
            raise errors.PermanentError(message)
    given = {word: getattr(arguments, word) for word in ("schema", "source", "target", "mode")}
    given |= {"key": key, "cursor": arguments.cursor}
    targets[found.name] = choose_target(found.name, taken, given)
    return {TABLES: insert([propose(found, targets, given)])}


def _files(arguments: argparse.Namespace) -> dict[str, str]:
    part, name = arguments.part, arguments.name
    check_name(name, "[a-z][a-z0-9_]{0,39}", "lower-case letters, digits and _")
    if part == "derived" and name in read_list(None, None)[1]:
        raise errors.PermanentError(f"There is already a table {name}: choose another name.")
    names = {"package": PACKAGE, "name": name, "title": name.replace("_", "-")}
    names |= {"module": f"{name.removesuffix('_flow')}_flow", "words": name.replace("_", " ")}
    changes = fill(FILES[part], names, name)
    if part == "flow":
        changes["prefect.yaml"] = _deploy(f"{PACKAGE}.flows.{names['module']}.{name}")
    return changes


def _deploy(entrypoint: str) -> str:
    """Return prefect.yaml with one more deployment, with the same name, tags and work pool."""
    import yaml

    text = read("prefect.yaml")
    with contextlib.suppress(yaml.YAMLError, AttributeError, LookupError, TypeError, StopIteration):
        nodes = yaml.compose(text, yaml.SafeLoader).value
        listed = next(node for key, node in nodes if key.value == "deployments")
        # A comment at the left margin belongs to the next key.
        head = re.sub(r"(\n(#.*)?)*\Z", "", text[: listed.end_mark.index])
        lines = ("- name: *name", f"  entrypoint: {entrypoint}", "  tags: *tags")
        indent = f"\n{' ' * listed.start_mark.column}"
        entry = indent.join(("\n", *lines, "  work_pool: *work_pool"))
        new = f"{head}{entry}\n{text[len(head) :].removeprefix(chr(10))}"
        after = yaml.safe_load(new)
        added = after["deployments"].pop()
        if after == yaml.safe_load(text) and added["entrypoint"] == entrypoint:
            return new
    message = f"prefect.yaml has an unknown layout: add {entrypoint} by hand."
    raise errors.PermanentError(message)


TASK = '''"""The task $name."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..common import retries, warehouse


# Not cached: it depends on what is in the warehouse, not on its arguments.
@task(task_run_name="$title-{table}", cache_policy=NO_CACHE, **retries.TRANSIENT)
def $name(table: str) -> int:
    """Count the rows of an ingested table."""
    # TODO: put your own step here, with what it needs as arguments; describe it above.
    with warehouse.connect() as w:
        return int(w.query(f"SELECT COUNT(*) FROM {w.name(w.raw, table)}")[0][0])
'''
FLOW = '''"""The flow $title."""

from prefect import flow

from ..common import runs
from ..tasks import notifications


@flow(
    name="$title",
    flow_run_name=lambda: runs.name_run("$words"),
    on_failure=[notifications.alert_on_failure],
    on_crashed=[notifications.alert_on_failure],
)
def $name() -> bool:
    """Post a message, and tell whether a webhook is set."""
    # TODO: put your own tasks here; say above what they do.
    return notifications.send_slack_alert("$words: done.")
'''
TASK_TEST = """from $package.common import warehouse
from $package.tasks import $name as module


def test_rows_are_counted() -> None:
    with warehouse.connect() as w:
        w.execute(f"CREATE SCHEMA {w.quote(w.raw)}")
        w.execute(f"CREATE TABLE {w.name(w.raw, 'numbers')} AS SELECT 1 AS id")
    assert module.$name.fn("numbers") == 1
"""
FLOW_TEST = """from $package.flows import $module as module


def test_without_a_webhook_nothing_is_posted(prefect_server: str) -> None:
    assert module.$name() is False
"""
SQL = """-- TODO: say here what a row stands for, and select it FROM raw.<table>.
SELECT 1 AS id
"""
CASES = """# tests/sql_cases.py says how to write cases.
one row is made:
  given: {}
  expect:
    - {id: 1}
"""
FILES = {
    "derived": {f"src/{PACKAGE}/sql/$name.sql": SQL, f"src/{PACKAGE}/sql/$name.yml": CASES},
    "flow": {f"src/{PACKAGE}/flows/$module.py": FLOW, "tests/test_$module.py": FLOW_TEST},
    "task": {f"src/{PACKAGE}/tasks/$name.py": TASK, "tests/test_$name.py": TASK_TEST},
}
"""What each part is made of: the texts of files by their paths."""
