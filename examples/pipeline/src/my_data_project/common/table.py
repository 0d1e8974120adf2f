"""A table to ingest, described as data."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

from . import errors
from .rules import Rule

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import timedelta

Mode = Literal["full", "incremental", "append"]
OnDrift = Literal["evolve", "ignore", "fail"]
OnNull = Literal["drop", "keep", "fail"]

UNUSABLE = re.compile(r'^$|^_dlt|^_ingestions$|[.;%{}<>:"\'/\\|?*▶\x00-\x1f]|^ |[. ]$')
"""Names that dlt or the receipts use, or that dlt cannot use as a file name."""


def is_usable(name: str) -> bool:
    """Return whether the name is valid for a table in the warehouse."""
    # dlt adds 30 bytes for a file's name, of which systems allow 255.
    return UNUSABLE.search(name) is None and len(name.encode()) <= 200


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of a source, and how it gets into the warehouse.

    Attributes:
        name: Name of the table in the source.
        key: Columns that identify a row. None takes the primary key of the source; without
            one, `full` and `append` keep every row, duplicates too.
        mode: `full` reads the whole table each time and replaces it; `incremental` reads new rows
            by the cursor and merges them by the key; `append` appends new rows.
        cursor: Column that increases when rows are added or changed, for `incremental` and
            `append`.
        lookback: Read rows this much older than the newest one again, for late rows; a
            `timedelta`, or an `int` if the cursor is a number.
        schema: Schema of the table in the source; None means the default one.
        rules: Quality rules of the table.
        source: Name of the source, as in `SOURCE_URLS__<NAME>`; None means `SOURCE_URL`.
        target: Name of the table in the warehouse; None means the same name.
        columns: The only columns to read; None reads all.
        exclude: Columns not to read.
        where: Condition in the source's SQL; only rows that meet it are read.
        types: Types in the warehouse, by column, to override the source's: `text`, `bigint`,
            `double`, `decimal(p,s)`, `bool`, `date`, `time`, `timestamp`, `timestamptz`,
            `binary`, `json`.
        on_new_column: For a new column in the source: `evolve` adds it, `ignore` leaves it out,
            `fail` fails the load.
        on_missing_column: For a column that is gone from the source: `fail` fails the load,
            `ignore` writes nulls in new rows, `evolve` drops it from the warehouse.
        cursor_nulls: For rows without a cursor value: `drop` counts and drops them, `keep` loads
            them each time, `fail` fails the load.
        max_shrink: Share of its rows that a `full` load may lose before it fails; 1 allows all.
    """

    name: str
    key: tuple[str, ...] | None = None
    mode: Mode = "full"
    cursor: str | None = None
    lookback: timedelta | int | None = None
    schema: str | None = None
    rules: tuple[Rule, ...] = ()
    source: str | None = None
    target: str | None = None
    columns: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    where: str | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    on_new_column: OnDrift = "evolve"
    on_missing_column: OnDrift = "fail"
    cursor_nulls: OnNull = "drop"
    max_shrink: float = 0.5

    @property
    def target_name(self) -> str:
        """The name of the table in the warehouse."""
        return self.target or self.name

    @property
    def selection(self) -> str:
        """Digest of the settings that select rows and columns."""
        columns, exclude = sorted(self.columns or ()), sorted(self.exclude)
        chosen = (self.schema, self.name, self.where, columns, exclude)
        return hashlib.sha256(repr(chosen).encode()).hexdigest()[:16]

    def __post_init__(self) -> None:
        """Refuse wrong settings."""
        what = f"Table {self.name!r}"
        for argument in ("key", "rules", "columns", "exclude"):
            value = getattr(self, argument)
            if value is not None and not isinstance(value, tuple):  # such as ("x") for ("x",)
                raise TypeError(f"{what}: {argument} must be a tuple, such as ({value!r},).")
        choices = {"mode": Mode, "cursor_nulls": OnNull}
        choices |= {"on_new_column": OnDrift, "on_missing_column": OnDrift}
        for argument, choice in choices.items():
            if getattr(self, argument) not in get_args(choice):
                listed = ", ".join(map(repr, get_args(choice)))
                raise ValueError(f"{what}: {argument} is one of {listed}.")
        cursor = {self.cursor} - {None}
        needed = {*(self.key or ()), *cursor}
        unread = needed & {*self.exclude} | needed - {*(self.columns or needed)}
        no_rules = [rule for rule in self.rules if not isinstance(rule, Rule)]
        nameless, empty = not is_usable(self.target_name), () in (self.key, self.columns)
        for wrong, why in (
            (nameless, "it needs another name in the warehouse: give it a target"),
            (empty, "an empty tuple names no column; leave it out instead"),
            (no_rules, f"rules holds what is no rule: {', '.join(map(repr, no_rules))}"),
            (self.mode == "incremental" and not cursor, "mode='incremental' needs a cursor"),
            (self.mode == "full" and cursor, "a cursor goes with mode='incremental' or 'append'"),
            (self.lookback is not None and not cursor, "lookback goes with a cursor"),
            (str(self.lookback).startswith("-"), "lookback must not be negative"),
            (
                self.mode == "append" and self.cursor_nulls == "keep",
                "mode='append' would add rows without a cursor each time",
            ),
            (not 0 <= self.max_shrink <= 1, "max_shrink is a share between 0 and 1"),
            (unread, f"key and cursor must be read: {', '.join(sorted(map(str, unread)))}"),
        ):
            if wrong:
                raise ValueError(f"{what}: {why}.")


