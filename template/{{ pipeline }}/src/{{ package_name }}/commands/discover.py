"""Read a source, and propose entries of flows/tables.py for its tables.

Keys, cursors and rules come from the primary keys, the columns with the time of a change, and the
constraints of the database. Tables that are already listed are left out. The change is printed as
a diff; --write applies it.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common import errors
from ..common.table import UNUSABLE, Table
from .edits import PACKAGE, read, tidy, write

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Collection, Mapping

    from ..common.readers import Relation

HELP = "read the source, and propose its tables for flows/tables.py"

TABLES = f"src/{PACKAGE}/flows/tables.py"
IMPORTS = {"Table": "from ..common.table import Table", "rules": "from ..common import rules"}
OF_WAREHOUSES = ("_dlt", "_ingestions")
CHANGED = re.compile("updat|modif|chang|edited|revis", re.IGNORECASE)
CREATED = re.compile("creat|insert|added|logged|occurred", re.IGNORECASE)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--source", metavar="NAME", help="a named source, SOURCE_URLS__<NAME>")
    parser.add_argument("--schema", metavar="S", help="schema in the source, if not its default")
    parser.add_argument("--views", action="store_true", help="propose views as well")
    parser.add_argument("--like", metavar="PATTERN", default="*", help="only names like 'sales_*'")
    parser.add_argument("--write", action="store_true", help="change flows/tables.py")


def run(arguments: argparse.Namespace) -> None:
    """Show the change, or write it.

    Raises:
        PermanentError: The source cannot be read, or has no such table.
        TransientError: The source does not answer.
    """
    from ..common import db_utils, readers

    source, schema = arguments.source, arguments.schema
    url = db_utils.source_url(source)
    is_listed, taken, targets = read_list(source, schema)
    found = [
        one
        for one in readers.describe(url, schema, views=arguments.views)
        if fnmatchcase(one.name, arguments.like)
        if not one.name.startswith(OF_WAREHOUSES)
    ]
    for view in (one for one in found if one.fault):
        print(f"{view.fault} It is left out.", file=sys.stderr)
    found = [one for one in found if not one.fault]
    if not found:
        raise errors.PermanentError(f"The source has no table like {arguments.like!r}.")
    given = {"schema": schema, "source": source}
    new = [one for one in found if not is_listed(one.name)]
    targets |= {one.name: choose_target(one.name, taken, given) for one in new}
    entries = [propose(one, targets, given) for one in new]
    if entries:
        write({TABLES: insert(entries)}, dry_run=not arguments.write)
    else:
        print(f"Nothing to add: all {len(found)} are in {TABLES} already.")
    if entries and not arguments.write:
        print(f"{count(entries, 'table')}; --write adds them to {TABLES}.", file=sys.stderr)
    views, others = readers.list_rest(url, schema)
    if views and not arguments.views:
        print(f"{count(views, 'view')} left out; --views proposes them too.", file=sys.stderr)
    if others:
        listed = ", ".join(others)
        print(f"{count(others, 'other schema')}; --schema reads one: {listed}.", file=sys.stderr)


def count(things: Collection[object], noun: str) -> str:
    """Return the number of things with its noun, such as `2 tables`."""
    return f"{len(things)} {noun}{'s' * (len(things) != 1)}"


def read_list(
    source: str | None, schema: str | None
) -> tuple[Callable[[str], bool], set[str], dict[str, str]]:
    """Return a function that tells whether a table is listed, and names in the warehouse.

    Returns:
        The function; all names in the warehouse, in lower case; and those of the schema's tables,
        by their names in the source. The names leave out tables of `AllTables` entries.
    """
    try:
        from ..flows import tables
    except (TypeError, ValueError) as error:
        raise errors.PermanentError(f"flows/tables.py: {error}") from error
    here = [entry for entry in tables.TABLES if (entry.source, entry.schema) == (source, schema)]

    def is_listed(name: str) -> bool:
        return any(
            name == entry.name if isinstance(entry, Table) else name not in entry.exclude
            for entry in here
        )

    own = [entry for entry in tables.TABLES if isinstance(entry, Table)]
    taken = {path.stem.lower() for path in Path(__file__).parents[1].glob("sql/*.sql")}
    targets = {entry.name: entry.target_name for entry in here if isinstance(entry, Table)}
    return is_listed, taken | {entry.target_name.lower() for entry in own}, targets


def choose_target(name: str, taken: set[str], given: Mapping[str, Any]) -> str:
    """Return a table's name in the warehouse.

    Args:
        name: Its name in the source.
        taken: Names in the warehouse in lower case; this one is added.
        given: Arguments of its entry.
    """
    target = given.get("target") or UNUSABLE.sub("_", name)
    while not given.get("target") and (target.lower() in taken or UNUSABLE.search(target)):
        prefix = given.get("schema") or given.get("source") or "other"
        target = UNUSABLE.sub("_", f"{prefix}_{target}")
    taken.add(target.lower())
    return target


def propose(found: Relation, targets: Mapping[str, str], given: Mapping[str, Any]) -> str:
    """Return the source text of an entry.

    Args:
        found: The table, as its source describes it.
        targets: Names in the warehouse by names in the source; foreign keys name only these.
        given: Arguments of the entry; they override what is found.
    """
    words: dict[str, Any] = {"name": found.name, "schema": None, "source": None, "target": None}
    words |= {"key": (), "mode": None, "cursor": None, **given}
    if targets[found.name] != found.name:
        words["target"] = targets[found.name]
    # A source that is itself loaded by dlt has these columns.
    words["exclude"] = tuple(one.name for one in found.columns if one.name.startswith("_dlt_"))
    unread = {*words["exclude"]}
    not_null = [one.name for one in found.columns if one.not_null and one.name not in unread]
    primary = sorted((column.primary_key, column.name) for column in found.columns)
    keys = words["key"] or tuple(name for place, name in primary if place)
    if not keys:  # else unique columns that are never null
        keys = next((names for names in found.unique if {*names} <= {*not_null}), ())
        words["key"] = keys
    kinds = {column.name: str(column.type) for column in found.columns}
    times = [name for name, kind in kinds.items() if kind.startswith(("timestamp", "date"))]
    times.sort(key=lambda name: name not in not_null)
    hint = ""
    if keys and words["mode"] != "full" and words["cursor"] is None:
        rising = keys if len(keys) == 1 and kinds[keys[0]] == "int64" else ()
        if changed := list(filter(CHANGED.search, times)):
            words["cursor"] = changed[0]
        elif words["mode"] is None and (added := [*filter(CREATED.search, times), *rising]):
            cursor = json.dumps(added[0])
            hint = f'# If its rows never change: mode="incremental", cursor={cursor}.\n'
    elif times and not keys and words["mode"] is None and words["cursor"] is None:
        cursor = json.dumps([*filter(CREATED.search, times), *times][0])
        hint = f'# If rows are only ever added: mode="append", cursor={cursor}.\n'
    cursor = words["cursor"]
    if cursor and words["mode"] is None:
        words["mode"] = "incremental" if keys else "append"
    elif words["mode"] == "full":
        words["mode"] = None
    if cursor and words["mode"] == "incremental" and cursor not in not_null:
        words["cursor_nulls"] = "keep"
    parts = [f"{name}={value!r}" for name, value in words.items() if value]
    columns = tuple(name for name in not_null if name not in {*keys, cursor})
    rules = [f"rules.NotNull(column={name!r})" for name in columns]
    if len(rules) > 1:
        rules = [f"*(rules.NotNull(column=name) for name in {columns!r})"]
    unique = dict.fromkeys(
        names for names in found.unique if {*names} != {*keys} and not unread & {*names}
    )
    rules += [f"rules.Unique(columns={names!r})" for names in unique]
    # The source enforces foreign keys, but tables are read at different times: only warn.
    rules += [
        f"rules.ForeignKey(column={column!r}, references={targets[other]!r},"
        f" referenced_column={referenced!r}, severity='warn')"
        for column, other, referenced in found.foreign
        if other in targets and column in not_null  # the rule counts nulls as violations
    ]
    parts += [f"rules=({', '.join(rules)},)"] if rules else []
    return f"{hint}Table({', '.join(parts)})"


def insert(entries: Collection[str]) -> str:
    """Return the text of flows/tables.py with entries at the end of its list.

    Raises:
        PermanentError: The file has no list of entries.
    """
    text = read(TABLES)
    data, tree = text.encode(), ast.parse(text)
    added = "".join(f"{entry},\n" for entry in entries)

    def end(node: ast.expr) -> int:  # `ast` counts columns in bytes
        lines = data.split(b"\n")[: (node.end_lineno or 1) - 1]
        return sum(len(line) + 1 for line in lines) + (node.end_col_offset or 0)

    values = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and ast.unparse(node).startswith("TABLES")
    ]
    listed = values[-1] if values else None
    if not isinstance(listed, ast.Tuple | ast.List) or data[end(listed) - 1] not in b")]":
        raise errors.PermanentError(f"TABLES is not a plain tuple: add this by hand:\n{added}")
    close = end(listed) - 1
    last = end(listed.elts[-1]) if listed.elts else close
    comma = b"," if listed.elts and b"," not in re.sub(b"#.*", b"", data[last:close]) else b""
    new = b"".join((data[:last], comma, data[last:close], f"\n{added}".encode(), data[close:]))
    imported = {name.name for node in tree.body for name in getattr(node, "names", ())}
    wanted = [line for name, line in IMPORTS.items() if name in added and name not in imported]
    return tidy(TABLES, new.decode(), imports=wanted)
