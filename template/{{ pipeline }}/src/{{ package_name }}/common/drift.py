"""Schema drift: whether the extracted rows fit the table in the warehouse."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from dlt.common.libs.pyarrow import py_arrow_to_table_schema_columns

from . import errors, settings
from .extraction import Extraction, query, quote

if TYPE_CHECKING:
    from collections.abc import Callable

    from .warehouse import Warehouse

_EXACT = ("double", "bigint")
_SYSTEM_COLUMNS = {"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"}


def fit(opened: Warehouse, extraction: Extraction, there: dict[str, Any] | None) -> Extraction:
    """Make the extracted rows fit the table in the warehouse, as the table's policies say.

    Args:
        opened: The warehouse.
        extraction: The extracted rows; the result lacks the columns to leave out.
        there: Columns of the table in the warehouse, as dlt describes them; None for a new table.

    Raises:
        PermanentError: A column does not fit; the message names it and says what to do.
    """
    _check_names(opened, extraction)
    _check_texts(opened, extraction)
    if there is None:
        return dataclasses.replace(extraction, is_new=True)
    if not extraction.schema.names:  # a function that yields no row has no columns
        return extraction
    table, target = extraction.table, extraction.table.target_name
    wanted = py_arrow_to_table_schema_columns(extraction.schema)
    for name in extraction.json:
        wanted[name]["data_type"] = "json"
    sensitive = opened.client.capabilities.has_case_sensitive_identifiers
    same: Callable[[str], str] = str if sensitive else str.lower
    spelled = {same(name): name for name in (*wanted, *extraction.untyped)}
    kept = {
        spelled.get(same(name), name): column
        for name, column in there.items()
        if not name.startswith("_dlt_")
    }
    new = [name for name in wanted if name not in kept]
    gone = [name for name in kept if name not in wanted and name not in extraction.untyped]
    reset = f"load the table again: {settings.command('reset', target, '--drop')}."
    if new and table.on_new_column == "fail":
        raise errors.PermanentError(
            f"{table.name!r} has new columns in the source: {', '.join(new)}. Leave them out"
            f" with exclude={tuple(new)!r}, or add them with on_new_column='evolve'."
        )
    if gone and table.on_missing_column == "fail":
        instead = f" (new there: {', '.join(new)})" if new else ""
        what = f"has no column {', '.join(gone)} in the source any more{instead}"
        chosen = {*(table.columns or gone)} - {*table.exclude}
        if own := [name for name in gone if name not in chosen]:
            what = f"leaves out {', '.join(own)} with columns or exclude, which the warehouse has"
        raise errors.PermanentError(
            f"{table.name!r} {what}. If that is right: keep it there, null in new rows, with"
            f" on_missing_column='ignore'; drop it with 'evolve'; or {reset}"
        )
    for name in wanted.keys() & kept.keys():
        if not _fits(kept[name], wanted[name]):
            old, new_type = _words(kept[name]), _words(wanted[name])
            # For example, a function yields 2 instead of 2.0. Each value is checked to be exact.
            as_old = f"set types={{{name!r}: 'double'}}, or " if (old, new_type) == _EXACT else ""
            raise errors.PermanentError(
                f"Column {name!r} of {target!r} is {old} in the warehouse, but {new_type} in the"
                f" source, and no value may be changed to fit: {as_old}{reset}"
            )
    if gone and table.on_missing_column == "evolve":
        if opened.is_files:
            opened.execute()  # raises: files keep their columns
        extraction = dataclasses.replace(extraction, gone=tuple(gone))
    if new and table.on_new_column == "ignore":
        fields = [field for field in extraction.schema if field.name not in new]
        json = extraction.json - {*new}
        return dataclasses.replace(extraction, schema=pa.schema(fields), json=json)
    return extraction


def _check_names(opened: Warehouse, extraction: Extraction) -> None:
    """Refuse names that the warehouse would cut off, or confuse with one another."""
    allowed, target = opened.client.capabilities, extraction.table.target_name
    longer = "is longer than the {} bytes that {} allows".format
    if len(target.encode()) > allowed.max_identifier_length:
        problem = longer(allowed.max_identifier_length, opened.dialect)
        raise errors.PermanentError(f"The name {target!r} {problem}: give the table a target.")
    seen: dict[str, str] = {}
    table = extraction.table
    merged = {"incremental": extraction.key, "append": (table.cursor,)}.get(table.mode, ())
    for name in extraction.schema.names:
        same = name if allowed.has_case_sensitive_identifiers else name.lower()
        other = seen.setdefault(same, name)
        if len(name.encode()) > allowed.max_column_identifier_length:
            problem = longer(allowed.max_column_identifier_length, opened.dialect)
        elif name.startswith("_dlt_"):
            problem = "has a name that dlt keeps for itself"
        elif not name.strip() or opened.jobs.schema.naming.normalize_identifier(name) != name:
            problem = "has no name, or one with a quote, a line break or an outer space"
        elif ";" in name or (name in merged and {*"{}"} & {*name}):  # dlt splits and formats SQL
            problem = "has a semicolon, or as a key or cursor a brace, in its name"
        elif opened.dialect == "postgres" and name in _SYSTEM_COLUMNS:
            problem = "has the name of a system column of PostgreSQL"
        elif other != name:
            problem = f"differs from {other!r} in case only, which {opened.dialect} ignores"
        else:
            continue
        out = f", or leave it out with exclude=({name!r},)"
        raise errors.PermanentError(
            f"Column {name!r} of {target!r} {problem}. Read a view with another name for it"
            f"{'' if name in {*extraction.key, table.cursor} else out}."
        )


def _check_texts(opened: Warehouse, extraction: Extraction) -> None:
    """Refuse texts that the warehouse cannot hold."""
    names = [field.name for field in extraction.schema if pa.types.is_string(field.type)]
    wrong, what, other = "contains({}, chr(0))", "has a NUL character", "binary"
    if opened.dialect != "postgres":  # in PostgreSQL, JSON is loaded as text
        names = [name for name in names if name in extraction.json]
        wrong, what, other = "NOT json_valid({})", "is not JSON", "text"
    if not names or not extraction.rows:
        return
    tests = (f"bool_or({wrong.format(quote(name))})" for name in names)
    with query(extraction) as connection:
        found = connection.execute(f"SELECT {', '.join(tests)} FROM rows").fetchall()[0]
    for name in (name for name, is_wrong in zip(names, found, strict=True) if is_wrong):
        raise errors.PermanentError(
            f"Column {name!r} of {extraction.table.target_name!r} has a text that {what}, which"
            f" {opened.dialect} cannot hold there. Correct it in the source, or set"
            f" types={{{name!r}: {other!r}}}."
        )


def _fits(old: Any, new: Any) -> bool:
    """Return whether a column can hold every value of the new type."""
    before, after = _type(old), _type(new)
    if before == "decimal" and after in {"decimal", "bigint"}:
        precision, scale = old.get("precision") or 38, old.get("scale") or 0
        digits = (19, 0) if after == "bigint" else (new.get("precision"), new.get("scale") or 0)
        return scale >= digits[1] and precision - scale >= digits[0] - digits[1]
    if before == after == "timestamp":
        zone = new.get("timezone", True)
        return old.get("timezone", zone) == zone
    return before == after or (before, after) == ("text", "json")


def _type(column: Any) -> str:
    return "decimal" if column["data_type"] == "wei" else str(column["data_type"])


def _words(column: Any) -> str:
    if _type(column) == "decimal":
        return f"decimal({column.get('precision') or 38},{column.get('scale') or 0})"
    zone = "" if column.get("timezone", True) else " without a time zone"
    return f"{_type(column)}{zone if column['data_type'] == 'timestamp' else ''}"
