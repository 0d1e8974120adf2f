"""Columns that come, go, or change their type between loads. Runs inside a generated project."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from bench import Bench, embedded, use_bench
from my_data_project.common import errors
from my_data_project.common.table import Table

bench = use_bench

FULL = Table(name="t")
MERGE = Table(name="t", key=("id",), mode="incremental", cursor="id")
BOTH = pytest.mark.parametrize("table", [FULL, MERGE], ids=["full", "incremental"])


def change(table: Table, **policies: Any) -> Table:
    return dataclasses.replace(table, **policies)


def start(bench: Bench, table: Table) -> None:
    bench.source("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)", "INSERT INTO t VALUES (1, 'a')")
    bench.ingest(table)


@BOTH
def test_a_new_column_is_added(bench: Bench, table: Table) -> None:
    start(bench, table)
    bench.source("ALTER TABLE t ADD COLUMN more DATE")
    bench.source("INSERT INTO t VALUES (2, 'b', '2024-01-01')")
    for _ in range(2):
        bench.ingest(table)
    assert bench.rows("t") == [(1, "a", None), (2, "b", date(2024, 1, 1))]


@BOTH
def test_a_new_column_may_be_left_out(bench: Bench, table: Table) -> None:
    start(bench, table)
    bench.source("ALTER TABLE t ADD COLUMN email TEXT", "INSERT INTO t VALUES (2, 'b', 'e')")
    for _ in range(2):
        bench.ingest(change(table, on_new_column="ignore"))
    assert bench.rows("t") == [(1, "a"), (2, "b")]


def test_a_new_column_of_json_may_be_left_out(bench: Bench) -> None:
    for given in ({"id": 1}, {"id": 2, "tags": ["a"]}):
        bench.ingest(change(MERGE, on_new_column="ignore"), [given])
    assert bench.rows("t") == [(1,), (2,)]


@BOTH
def test_a_new_column_may_fail_the_load(bench: Bench, table: Table) -> None:
    start(bench, table)
    bench.source("ALTER TABLE t ADD COLUMN email TEXT", "INSERT INTO t VALUES (2, 'b', 'e')")
    strict = change(table, on_new_column="fail")
    watermark = bench.receipt("t").watermark
    with pytest.raises(errors.PermanentError, match="new columns in the source: email") as caught:
        bench.ingest(strict)
    assert bench.rows("t") == [(1, "a")]
    assert bench.receipt("t").watermark == watermark
    for recipe in ("exclude=('email',)", "on_new_column='evolve'"):
        assert recipe in str(caught.value)
    bench.ingest(change(strict, exclude=("email",)))
    assert bench.rows("t") == [(1, "a"), (2, "b")]
    bench.ingest(change(strict, on_new_column="evolve"))
    assert (2, "b", "e") in bench.rows("t")


RENAMED = ["on_missing_column='ignore'", "'evolve'", "uv run my-data-project reset t --drop"]


@BOTH
def test_a_column_that_is_gone_fails_the_load(bench: Bench, table: Table) -> None:
    start(bench, table)
    bench.source("ALTER TABLE t RENAME COLUMN v TO w", "INSERT INTO t VALUES (2, 'b')")
    with pytest.raises(errors.PermanentError, match=r"no column v .*\(new there: w\)") as caught:
        bench.ingest(table)
    assert bench.rows("t") == [(1, "a")]
    assert [recipe for recipe in RENAMED if recipe not in str(caught.value)] == []


@BOTH
@pytest.mark.parametrize("recipe", ["ignore", "evolve", "reset"])
def test_each_recipe_for_a_renamed_column_works(bench: Bench, table: Table, recipe: str) -> None:
    start(bench, table)
    bench.source("ALTER TABLE t RENAME COLUMN v TO w", "INSERT INTO t VALUES (2, 'b')")
    if recipe == "reset":
        bench.reset("t", drop=True)
    else:
        table = change(table, on_missing_column=recipe)
    for _ in range(2):
        bench.ingest(table)
    found = {columns[0]: columns[1:] for columns in bench.rows("t")}
    # The first row is read again by both: it is the newest of the cursor.
    assert found == (
        {1: (None, "a"), 2: (None, "b")} if recipe == "ignore" else {1: ("a",), 2: ("b",)}
    )


@embedded
@pytest.mark.parametrize("policy", ["fail", "evolve"])
def test_a_column_in_other_letters_is_the_same_where_case_does_not_count(
    bench: Bench, policy: Any
) -> None:
    table = change(MERGE, on_missing_column=policy)
    bench.ingest(table, [{"id": 1, "Name": "a"}])
    bench.ingest(table, [{"id": 2, "name": "b"}])
    assert bench.rows("t") == [(1, "a"), (2, "b")]
    with pytest.raises(errors.PermanentError, match="Column 'NAME' of 't' is text in the war"):
        bench.ingest(table, [{"id": 3, "NAME": 7}])
    bench.ingest(change(table, mode="full", cursor=None), [{"id": 2, "name": "b"}])
    assert bench.rows("t") == [(2, "b")]


def test_a_dropped_column_may_come_back_as_another_type(bench: Bench) -> None:
    """What the staging schema kept of the old one would change the new values."""
    evolving = change(FULL, on_missing_column="evolve")
    bench.ingest(evolving, [{"id": 1, "v": 7}])
    bench.ingest(evolving, [{"id": 1}])
    bench.ingest(evolving, [{"id": 1, "v": "007"}])
    assert bench.rows("t") == [(1, "007")]


@embedded
def test_a_column_that_was_excluded_counts_as_gone(bench: Bench) -> None:
    start(bench, FULL)
    for narrow in ({"exclude": ("v",)}, {"columns": ("id",)}):
        with pytest.raises(errors.PermanentError, match="leaves out v with columns or") as found:
            bench.ingest(change(FULL, **narrow))
        assert "in the source" not in str(found.value)
    bench.ingest(change(FULL, exclude=("v",), on_missing_column="evolve"))
    assert bench.columns("t") == ["id"]


@embedded
def test_columns_named_in_the_table_must_be_there(bench: Bench) -> None:
    start(bench, FULL)
    for wrong in ({"columns": ("id", "w")}, {"exclude": ("w",)}, {"types": {"w": "text"}}):
        with pytest.raises(errors.PermanentError, match=r"no column 'w'; it has id, v"):
            bench.ingest(change(FULL, **wrong))


DAY = datetime(2024, 1, 1, 12, tzinfo=UTC)
UTC_TIME = pa.timestamp("us", "UTC")
CHANGED: list[tuple[str, pa.DataType, Any, pa.DataType, Any]] = [
    ("number to fraction", pa.int64(), 1, pa.float64(), 3.7),
    ("number to text", pa.int64(), 1, pa.string(), "007"),
    ("fraction to text", pa.float64(), 1.5, pa.string(), "x"),
    ("text to number", pa.string(), "x", pa.int64(), 1),
    ("number to decimal", pa.int64(), 1, pa.decimal128(9, 2), Decimal("1.25")),
    ("fewer digits", pa.decimal128(9, 2), Decimal(1), pa.decimal128(9, 4), Decimal("0.0001")),
    ("larger", pa.decimal128(9, 2), Decimal(1), pa.decimal128(12, 2), Decimal("1234567890.12")),
    ("day to time", pa.date32(), date(2024, 1, 1), UTC_TIME, DAY),
    ("time to day", UTC_TIME, DAY, pa.date32(), date(2024, 1, 1)),
    ("bool to number", pa.bool_(), True, pa.int64(), 2),
    ("text to bytes", pa.string(), "a", pa.binary(), b"\xff"),
    ("time of day", pa.time64("us"), time(1), pa.string(), "x"),
]


@pytest.mark.parametrize(
    ("old", "before", "new", "after"), [c[1:] for c in CHANGED], ids=[c[0] for c in CHANGED]
)
def test_a_type_that_changed_is_refused_by_name(
    bench: Bench, old: pa.DataType, before: Any, new: pa.DataType, after: Any
) -> None:
    def rows(type_: pa.DataType, value: Any) -> list[Any]:
        return [pa.table({"id": [1], "v": pa.array([value], type_)})]

    bench.ingest(FULL, rows(old, before))
    bench.ingest(FULL, rows(old, before))
    with pytest.raises(errors.PermanentError, match=r"Column 'v' of 't' is .* in the w") as caught:
        bench.ingest(FULL, rows(new, after))
    assert bench.rows("t") == [(1, before)]
    assert "uv run my-data-project reset t --drop" in str(caught.value)
    bench.reset("t", drop=True)
    bench.ingest(FULL, rows(new, after))
    assert bench.rows("t") == [(1, after)]


@pytest.mark.parametrize("later", [True, False], ids=["gains", "loses"])
def test_a_time_that_gains_or_loses_its_zone_is_refused(bench: Bench, later: bool) -> None:
    for zoned in (not later, not later, later):
        type_, value = "DATETIME", "2024-01-01 12:00:00"
        if zoned:
            type_, value = "TIMESTAMPTZ", f"{value}+02:00"
        bench.source("DROP TABLE IF EXISTS t", f"CREATE TABLE t (id INTEGER, v {type_})")
        bench.source(f"INSERT INTO t VALUES (1, '{value}')")
        if zoned is not later:
            bench.ingest(FULL)
    with pytest.raises(
        errors.PermanentError, match=r"'v' of 't' is timestamp.*without a time zone"
    ):
        bench.ingest(FULL)


FITTING: list[tuple[str, pa.DataType, Any, pa.DataType, Any]] = [
    ("digits", pa.decimal128(12, 4), Decimal("1.5000"), pa.decimal128(9, 2), Decimal("1.25")),
    ("to whole", pa.decimal128(38, 2), Decimal("1.50"), pa.int64(), 7),
    ("nulls only", pa.int64(), None, pa.int64(), 1),
]


@pytest.mark.parametrize(
    ("old", "before", "new", "after"), [c[1:] for c in FITTING], ids=[c[0] for c in FITTING]
)
def test_a_type_that_the_warehouse_has_room_for_is_taken(
    bench: Bench, old: pa.DataType, before: Any, new: pa.DataType, after: Any
) -> None:
    for id_, type_, value in ((1, old, before), (2, new, after)):
        bench.ingest(MERGE, [pa.table({"id": [id_], "v": pa.array([value], type_)})])
    assert bench.rows("t") == [(1, before), (2, after)]


@embedded
def test_a_function_whose_column_mixes_types_is_refused_by_name(bench: Bench) -> None:
    with pytest.raises(errors.PermanentError, match=r"'v' of 't' holds .* types=\{'v': 'text'\}"):
        bench.ingest(FULL, [{"id": 1, "v": 1}, {"id": 2, "v": "two"}])
    bench.ingest(change(FULL, types={"v": "text"}), [{"id": 1, "v": 1}, {"id": 2, "v": "two"}])
    assert bench.rows("t", "id, v") == [(1, "1"), (2, "two")]


def test_whole_numbers_go_to_a_column_of_floats_as_advised(bench: Bench) -> None:
    bench.ingest(MERGE, [{"id": 1, "v": 1.5}])
    with pytest.raises(errors.PermanentError, match=r"fit: set types=\{'v': 'double'\}, or load"):
        bench.ingest(MERGE, [{"id": 2, "v": 2}])
    bench.ingest(change(MERGE, types={"v": "double"}), [{"id": 2, "v": 2}])
    assert bench.rows("t") == [(1, 1.5), (2, 2.0)]


def test_a_column_without_a_value_yet_is_no_new_one(bench: Bench) -> None:
    """Of a function, an absent value says nothing: the column appears with its first one."""
    bench.ingest(MERGE, [{"id": 1, "v": None}])
    bench.ingest(MERGE, [{"id": 2, "v": "x"}])
    bench.ingest(change(MERGE, on_missing_column="ignore"), [{"id": 3, "v": None}])
    assert bench.rows("t") == [(1, None), (2, "x"), (3, None)]


def test_a_column_that_somebody_added_in_the_warehouse_is_kept_by_ignore(bench: Bench) -> None:
    start(bench, FULL)
    bench.execute("ALTER TABLE raw.t ADD COLUMN mine BIGINT")
    with pytest.raises(errors.PermanentError, match="has no column mine in the source"):
        bench.ingest(FULL)
    bench.ingest(change(FULL, on_missing_column="ignore"))
    assert bench.rows("t") == [(1, "a", None)]


def test_a_table_that_somebody_dropped_is_made_anew(bench: Bench) -> None:
    start(bench, MERGE)
    bench.source("INSERT INTO t VALUES (2, 'b')")
    bench.ingest(MERGE)
    bench.execute("DROP TABLE raw.t")
    bench.ingest(MERGE)
    assert bench.rows("t") == [(1, "a"), (2, "b")]
