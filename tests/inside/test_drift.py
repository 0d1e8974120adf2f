"""Columns whose type changes in the source, after a load: nothing is lost in silence.

Runs inside a generated project with all extras.
"""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import databases
import pytest
from my_data_project.common import columns, drift, errors, merge, staging, state
from my_data_project.common.table import Table

KINDS = ["sqlite", "postgres", "duckdb"]
TABLE = Table(name="t", key=("id",))
LATER = Table(name="t", key=("id",), mode="incremental", cursor="id")


def load(table: Table, source: Any, target: Any) -> state.Load:
    state.prepare(target.url)
    extraction = staging.extract(source.url, target.url, table, batch_size=9)
    try:
        return merge.publish(target.url, table, extraction)
    except BaseException:
        staging.discard(target.url, table)
        raise


def pair(first: str, second: str, folder: Path) -> tuple[Any, Any]:
    source = databases.create(first, folder / "source.db")
    return source, databases.create(second, folder / "target.db")


# The database, the type before, a value, the type after, and a value that needs it.
WIDENED = [
    ("postgres", "int", 1, "numeric(10,2)", Decimal("2.50")),
    ("postgres", "int", 1, "bigint", 2**40),
    ("postgres", "bigint", 1, "numeric", Decimal("2.5")),
    ("postgres", "int", 1, "double precision", 2.5),
    ("postgres", "date", date(2020, 1, 1), "timestamp", datetime(2020, 1, 1, 12, 30)),
    ("postgres", "real", 0.5, "double precision", 0.1),
    ("postgres", "numeric(10,3)", Decimal("1.500"), "numeric(12,5)", Decimal("2.12345")),
    ("postgres", "varchar(4)", "abcd", "varchar(8)", "abcdefgh"),
    ("postgres", "varchar(4)", "abcd", "text", "x" * 100),
    (
        "postgres",
        "timestamp(0)",
        datetime(2020, 1, 1),
        "timestamp",
        datetime(2020, 1, 1, 0, 0, 0, 5),
    ),
    ("postgres", "int[]", [1, 2], "numeric[]", [Decimal("1.5")]),
    ("postgres", "uuid", "12345678-1234-5678-1234-567812345678", "text", "none"),
    ("duckdb", "INTEGER", 1, "DECIMAL(10,2)", Decimal("2.50")),
    ("duckdb", "DATE", date(2020, 1, 1), "TIMESTAMP", datetime(2020, 1, 1, 12, 30)),
    ("duckdb", "FLOAT", 0.5, "DOUBLE", 0.1),
    ("duckdb", "DECIMAL(10,3)", Decimal("1.500"), "DECIMAL(12,5)", Decimal("2.12345")),
    ("duckdb", "BIGINT", 1, "HUGEINT", 2**90),
]


@pytest.mark.parametrize(("kind", "before", "old", "after", "new"), WIDENED)
def test_a_widened_type_is_widened(
    kind: str, before: str, old: Any, after: str, new: Any, tmp_path: Path
) -> None:
    source, target = pair(kind, kind, tmp_path)
    source.run(f"CREATE TABLE t (id INTEGER, v {before})", ())
    source.run("INSERT INTO t VALUES (1, ?)", [old])
    load(LATER, source, target)
    source.run(f"ALTER TABLE t ALTER COLUMN v TYPE {after}", ())
    source.run("INSERT INTO t VALUES (2, ?)", [new])
    load(LATER, source, target)
    query = "SELECT id, v FROM t ORDER BY id"
    assert target.run(query, ()) == source.run(query, ())
    assert target.run(query, ())[1] == (2, new)
    assert load(LATER, source, target).rows_written == 0


@pytest.mark.parametrize(
    ("second", "after", "value"),
    [("duckdb", "numeric(10,2)", 2.5), ("duckdb", "double precision", 0.1)],
)
def test_a_type_widens_between_databases(
    second: str, after: str, value: float, tmp_path: Path
) -> None:
    source, target = pair("postgres", second, tmp_path)
    source.run("CREATE TABLE t (id int, v int)", ())
    source.run("INSERT INTO t VALUES (1, 7)", ())
    load(TABLE, source, target)
    source.run(f"ALTER TABLE t ALTER v TYPE {after}", ())
    source.run("INSERT INTO t VALUES (2, ?)", [value])
    load(TABLE, source, target)
    assert [float(v) for _, v in target.run("SELECT * FROM t ORDER BY id", ())] == [7.0, value]
    assert load(TABLE, source, target).rows_written == 0


@pytest.mark.parametrize("kind", ["postgres", "duckdb"])
def test_a_key_may_widen(kind: str, tmp_path: Path) -> None:
    source, target = pair(kind, kind, tmp_path)
    source.run("CREATE TABLE t (id BIGINT, v INTEGER)", ())
    source.run("INSERT INTO t VALUES (1, 1)", ())
    load(LATER, source, target)
    source.run("ALTER TABLE t ALTER COLUMN id TYPE DECIMAL(12,2)", ())
    source.run("INSERT INTO t VALUES (1.2, 2), (1.4, 3)", ())
    assert load(LATER, source, target).rows_written == 2
    assert [row[1] for row in target.run("SELECT * FROM t ORDER BY id", ())] == [1, 2, 3]


