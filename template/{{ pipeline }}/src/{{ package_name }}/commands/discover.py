"""Read a source, and propose entries of flows/tables.py for its tables.

Keys, cursors and rules follow from what the database says: its primary keys, its columns with
the time of a change, its constraints. Tables that are listed already are left out. Prints the
change as a diff to look at; --write makes it.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
import sys
import warnings
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common import errors

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Iterator

    import sqlalchemy as sa

HELP = "read the source, and propose its tables for flows/tables.py"

TABLES = f"src/{__name__.partition('.')[0]}/flows/tables.py"
CHANGED = re.compile("updat|modif|chang|edited|revis", re.IGNORECASE)
IMPORTS = {"Table(": "from ..common.table import Table", "rules.": "from ..common import rules"}
DRIVERS = {
    "postgresql": ("postgresql+psycopg2", "postgres"),
    "mysql": ("mysql+pymysql", "mysql"),
    "mariadb": ("mariadb+pymysql", "mysql"),
}
CREATED = re.compile("creat|insert|added|logged|occurred", re.IGNORECASE)


@dataclass
class Found:
    """A table of a source, as its database describes it."""

    name: str
    columns: list[str] = field(default_factory=list)
    times: set[str] = field(default_factory=set)
    integers: set[str] = field(default_factory=set)
    not_null: list[str] = field(default_factory=list)
    key: list[str] = field(default_factory=list)
    unique: list[list[str]] = field(default_factory=list)
    indexed: set[str | None] = field(default_factory=set)

    def time(self, words: re.Pattern[str]) -> str | None:
        """Return the likeliest time with such a name: those not null and indexed come first."""
        likely = [name for name in self.columns if name in self.times and words.search(name)]
        likely.sort(key=lambda name: (name not in self.not_null, name not in self.indexed))
        return likely[0] if likely else None


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what is read."""
    parser.add_argument("--source", metavar="NAME", help="a named source, SOURCE_URLS__<NAME>")
    parser.add_argument("--schema", metavar="S", help="schema in the source; none for its default")
    parser.add_argument("--like", metavar="PATTERN", default="*", help="only these, as 'sales_*'")
    parser.add_argument("--write", action="store_true", help="write it into flows/tables.py")


def run(arguments: argparse.Namespace) -> None:
    """Show the change, or make it.

    Raises:
        PermanentError: The source cannot be read, or has nothing new.
        TransientError: The source does not answer.
    """
    from . import add  # which imports this module

    source, schema = arguments.source, arguments.schema
    listed, taken = read_list(source, schema)
    entries = [
        propose(one, taken, source=source, schema=schema)
        for one in reflect(source, schema)
        if fnmatchcase(one.name, arguments.like) and one.name not in listed
        if not one.name.startswith("_dlt")  # of a warehouse
    ]
    if not entries:
        raise errors.PermanentError("The source has no such table that is not listed already.")
    add.apply({TABLES: insert(entries)}, dry_run=not arguments.write)
    if not arguments.write:
        print(f"{len(entries)} tables; --write puts them into {TABLES}.", file=sys.stderr)


def read_list(source: str | None, schema: str | None) -> tuple[Collection[str], set[str]]:
    """Return which tables of a schema are listed, and all names in the warehouse in lower case."""
    from ..common.table import Table

    try:
        from ..flows import tables
    except (TypeError, ValueError) as error:
        raise errors.PermanentError(f"flows/tables.py: {error}") from error
    listed: set[str] = set()
    derived = Path(__file__).parents[1] / "sql"
    taken = {path.stem.lower() for path in derived.glob("*.sql")}
    for entry in tables.TABLES:
        if isinstance(entry, Table):
            taken.add(entry.target_name.lower())
            if (entry.source, entry.schema) == (source, schema):
                listed.add(entry.name)
    return listed, taken


