"""Derived tables: each file `sql/<name>.sql` holds one SELECT, which becomes the table `<name>`.

The files are the list. A name without a schema is another derived table if a file has that name,
else an ingested one; `raw.x` and `marts.x` say it, whatever the settings call these schemas.
A line `-- dialect: snowflake` says which SQL a file holds, if not that of the settings.
"""

from __future__ import annotations

import contextlib
import functools
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from graphlib import CycleError, TopologicalSorter
from importlib import resources
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError

from . import errors, failures, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from importlib.resources.abc import Traversable

    from .warehouse import Warehouse

FOLDER: Traversable = resources.files(__name__.partition(".")[0]) / "sql"

_MARKS = "_derived"  # table in `marts` that says which of the tables there are made here
_REPLACES = {"duckdb", "snowflake", "bigquery", "databricks", "clickhouse"}
_TRANSACTIONS = {"duckdb", "postgres", "redshift", "tsql"}  # the others commit each CREATE TABLE
_AFTER_NAME = {"snowflake": "COPY GRANTS", "clickhouse": "ENGINE = MergeTree ORDER BY tuple()"}


@dataclass(frozen=True)
class Read:
    """A place in a file where a table of the warehouse is named.

    Attributes:
        layer: `raw` or `marts`.
        table: Name of the table.
        start: Where the name begins in the file, with its schema if it has one.
        end: Where it ends.
        alias: What to call the table if the warehouse knows it by another name.
    """

    layer: str
    table: str
    start: int
    end: int
    alias: str = ""


