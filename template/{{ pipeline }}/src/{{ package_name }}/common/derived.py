"""Derived tables: each file `sql/<name>.sql` holds one SELECT, which becomes the table `<name>`.

A name without a schema is another derived table if a file has that name, otherwise an ingested
one. `raw.x` and `marts.x` always work, whatever the settings call these schemas. A line
`-- dialect: snowflake` sets the SQL dialect of a file; the default is that of the settings.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError

from . import errors, failures, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .warehouse import Warehouse

FOLDER = Path(__file__).parents[1] / "sql"

_MARKS = "_derived"
"""Table in `marts` that says which of the tables there are made here, and by which project."""


@dataclass(frozen=True)
class Read:
    """A place in a file, from `start` to `end`, that names a table in `raw` or `marts`."""

    layer: str
    table: str
    start: int
    end: int
    alias: str = ""  # the table's name in the query, if it differs in the warehouse


@dataclass(frozen=True)
class Query:
    """The SELECT of a derived table, as in its file but without the last semicolon."""

    name: str
    text: str
    dialect: str
    reads: tuple[Read, ...]

    def sql(self, dialect: str, qualify: Callable[[str, str], str]) -> str:
        """Return the SQL for a warehouse: as written, with qualified names of tables.

        Args:
            dialect: Dialect of the warehouse; SQL in another dialect is translated.
            qualify: Returns a table's name in that dialect, given `raw` or `marts` and its name.

        Raises:
            PermanentError: It cannot be translated into that dialect.
        """
        text = self.text
        for read in sorted(self.reads, key=lambda read: read.start, reverse=True):
            table = exp.to_table(qualify(read.layer, read.table), dialect=dialect)
            alias = f" AS {read.alias}" if read.alias and table.name != read.table else ""
            named = table.sql(self.dialect, identify=True)
            text = f"{text[: read.start]}{named}{alias}{text[read.end :]}"
        if dialect == self.dialect:
            return text
        try:
            # Keep the case of names: only some warehouses fold them to lower case.
            return sqlglot.transpile(
                text, self.dialect, dialect, identify=True, unsupported_level=ErrorLevel.RAISE
            )[0]
        except (SqlglotError, RecursionError) as error:
            what = str(error).splitlines()[0].rstrip(".")
            raise errors.PermanentError(
                f"sql/{self.name}.sql cannot be translated for {dialect}: {what}. Rewrite it,"
                f" or write it in the SQL of {dialect} below a line `-- dialect: {dialect}`."
            ) from error


def read_all() -> dict[str, Query]:
    """Read the files in `sql/`, by name.

    Raises:
        PermanentError: A file is not one SELECT.
    """
    config = settings.load()
    files = {file.stem: file.read_bytes() for file in sorted(FOLDER.glob("[!.]*.sql"))}
    names = {name.lower(): name for name in files}
    for name in files:
        if not name.isidentifier() or name.startswith("_") or names[name.lower()] != name:
            what = "letters, digits and _, begins with a letter, and differs in more than case"
            raise errors.PermanentError(f"sql/{name}.sql needs another name: one that has {what}.")
    layers = {config.raw_schema.lower(): "raw", config.marts_schema.lower(): "marts"}
    layers |= {"raw": "raw", "marts": "marts"}
    known = tuple(names.items()), tuple(layers.items())
    return {
        name: _read(name, content, config.sql_dialect, *known) for name, content in files.items()
    }


@functools.lru_cache(maxsize=1024)  # each build of a table reads all files
def _read(
    name: str,
    content: bytes,
    dialect: str,
    names: tuple[tuple[str, str], ...],
    layers: tuple[tuple[str, str], ...],
) -> Query:
    try:
        text = content.decode("utf-8-sig")
        if marked := re.search(r"^-- dialect: (\w+)\s*$", text, re.MULTILINE):
            dialect = marked[1]
        tokens = sqlglot.tokenize(text, dialect)
        trees = sqlglot.parse(text, dialect)
    except (SqlglotError, ValueError, RecursionError) as error:  # dozens of calls in each other
        found: dict[str, Any] = next(iter(getattr(error, "errors", ())), {})
        where = f" line {found['line']}, column {found['col']}:" if found else ""
        what = found.get("description") or str(error).splitlines()[0]
        what = re.sub(r"<Token .*?text: (.*?), line: .*>", r"\1", what)  # e.g. {{ ref("x") }}
        message = f"sql/{name}.sql is not SQL of the dialect {dialect}:{where} {what.rstrip('.')}."
        raise errors.PermanentError(message) from error
    tree, *more = trees or [None]
    writes = tree and tree.find(exp.Into, exp.DML, exp.DDL)
    if not isinstance(tree, exp.Query) or writes or any(type(x) is not exp.Semicolon for x in more):
        raise errors.PermanentError(f"sql/{name}.sql must hold one SELECT and nothing else.")
    ends = (token.start for token in tokens if token.token_type is sqlglot.TokenType.SEMICOLON)
    reads = tuple(_find_reads(tree, dict(names), dict(layers)))
    return Query(name, text[: next(ends, len(text))].rstrip(), dialect, reads)


def _find_reads(
    tree: exp.Query, names: Mapping[str, str], layers: Mapping[str, str]
) -> Iterator[Read]:
    ctes = _find_ctes(tree)
    qualified: set[tuple[str, str]] = set()
    for table in tree.find_all(exp.Table):
        last, schema = table.this, table.args.get("db")
        if not isinstance(last, exp.Identifier) or id(table) in ctes or table.catalog:
            continue
        if schema and table.db.lower() not in layers:
            continue
        layer = layers[table.db.lower()] if schema else locate(table.name, names)
        name = names.get(table.name.lower(), table.name) if layer == "marts" else table.name
        alias = "" if table.alias else last.sql()
        yield Read(layer, name, (schema or last).meta["start"], last.meta["end"] + 1, alias)
        qualified.add((table.db, table.name))
    for column in tree.find_all(exp.Column):  # raw.flights.carrier
        if column.db and not column.catalog and (column.db, column.table) in qualified:
            start, end = column.args["db"].meta["start"], column.args["table"].meta["end"] + 1
            yield Read(layers[column.db.lower()], column.table, start, end)


def _find_ctes(tree: exp.Query) -> set[int]:
    """Return the `id` of each table that is a common table expression.

    sqlglot's scopes do not cover DuckDB's PIVOT and UNPIVOT.
    """
    found: set[int] = set()
    for one in tree.find_all(exp.With):
        tables = list(one.parent.find_all(exp.Table)) if one.parent else []
        for number, cte in enumerate(one.expressions):
            # Expressions before it cannot read it; it reads itself only if it is recursive.
            blind = one.expressions[: number if one.recursive else number + 1]
            name = cte.alias.lower()
            named = {id(table) for table in tables if table.name.lower() == name and not table.db}
            found |= named - {id(table) for part in blind for table in part.find_all(exp.Table)}
    return found


def locate(table: str, names: Iterable[str]) -> str:
    """Return `raw` or `marts` for a name without a schema, given the derived tables."""
    return "marts" if table.lower() in {name.lower() for name in names} else "raw"


def read_tables(query: Query, *layers: str) -> set[str]:
    """Return the tables in `raw` (or another layer) that a derived table reads directly."""
    return {read.table for read in query.reads if read.layer in (layers or ("raw",))}


def order(queries: Mapping[str, Query]) -> list[str]:
    """Return the names in build order: each table after the tables it reads.

    Raises:
        PermanentError: Some read each other in a circle.
    """
    graph = {
        name: sorted(read_tables(query, "marts") & queries.keys())
        for name, query in queries.items()
    }
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = " reads ".join(f"sql/{name}.sql" for name in reversed(error.args[1]))
        message = f"Derived tables must not read each other in a circle: {circle}."
        raise errors.PermanentError(message) from None


def check_names(ingested: Iterable[str]) -> None:
    """Refuse a derived table that has the name of an ingested one.

    Raises:
        PermanentError: A file of `sql/` and a table share a name.
    """
    taken = {name.lower() for name in ingested}
    for name in sorted(file.stem for file in FOLDER.glob("[!.]*.sql")):
        if name.lower() in taken:
            message = f"{name} is both an ingested table and the derived table of sql/{name}.sql."
            raise errors.PermanentError(f"{message} Rename the file, or give the table a target.")


def build(w: Warehouse, name: str) -> int:
    """Build a derived table and return its number of rows; readers see the old or the new one.

    Raises:
        PermanentError: There is no such file, its SQL fails, or another table has the name.
        TransientError: The warehouse is unavailable.
    """
    queries = read_all()
    if name not in queries:
        raise errors.PermanentError(f"There is no file sql/{name}.sql.")
    if w.is_files:
        return int(w.files.build(w, queries[name]))
    select = queries[name].sql(w.dialect, lambda layer, table: w.name(getattr(w, layer), table))
    with failures.explained(f"sql/{name}.sql in {w.described}"), w.building():
        w.replace(name, select, is_old=_claim(w, name))
        return int(w.query(f"SELECT COUNT(*) FROM {w.name(w.marts, name)}")[0][0])


def _claim(w: Warehouse, name: str) -> bool:
    """Mark a table as this project's and return whether it exists; refuse a table of others."""
    if len(name.encode()) > w.client.capabilities.max_identifier_length:
        raise errors.PermanentError(f"The name of sql/{name}.sql is too long for {w.described}.")
    with w.client.with_alternative_dataset_name(w.marts):
        if not w.client.has_dataset():
            w.client.create_dataset()
    marks, of, project = w.name(w.marts, _MARKS), w.quote("name"), w.quote("project")
    columns = w.columns(w.marts, _MARKS).get(_MARKS, {})
    if "project" not in columns:
        value = "name" if columns else "''"
        select = exp.select(f"CAST({value} AS TEXT) AS name", "CAST('' AS TEXT) AS project")
        old = exp.to_table(marks, dialect=w.dialect)  # older versions: no column `project`
        select = select.from_(old) if columns else select.limit(0)
        w.replace(_MARKS, select.sql(w.dialect, identify=True), is_old=bool(columns))
    is_old = bool(w.find(w.marts, name))
    known = w.query(f"SELECT {project} FROM {marks} WHERE {of} = '{name}'")
    if is_old and known not in ([(settings.PROJECT,)], [("",)]):
        raise not_ours(w, name)
    if known != [(settings.PROJECT,)]:
        w.client.execute_sql(f"DELETE FROM {marks} WHERE {of} = '{name}'")
        w.client.execute_sql(f"INSERT INTO {marks} VALUES ('{name}', '{settings.PROJECT}')")
    return is_old


def not_ours(w: Warehouse, name: str) -> errors.PermanentError:
    """Return the error for a table that this project has not made."""
    message = f"{w.marts}.{name} in {w.described} was not made from this project's sql/{name}.sql."
    return errors.PermanentError(f"{message} Rename the file, or drop what has its name.")