def reflect(source: str | None, schema: str | None, name: str | None = None) -> list[Found]:
    """Read the tables of a schema, or one table or view of it.

    Raises:
        PermanentError: There is none such, or the source cannot be read.
        TransientError: The source does not answer.
    """
    from ..common import db_utils, failures

    url = db_utils.parse_url(db_utils.source_url(source))
    where = f"{db_utils.describe(url)}{f', schema {schema}' if schema else ''}"
    path = db_utils.file_of(url)
    if path is not None and not path.is_file():
        raise errors.PermanentError(f"There is no source {where}: its URL names no file.")
    with failures.explained(where), warnings.catch_warnings(action="ignore"):
        look = _look_into_duckdb if url.get_backend_name() == "duckdb" else _look
        found = {one.name: one for one in look(url, schema, views=name is not None)}
    if not found:
        raise errors.PermanentError(f"There are no tables in {where}: try another --schema.")
    if name is None:
        return [found[one] for one in sorted(found)]
    if name not in found:
        close = difflib.get_close_matches(name, found, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise errors.PermanentError(f"There is no table {name!r} in {where}.{hint}")
    return [found[name]]


def _look(url: sa.URL, schema: str | None, *, views: bool) -> Iterator[Found]:
    import sqlalchemy as sa
    from sqlalchemy.engine.reflection import ObjectKind

    which: Any = {"schema": schema, "kind": ObjectKind.ANY if views else ObjectKind.TABLE}
    with _engine(url).connect() as connection:
        inspector = sa.inspect(connection)
        columns = inspector.get_multi_columns(**which)
        keys = inspector.get_multi_pk_constraint(**which)
        constraints = inspector.get_multi_unique_constraints(**which)
        indexes = inspector.get_multi_indexes(**which)
        parts: set[str] = set()
        if connection.dialect.name == "postgresql":  # their rows are those of the whole table
            query = sa.text("SELECT relname FROM pg_class WHERE relispartition")
            parts |= set(connection.scalars(query))
    for place in (place for place in columns if place[1] not in parts):
        one = Found(place[1], key=[*(keys.get(place) or {}).get("constrained_columns", ())])
        for column in columns[place]:
            one.columns.append(column["name"])
            if isinstance(column["type"], sa.DateTime | sa.Date):
                one.times.add(column["name"])
            elif isinstance(column["type"], sa.Integer):
                one.integers.add(column["name"])
        one.not_null = [column["name"] for column in columns[place] if not column["nullable"]]
        one.unique = [constraint["column_names"] for constraint in constraints.get(place) or ()]
        for index in indexes.get(place) or ():
            names = index["column_names"]  # in which None stands for an expression
            one.indexed.update(names[:1])
            partial = any("where" in option for option in index.get("dialect_options", ()))
            if index["unique"] and None not in names and not partial:
                one.unique.append([name for name in names if name is not None])
        yield one


def _look_into_duckdb(url: sa.URL, schema: str | None, *, views: bool) -> Iterator[Found]:
    import duckdb

    where = "WHERE database_name = current_database() AND schema_name = ?"
    with duckdb.connect(url.database or "", read_only=True) as connection:

        def query(sql: str) -> list[tuple[Any, ...]]:
            return connection.execute(f"{sql} {where}", [schema or "main"]).fetchall()

        names = query("SELECT table_name FROM duckdb_tables()")
        names += query("SELECT view_name FROM duckdb_views()") if views else []
        columns = query("SELECT table_name, column_name, data_type FROM duckdb_columns()")
        constrained = "SELECT table_name, constraint_type, constraint_column_names"
        constraints = query(f"{constrained} FROM duckdb_constraints()")
    for (name,) in names:
        one = Found(name)
        for column, type_ in [(column, type_) for table, column, type_ in columns if table == name]:
            one.columns.append(column)
            if type_.startswith(("TIMESTAMP", "DATE")):
                one.times.add(column)
            elif type_ in {"SMALLINT", "INTEGER", "BIGINT"}:
                one.integers.add(column)
        own = [(kind, names) for table, kind, names in constraints if table == name]
        one.key = next((names for kind, names in own if kind == "PRIMARY KEY"), [])
        one.unique = [names for kind, names in own if kind == "UNIQUE"]
        one.not_null = [names[0] for kind, names in own if kind == "NOT NULL"]
        yield one


def _engine(url: sa.URL) -> sa.Engine:
    import sqlalchemy as sa

    from ..common import db_utils

    backend = url.get_backend_name()
    driver, extra = DRIVERS.get(backend, (url.drivername, backend))
    kept = {name: value for name, value in url.query.items() if name != "prepare_threshold"}
    try:
        return sa.create_engine(url.set(drivername=driver, query=kept), poolclass=sa.NullPool)
    except (ImportError, sa.exc.NoSuchModuleError) as error:
        raise db_utils.missing_driver(backend, extra) from error


def propose(
    found: Found,
    taken: set[str],
    *,
    source: str | None,
    schema: str | None,
    target: str | None = None,
    key: Collection[str] = (),
    cursor: str | None = None,
    mode: str | None = None,
) -> str:
    """Return the source text of an entry; what is given goes before what is found.

    Its name in the warehouse is added to `taken`, which holds them in lower case.
    """
    if target is None and found.name.lower() in taken:
        target = f"{schema or source or 'other'}_{found.name}"
    taken.add((target or found.name).lower())
    if not key and not found.key:  # any other columns that are never null and unique
        key = next((names for names in found.unique if {*names} <= {*found.not_null}), ())
    keys = [*(key or found.key)]
    hint = ""
    if cursor is None and mode != "full" and keys and (changed := found.time(CHANGED)):
        cursor = changed
    elif cursor is None and mode is None and keys:
        rising = keys[0] if len(keys) == 1 and keys[0] in found.integers else None
        if added := found.time(CREATED) or rising:
            hint = f'# If its rows never change: mode="incremental", cursor={json.dumps(added)}.\n'
    if mode is None and cursor is not None:
        mode = "incremental" if keys else "append"
    nulls = cursor is not None and mode == "incremental" and cursor not in found.not_null
    words = {"name": found.name, "schema": schema, "source": source, "target": target}
    words |= {"key": tuple(key) or None, "mode": None if mode == "full" else mode}
    words |= {"cursor": cursor, "cursor_nulls": "keep" if nulls else None}
    columns = [name for name in found.not_null if name not in {*keys, cursor}]
    rules = [f"rules.NotNull(column={name!r})" for name in columns]
    each = f"(rules.NotNull(column=name) for name in {tuple(columns)!r})"
    unique = dict.fromkeys(tuple(names) for names in found.unique if {*names} != {*keys})
    uniques = [f"rules.Unique(columns={names!r})" for names in unique]
    parts = [f"{name}={value!r}" for name, value in words.items() if value is not None]
    if len(rules) > 1:
        parts.append(f"rules=(*{each}, {', '.join(uniques)})" if unique else f"rules=tuple{each}")
    elif rules or unique:
        parts.append(f"rules=({', '.join([*rules, *uniques])},)")
    return f"{hint}Table({', '.join(parts)})"


def insert(entries: list[str]) -> str:
    """Return the text of flows/tables.py with entries at the end of its list.

    Raises:
        PermanentError: The list is not written out there.
    """
    from . import add

    text = add.read(TABLES)
    tree = ast.parse(text)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    values = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and ast.unparse(node).startswith("TABLES")
    ]
    listed = values[-1] if values else None
    if not isinstance(listed, ast.Tuple | ast.List) or text[_end(text, listed) - 1] not in ")]":
        by_hand = ",\n".join(entries)
        raise errors.PermanentError(f"TABLES is no plain tuple: put this in by hand:\n{by_hand}")
    close = _end(text, listed) - 1
    last = _end(text, listed.elts[-1]) if listed.elts else close
    comma = "," if listed.elts and "," not in re.sub("#.*", "", text[last:close]) else ""
    added = "".join(f"{entry},\n" for entry in entries)
    new = f"{text[:last]}{comma}{text[last:close]}\n{added}{text[close:]}"
    known = {alias.name for node in imports for alias in node.names}
    lines = [line for name, line in IMPORTS.items() if name in added and name[:-1] not in known]
    if lines:
        above = imports or tree.body[: ast.get_docstring(tree) is not None]
        place = _end(text, above[-1]) if above else 0
        new = "\n".join([new[:place], *lines, new[place:]])
    return add.tidy(TABLES, new) if add.tidy(TABLES, text) == text else new


def _end(text: str, node: ast.stmt | ast.expr) -> int:
    """Return where a node ends; its column counts bytes."""
    lines = text.split("\n")[: node.end_lineno]
    column = len(lines.pop().encode()[: node.end_col_offset].decode())
    return sum(len(line) + 1 for line in lines) + column