@dataclass(frozen=True)
class Query:
    """The SELECT of a derived table, as its file has it.

    Attributes:
        name: Name of the table.
        text: The SQL, without the semicolon at its end.
        dialect: Its dialect.
        reads: Where it names tables of `raw` and `marts`.
    """

    name: str
    text: str
    dialect: str
    reads: tuple[Read, ...]

    def sql(self, dialect: str, qualify: Callable[[str, str], str]) -> str:
        """Return the SQL for a warehouse: as it is written, but for the names of tables.

        Args:
            dialect: Dialect of the warehouse; from another one the SQL is translated.
            qualify: Returns a table's name in that dialect, given `raw` or `marts` and the name.

        Raises:
            PermanentError: It cannot be said in that dialect.
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
            # Names as they are written: only some warehouses fold them to lower case.
            return sqlglot.transpile(
                text, self.dialect, dialect, identify=True, unsupported_level=ErrorLevel.RAISE
            )[0]
        except SqlglotError as error:
            what = str(error).splitlines()[0].rstrip(".")
            raise errors.PermanentError(
                f"sql/{self.name}.sql cannot be translated for {dialect}: {what}. Say it in other"
                f" words, or in the SQL of {dialect} below a line `-- dialect: {dialect}`."
            ) from error


def read_all() -> dict[str, Query]:
    """Read the files in `sql/`, by name.

    Raises:
        PermanentError: A file is not one SELECT.
    """
    config = settings.load()
    files = sorted(
        (file.name.removesuffix(".sql"), file.read_bytes())
        for file in (FOLDER.iterdir() if FOLDER.is_dir() else ())
        if file.name.endswith(".sql") and not file.name.startswith(".")
    )
    layers = {config.raw_schema.lower(): "raw", config.marts_schema.lower(): "marts"}
    layers |= {"raw": "raw", "marts": "marts"}
    return dict(_read(tuple(files), config.sql_dialect, tuple(layers.items())))


@functools.lru_cache(maxsize=8)  # every build of a table asks for all of them
def _read(
    files: tuple[tuple[str, bytes], ...], dialect: str, layers: tuple[tuple[str, str], ...]
) -> dict[str, Query]:
    names = {name.lower(): name for name, _ in files}
    for name, _ in files:
        if not name.isidentifier() or name.startswith("_") or names[name.lower()] != name:
            what = "letters, digits and _, begins with a letter, and differs in more than case"
            raise errors.PermanentError(f"sql/{name}.sql needs another name: one that has {what}.")
    found: dict[str, Query] = {}
    for name, content in files:
        text, own_dialect, tree = _parse(f"{name}.sql", content, dialect)
        reads = tuple(_find_reads(tree, names, dict(layers)))
        found[name] = Query(name, text, own_dialect, reads)
    return found


def _parse(file: str, content: bytes, dialect: str) -> tuple[str, str, exp.Query]:
    """Return the text of a file up to its semicolon, its dialect, and its tree."""
    try:
        text = content.decode("utf-8-sig")
        if marked := re.search(r"^-- dialect: (\w+)\s*$", text, re.MULTILINE):
            dialect = marked[1]
        tokens = sqlglot.tokenize(text, dialect)
        trees = sqlglot.parse(text, dialect)
    except (SqlglotError, ValueError) as error:
        found: dict[str, Any] = next(iter(getattr(error, "errors", ())), {})
        where = f" line {found['line']}, column {found['col']}:" if found else ""
        what = found.get("description") or str(error).splitlines()[0]
        message = f"sql/{file} is not SQL of the dialect {dialect}:{where} {what.rstrip('.')}."
        raise errors.PermanentError(message) from error
    tree, *more = trees or [None]
    writes = tree and tree.find(exp.Into, exp.DML, exp.DDL)
    if not isinstance(tree, exp.Query) or writes or any(type(x) is not exp.Semicolon for x in more):
        message = f"sql/{file} must hold one SELECT and nothing else."
        raise errors.PermanentError(message)
    ends = (token.start for token in tokens if token.token_type is sqlglot.TokenType.SEMICOLON)
    return text[: next(ends, len(text))].rstrip(), dialect, tree


def _find_reads(
    tree: exp.Query, names: Mapping[str, str], layers: Mapping[str, str]
) -> Iterator[Read]:
    qualified: set[tuple[str, str]] = set()
    for table in tree.find_all(exp.Table):
        first, last = table.args.get("db") or table.this, table.this
        if not isinstance(last, exp.Identifier) or table.catalog or _is_cte(table):
            continue
        if table.db and table.db.lower() not in layers:
            continue
        layer = layers[table.db.lower()] if table.db else locate(table.name, names)
        name = names.get(table.name.lower(), table.name) if layer == "marts" else table.name
        if table.db:
            qualified.add((table.db, table.name))
        alias = "" if table.alias else last.sql()
        yield Read(layer, name, first.meta["start"], last.meta["end"] + 1, alias)
    for column in tree.find_all(exp.Column):  # raw.flights.carrier
        if not column.catalog and (column.db, column.table) in qualified:
            start, end = column.args["db"].meta["start"], column.args["table"].meta["end"] + 1
            yield Read(layers[column.db.lower()], column.table, start, end)


def locate(table: str, names: Iterable[str]) -> str:
    """Return the layer of a table that is named without a schema, given the derived tables."""
    return "marts" if table.lower() in {name.lower() for name in names} else "raw"


def _is_cte(table: exp.Table) -> bool:
    """Tell whether a name means a common table expression that can be seen where it stands."""
    if table.db:
        return False
    node: exp.Expr | None = table
    seen: list[exp.Expr] = []
    while node is not None and node.parent is not None:
        parent = node.parent
        if isinstance(parent, exp.With):
            before = parent.expressions[: node.index]
            seen += [*before, node] if parent.recursive else before
            node = parent.parent  # of which only these can be seen from within its WITH
        else:
            seen += parent.ctes if isinstance(parent, exp.Query) else []
            node = parent
    return any(cte.alias.lower() == table.name.lower() for cte in seen)


def read_tables(query: Query, *layers: str) -> set[str]:
    """Return the tables that a derived table reads itself.

    Args:
        query: The derived table.
        layers: Where the tables are; by default `raw`, which are the ingested ones.
    """
    return {read.table for read in query.reads if read.layer in (layers or ("raw",))}


def order(queries: Mapping[str, Query]) -> list[str]:
    """Return the names in an order in which each comes after those it reads.

    Raises:
        PermanentError: They read each other in a circle.
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
    """Refuse derived tables that cannot be built: bad files, circles, names that are taken.

    Args:
        ingested: Names of the ingested tables in the warehouse (`Table.target_name`).

    Raises:
        PermanentError: The first reason found.
    """
    queries = read_all()
    order(queries)
    taken = {name.lower() for name in ingested}
    if both := [name for name in queries if name.lower() in taken]:
        message = f"{both[0]} is both an ingested table and the derived table of sql/{both[0]}.sql."
        raise errors.PermanentError(f"{message} Rename the file, or give the table a target.")


def build(w: Warehouse, name: str) -> int:
    """Build a derived table so that readers see the old one or the new one.

    Args:
        w: The warehouse.
        name: Name of the table.

    Returns:
        How many rows it has.

    Raises:
        PermanentError: There is no such file, its SQL fails, or somebody else's table has the name.
        TransientError: The warehouse could not be reached.
    """
    queries = read_all()
    if name not in queries:
        raise errors.PermanentError(f"There is no file sql/{name}.sql.")
    if w.is_files:
        return int(w.files.build(w, queries[name]))
    schemas = {"raw": w.raw, "marts": w.marts}
    select = queries[name].sql(w.dialect, lambda layer, table: w.name(schemas[layer], table))
    begun = time.perf_counter()
    begin = w.client.begin_transaction if w.dialect in _TRANSACTIONS else contextlib.nullcontext
    with failures.explained(f"sql/{name}.sql in {w.described}"), begin():
        _replace(w, name, select, is_old=_claim(w, name))
        rows: int = _run(w, f'SELECT COUNT(*) FROM "{name}"')[0][0]
        now = f"CAST('{datetime.now(UTC):%Y-%m-%d %H:%M:%S}+00:00' AS TIMESTAMPTZ)"
        seconds = round(time.perf_counter() - begun, 3)
        values = f"rows = {rows}, seconds = {seconds}, built_at = {now}"
        _run(w, f"UPDATE {_MARKS} SET {values} WHERE name = {_text(name)}")
    return rows