NO_ROOM = [
    ("sqlite", "int", "1", "numeric(10,2)", "2.5", "no room for"),
    ("postgres", "timestamp", "'2020-01-01'", "timestamptz", "'2020-11-01 01:30-07'", "time zone"),
    ("postgres", "numeric(10,2)", "12345678.12", "real", "1e30", "would not survive"),
]


@pytest.mark.parametrize(("second", "before", "old", "after", "new", "reason"), NO_ROOM)
def test_what_cannot_be_widened_is_refused_by_name(
    second: str,
    before: str,
    old: str,
    after: str,
    new: str,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGTZ", "America/Los_Angeles")
    source, target = pair("postgres", second, tmp_path)
    source.run(f"CREATE TABLE t (id int, v {before})", ())
    source.run(f"INSERT INTO t VALUES (1, {old})", ())
    load(LATER, source, target)
    rows = target.rows("t")
    source.run(f"ALTER TABLE t ALTER v TYPE {after}", ())
    source.run(f"INSERT INTO t VALUES (2, {new})", ())
    with pytest.raises(errors.PermanentError, match=r"Column 'v' of table 't' was .* is") as it:
        load(LATER, source, target)
    assert reason in str(it.value)
    assert "`reset t --drop` build the table anew" in str(it.value)
    assert target.rows("t") == rows


def test_what_the_warehouse_refuses_to_widen_is_named(tmp_path: Path) -> None:
    """A view keeps PostgreSQL from it, an index DuckDB."""
    for kind, hold in (("postgres", "CREATE VIEW w AS SELECT v FROM t"), ("duckdb", "")):
        source, target = pair(kind, kind, tmp_path)
        source.run("CREATE TABLE t (id INTEGER, v INTEGER)", ())
        source.run("INSERT INTO t VALUES (1, 1)", ())
        load(TABLE, source, target)
        target.run(hold or "CREATE INDEX own ON t (v)", ())
        source.run("ALTER TABLE t ALTER COLUMN v TYPE DECIMAL(10,2)", ())
        assert load(TABLE, source, target).rows_written == 0, "nothing needs more room yet"
        source.run("INSERT INTO t VALUES (2, 2.5)", ())
        with pytest.raises(errors.PermanentError, match=r"is now .*(view|index).*Change it"):
            load(TABLE, source, target)
        assert target.count("t") == 1


def test_a_type_that_somebody_chose_in_the_warehouse_stays(tmp_path: Path) -> None:
    source, target = pair("postgres", "postgres", tmp_path)
    source.run("CREATE TABLE t (id int, a json, b numeric(10,2), c varchar(9), d int)", ())
    source.run("INSERT INTO t VALUES (1, '{\"x\":1}', 1.25, 'a', 1)", ())
    load(LATER, source, target)
    chosen = ["jsonb", "double precision", "text", "bigint"]
    for column, type_ in zip("abcd", chosen, strict=True):
        target.run(f"ALTER TABLE t ALTER {column} TYPE {type_} USING {column}::{type_}", ())
    source.run("INSERT INTO t VALUES (2, '{\"x\":2}', 2.5, 'b', 2)", ())
    assert load(LATER, source, target).rows_written >= 1
    query = "SELECT data_type FROM information_schema.columns WHERE table_name = 't'"
    assert [row[0] for row in target.run(f"{query} ORDER BY ordinal_position", ())][1:] == chosen
    assert target.count("t") == 2


SQLITE = [
    # The type before and after, a value that comes later, and whether it stays as it is.
    ("INTEGER", "REAL", 2.5, True),
    ("INTEGER", "DECIMAL(10,2)", 2.5, True),
    ("DATE", "DATETIME", "2020-01-01 12:00:00", True),
    ("VARCHAR(4)", "TEXT", "abcdefgh", True),
    ("REAL", "INTEGER", 7, True),
    ("REAL", "INTEGER", 2**53 + 1, False),
    ("STRING", "TEXT", "abc", True),
    ("STRING", "TEXT", "007", False),
]


@pytest.mark.parametrize(("before", "after", "value", "kept"), SQLITE)
def test_sqlite_keeps_what_it_is_given(
    before: str, after: str, value: Any, kept: bool, tmp_path: Path
) -> None:
    source, target = pair("sqlite", "sqlite", tmp_path)
    source.run(f"CREATE TABLE t (id INTEGER, v {before})", ())
    source.run("INSERT INTO t VALUES (1, NULL)", ())
    load(LATER, source, target)
    source.run("DROP TABLE t", ())
    source.run(f"CREATE TABLE t (id INTEGER, v {after})", ())
    source.run("INSERT INTO t VALUES (2, ?)", [value])
    if kept:
        load(LATER, source, target)
        assert target.run("SELECT v FROM t WHERE id = 2", ()) == [(value,)]
        assert load(LATER, source, target).rows_written == 0
    else:
        with pytest.raises(errors.PermanentError, match="Column 'v' of table 't' was"):
            load(LATER, source, target)


HOLDS = [
    ("bigint", "integer", True),
    ("integer", "bigint", False),
    ("smallint", "tinyint", True),
    ("uinteger", "integer", False),
    ("bigint", "uinteger", True),
    ("numeric", "numeric(10,2)", True),
    ("numeric(10,2)", "numeric", False),
    ("numeric(12,2)", "integer", True),
    ("numeric(10,2)", "integer", False),
    ("numeric(38,0)", "hugeint", False),
    ("double precision", "integer", True),
    ("double precision", "bigint", False),
    ("double precision", "numeric(3,1)", False),
    ("double precision", "real", True),
    ("hugeint", "decimal(10,2)", False),
    ("timestamp without time zone", "date", True),
    ("date", "timestamp without time zone", False),
    ("timestamp(3) without time zone", "timestamp(6) without time zone", False),
    ("timestamp_s", "timestamp", False),
    ("timestamp with time zone", "timestamp without time zone", False),
    ("text", "character varying(9)", True),
    ("character varying(9)", "character varying(10)", False),
    ("character varying(9)", "text", False),
    ("jsonb", "json", True),
    ("text", "uuid", False),
]


@pytest.mark.parametrize(("kept", "given", "room"), HOLDS)
def test_which_type_has_room_for_which(kept: str, given: str, room: bool) -> None:
    def column(declared: str) -> columns.Column:
        if any(word in declared for word in ("zone", "char", "json")):
            return columns.from_postgres("v", declared, builtin=True, category="", type_="b")
        return columns.from_duckdb("v", declared)

    one, other = column(kept), column(given)
    if one.kind == "decimal" and "numeric" in kept:
        one = columns.from_postgres("v", kept, builtin=True, category="", type_="b")
    assert drift.holds(one, other) is room


@pytest.mark.parametrize("kind", KINDS)
def test_a_gained_column_is_told(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, target = pair(kind, kind, tmp_path)
    source.run("CREATE TABLE t (id INTEGER)", ())
    source.run("INSERT INTO t VALUES (1)", ())
    load(LATER, source, target)
    source.run("ALTER TABLE t ADD COLUMN region VARCHAR", ())
    with caplog.at_level(logging.INFO):
        load(LATER, source, target)
        load(LATER, source, target)
    said = "t: column region added; `backfill` or `reset` fills it in older rows"
    assert [record.getMessage() for record in caplog.records].count(said) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("days", "warned"), [(0, False), (400, True)])
def test_a_watermark_in_the_future_is_told(
    kind: str, days: int, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, target = pair(kind, kind, tmp_path)
    type_ = "TIMESTAMP" if kind == "sqlite" else "TIMESTAMPTZ"
    table = Table(name="t", key=("id",), mode="incremental", cursor="seen")
    source.run(f"CREATE TABLE t (id INTEGER, seen {type_})", ())
    seen = datetime.now(tz=UTC) + timedelta(days=days)
    source.run(f"INSERT INTO t VALUES (1, '{seen.isoformat(' ')}')".replace("+00:00'", "'"), ())
    load(table, source, target)
    told = [record.getMessage() for record in caplog.records if "in the future" in record.message]
    assert bool(told) is warned
    assert not warned or "`reset t`" in told[0]


@pytest.mark.parametrize("type_", ["timestamp", "timestamptz", "date"])
def test_an_infinite_cursor_is_one_clear_error(type_: str, tmp_path: Path) -> None:
    source, target = pair("postgres", "postgres", tmp_path)
    table = Table(name="t", key=("id",), mode="incremental", cursor="seen")
    source.run(f"CREATE TABLE t (id int, seen {type_})", ())
    source.run("INSERT INTO t VALUES (1, 'infinity')", ())
    with pytest.raises(errors.PermanentError, match=r"^Column 'seen' of table 't' cannot be a"):
        load(table, source, target)


def test_errors_of_the_warehouse_name_the_table(tmp_path: Path) -> None:
    source, target = pair("postgres", "postgres", tmp_path)
    source.run("CREATE TABLE t (id int, v text)", ())
    source.run("INSERT INTO t VALUES (1, 'a')", ())
    load(TABLE, source, target)
    target.run("ALTER TABLE t ADD CHECK (v = 'a')", ())
    source.run("UPDATE t SET v = 'b'", ())
    with pytest.raises(errors.PermanentError, match=r"^Table 't': Cannot write to .*check"):
        load(TABLE, source, target)