@dataclass(frozen=True, kw_only=True)
class AllTables:
    """All tables of a schema, as they are when a run begins; each is loaded whole.

    Attributes:
        schema: The schema in the source; None means the default one.
        source: Name of the source; None means `SOURCE_URL`.
        exclude: Names of tables to leave out, such as those with an entry of their own.
        target_prefix: Prefix of the names in the warehouse, such as `crm_`.
        template: The other settings of each table.
    """

    schema: str | None = None
    source: str | None = None
    exclude: tuple[str, ...] = ()
    target_prefix: str = ""
    template: Table = field(default_factory=lambda: Table(name="any"))

    def __str__(self) -> str:
        """What the entry stands for, in messages."""
        return f"all tables of {_place(self)}"

    def expand(self, names: Collection[str]) -> list[Table]:
        """Return an entry for each name that is not excluded.

        Raises:
            PermanentError: `exclude` names an unknown table, or a name cannot be used in the
                warehouse.
        """
        if unknown := ", ".join(repr(name) for name in self.exclude if name not in names):
            message = f"AllTables excludes {unknown}: {_place(self)} has no such table."
            raise errors.PermanentError(message)
        wanted = [name for name in names if name not in self.exclude]
        targets = {name: f"{self.target_prefix}{name}" for name in wanted}
        if nameless := [name for name, target in targets.items() if not is_usable(target)]:
            raise errors.PermanentError(
                f"{', '.join(map(repr, nameless))} cannot be the name of a table in the warehouse:"
                f" give AllTables exclude={(*self.exclude, *nameless)!r}, and list what you need"
                " of that as a Table with a target."
            )
        where = {"schema": self.schema, "source": self.source}
        return [
            replace(self.template, name=name, target=target, **where)
            for name, target in targets.items()
        ]


Entry = Table | AllTables


def check_targets(tables: Iterable[Table], found: Iterable[Table] = ()) -> None:
    """Refuse tables with the same name in the warehouse, which may ignore case.

    Args:
        tables: Tables with their own entry.
        found: Tables of an `AllTables` entry.
    """
    own = [*tables]
    names = {table.target_name.lower() for table in own}
    seen: dict[str, Table] = {}
    for number, table in enumerate((*own, *found)):
        name, prefix = table.target_name, table.schema or table.source or "other"
        other = seen.setdefault(name.lower(), table)
        if other is table:
            continue
        advice = f"give one of them another target, such as target='{prefix}_{table.name}'"
        if number >= len(own):
            advice = f"give one AllTables another target_prefix, such as '{prefix}_'"
            if name.lower() in names or _place(other) == _place(table):
                advice = f"give AllTables exclude=({table.name!r},)"
        raise errors.PermanentError(
            f"flows/tables.py has two tables {name!r} for the warehouse ({other.name!r} of"
            f" {_place(other)} and {table.name!r} of {_place(table)}): {advice}."
        )


def _place(entry: Entry) -> str:
    return ".".join(filter(None, (entry.source, entry.schema))) or "the source"