def _claim(w: Warehouse, name: str) -> bool:
    """Mark a table as made here, and tell whether it is there; refuse somebody else's."""
    if w.dialect == "postgres":  # one build at a time, also from other machines
        seconds = settings.load().lock_timeout_seconds
        w.client.execute_sql(f"SET LOCAL lock_timeout = {max(1, int(seconds * 1000))}")
        w.client.execute_sql(f"SELECT pg_advisory_xact_lock(hashtext({_text(w.marts)}))")
    with w.client.with_alternative_dataset_name(w.marts):
        if not w.client.has_dataset():
            w.client.create_dataset()
    if len(name.encode()) > w.client.capabilities.max_identifier_length:
        raise errors.PermanentError(f"The name of sql/{name}.sql is too long for {w.described}.")
    found = w.columns(w.marts, _MARKS, name)
    is_old = name in found
    if w.dialect == "duckdb":  # to which Sales and sales are one
        same = f"table_schema = {_text(w.marts)} AND LOWER(table_name) = LOWER({_text(name)})"
        is_old = bool(w.query(f"SELECT 1 FROM information_schema.tables WHERE {same}"))
    if _MARKS not in found:
        columns = "name TEXT, rows BIGINT, seconds DOUBLE, built_at TIMESTAMPTZ"
        _run(w, f"CREATE TABLE {_MARKS} ({columns})", _AFTER_NAME.get(w.dialect, ""))
    if not _run(w, f"SELECT name FROM {_MARKS} WHERE name = {_text(name)}"):
        if is_old:
            raise not_ours(w, name)
        _run(w, f"INSERT INTO {_MARKS} (name) VALUES ({_text(name)})")
    return is_old


def not_ours(w: Warehouse, name: str) -> errors.PermanentError:
    """Return the error for a table that somebody else made."""
    message = f"{w.marts}.{name} in {w.described} was not made from sql/{name}.sql."
    return errors.PermanentError(f"{message} Rename the file, or drop what has its name.")


def _replace(w: Warehouse, name: str, select: str, *, is_old: bool) -> None:
    """Put what a query gives in the place of the old table."""
    run, target, built = w.client.execute_sql, w.name(w.marts, name), w.name(w.marts, "_built")
    if w.dialect in _REPLACES:
        after = _AFTER_NAME.get(w.dialect, "")
        run(f"CREATE OR REPLACE TABLE {target} {after} AS {select}")
    elif not is_old:
        run(_create(w, target, select))
    else:
        run(_create(w, built, select))
        if _columns(w, name) == _columns(w, "_built"):
            # The table stays, and with it its grants, its indexes and the views on it.
            run(f"DELETE FROM {target}")
            run(f"INSERT INTO {target} SELECT * FROM {built}")
        else:
            where = f"sql/{name}.sql gives other columns now, and something depends on the old ones"
            with failures.explained(where):
                run(f"DROP TABLE {target}")
            run(_create(w, target, f"SELECT * FROM {built}"))
        run(f"DROP TABLE {built}")


def _create(w: Warehouse, table: str, select: str) -> str:
    """Return the statement that makes a table of what a query gives."""
    if w.dialect != "tsql":
        return f"CREATE TABLE {table} AS {select}"
    query = sqlglot.parse_one(select, dialect="tsql")
    if not query.args.get("limit"):
        query.set("order", None)  # which SQL Server refuses below SELECT INTO
    made = exp.Create(this=exp.to_table(table, dialect="tsql"), kind="TABLE", expression=query)
    return made.sql("tsql")


def _columns(w: Warehouse, name: str) -> list[tuple[Any, ...]]:
    """Return names and exact types of the columns of a table, in order; of a view, nothing."""
    if w.dialect == "tsql":
        return w.query(
            "SELECT column_name, data_type, character_maximum_length, numeric_precision,"
            " numeric_scale, datetime_precision FROM information_schema.columns"
            f" WHERE table_schema = {_text(w.marts)} AND table_name = {_text(name)}"
            " ORDER BY ordinal_position"
        )
    return w.query(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " JOIN pg_class ON pg_class.oid = attrelid AND relkind IN ('r', 'p')"
        " JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        f" WHERE nspname = {_text(w.marts)} AND relname = {_text(name)}"
        " AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    )


def _run(w: Warehouse, sql: str, after: str = "") -> list[tuple[Any, ...]]:
    """Run a statement, written for DuckDB, on tables of `marts`."""
    tree = sqlglot.parse_one(sql, dialect="duckdb")
    for table in tree.find_all(exp.Table):
        table.replace(exp.to_table(w.name(w.marts, table.name), dialect=w.dialect))
    translated = tree.sql(w.dialect, identify=True)
    if w.dialect == "clickhouse":  # has no plain UPDATE
        translated = re.sub(r"^UPDATE (.+?) SET", r"ALTER TABLE \1 UPDATE", translated)
    return [tuple(row) for row in w.client.execute_sql(f"{translated} {after}") or ()]


def _text(value: str) -> str:
    return exp.Literal.string(value).sql()
