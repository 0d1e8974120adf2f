"""Loads of every mode into every warehouse. Runs inside a generated project."""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib.util
import json
import logging
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dlt
import postgres_server
import psycopg2
import pyarrow as pa
import pytest
import sqlalchemy as sa
from bench import Bench, embedded, query_sqlite, use_bench
from my_data_project.common import (
    checks,
    db_utils,
    errors,
    extraction,
    failures,
    loading,
    receipts,
    reporting,
    rules,
    runs,
    settings,
    warehouse,
)
from my_data_project.common.table import Table
from my_data_project.tasks import ingestion

bench = use_bench

FULL = Table(name="t")
APPEND = Table(name="t", mode="append")
BY_TIME = Table(name="t", mode="append", cursor="at")
MERGE = Table(name="t", key=("id",), mode="incremental", cursor="at")


def day(number: int) -> dt.datetime:
    return dt.datetime(2024, 1, number, tzinfo=dt.UTC)


def row(id_: int | None, at: int | None, v: str = "") -> dict[str, Any]:
    return {"id": id_, "at": None if at is None else day(at), "v": v}


def ids(bench: Bench, columns: str = "id, v") -> list[tuple[Any, ...]]:
    return bench.rows("t", columns)


# Rows: none is lost without being counted.


@pytest.mark.parametrize("table", [FULL, APPEND], ids=["full", "append"])
def test_rows_without_a_key_all_arrive(bench: Bench, table: Table) -> None:
    bench.source(
        "CREATE TABLE t (who INTEGER, page TEXT)",
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)"
        " INSERT INTO t SELECT nullif(i % 7, 0), nullif('p' || (i % 3), 'p0') FROM n",
    )
    done = bench.ingest(table)
    assert (done.read, done.loaded, done.dropped) == (10_000, 10_000, 0)
    assert bench.rows("t") == sorted(bench.source("SELECT * FROM t"), key=repr)


@embedded
def test_a_primary_key_is_found_in_the_source(bench: Bench) -> None:
    bench.source(
        "CREATE TABLE t (v TEXT, at TIMESTAMP, b INTEGER, a INTEGER, PRIMARY KEY (a, b))",
        "INSERT INTO t VALUES ('x', '2024-01-01 00:00:00', 1, 1)",
    )
    table = Table(name="t", mode="incremental", cursor="at")
    bench.ingest(table)
    bench.source("UPDATE t SET v = 'y'", "INSERT INTO t VALUES ('z', '2024-01-02', 2, 1)")
    bench.ingest(table)
    assert bench.rows("t", "a, b, v") == [(1, 1, "y"), (1, 2, "z")]


@embedded
def test_incremental_without_a_key_is_refused_before_anything_is_read(bench: Bench) -> None:
    bench.source("CREATE TABLE t (id INTEGER, at TIMESTAMP)")
    table = Table(name="t", mode="incremental", cursor="at")
    with pytest.raises(errors.PermanentError, match=r"no primary key: give it a key, or .*append"):
        bench.ingest(table)
    assert bench.columns("t") == []


@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_the_newest_row_of_a_key_stays_and_the_others_are_counted(bench: Bench, mode: Any) -> None:
    rows = [row(1, 2, "new"), row(1, 1, "old"), row(2, 1), row(None, 3), row(1, None, "null")]
    table = Table(name="t", key=("id",), mode=mode, cursor="at" if mode != "full" else None)
    done = bench.ingest(table, rows)
    assert (done.read, done.loaded, done.dropped) == (5, 2, 3)
    assert bench.receipt("t").rows_dropped == 3
    assert [id_ for id_, _ in ids(bench)] == [1, 2]
    if mode == "incremental":
        assert ids(bench) == [(1, "new"), (2, "")]


@embedded
def test_a_load_that_drops_more_than_its_rule_allows_is_kept_out(bench: Bench) -> None:
    table = Table(name="t", key=("id",), rules=(rules.Dropped(maximum=1),))
    bench.ingest(table, [row(1, 1), row(None, 1)])
    with pytest.raises(errors.PermanentError, match=r"at most 1 rows dropped.*2 dropped"):
        bench.ingest(table, [row(1, 1), row(None, 1), row(1, 1, "x"), row(2, 1)])
    assert ids(bench) == [(1, "")]


@embedded
def test_rows_without_a_cursor_are_dropped_and_counted(bench: Bench) -> None:
    assert bench.ingest(MERGE, [row(1, 1), row(2, None)]).dropped == 1
    assert ids(bench) == [(1, "")]


def test_rows_without_a_cursor_are_kept_if_wanted(bench: Bench) -> None:
    table = Table(name="t", key=("id",), mode="incremental", cursor="at", cursor_nulls="keep")
    bench.source("CREATE TABLE t (id INTEGER, at TIMESTAMP, v TEXT)")
    bench.source("INSERT INTO t VALUES (1, '2024-01-01', 'a'), (2, NULL, 'b')")
    assert bench.ingest(table).dropped == 0
    bench.source("UPDATE t SET v = 'c' WHERE id = 2", "INSERT INTO t VALUES (3, NULL, 'd')")
    bench.ingest(table)
    assert ids(bench) == [(1, "a"), (2, "c"), (3, "d")]


@embedded
def test_rows_without_a_cursor_fail_the_load_if_wanted(bench: Bench) -> None:
    table = Table(name="t", key=("id",), mode="incremental", cursor="at", cursor_nulls="fail")
    bench.ingest(table, [row(1, 1)])
    with pytest.raises(errors.PermanentError, match=r"2 rows of 't' have no at\. cursor_nulls='d"):
        bench.ingest(table, [row(2, None), row(3, None), row(4, 2)])
    assert ids(bench) == [(1, "")]
    bench.ingest(MERGE, [row(2, None), row(4, 2)])  # as the message says
    assert ids(bench) == [(1, ""), (4, "")]


# Watermarks: never ahead of the rows, never beyond what a mistake can move.


def test_incremental_merges_what_is_new_and_what_has_changed(bench: Bench) -> None:
    bench.source(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP, v TEXT)",
        "INSERT INTO t VALUES (1, '2024-01-01', 'a'), (2, '2024-01-02', 'b')",
    )
    assert bench.ingest(MERGE).loaded == 2
    assert bench.receipt("t").watermark == "2024-01-02T00:00:00"
    # Row 1 lies below the watermark; row 2 equals it and changed; row 3 equals it and is late.
    bench.source(
        "UPDATE t SET v = 'x'",
        "INSERT INTO t VALUES (3, '2024-01-02', 'c'), (4, '2024-01-03', 'd')",
    )
    assert bench.ingest(MERGE).loaded == 3
    assert ids(bench) == [(1, "a"), (2, "x"), (3, "c"), (4, "d")]
    assert bench.ingest(MERGE).loaded == 1


@embedded
def test_lookback_reads_late_rows(bench: Bench) -> None:
    table = Table(
        name="t", key=("id",), mode="incremental", cursor="at", lookback=dt.timedelta(days=2)
    )
    bench.source("CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP, v TEXT)")
    bench.source("INSERT INTO t VALUES (1, '2024-01-05', '')")
    bench.ingest(table)
    bench.source("INSERT INTO t VALUES (2, '2024-01-02', ''), (3, '2024-01-03', '')")
    bench.ingest(table)
    assert [id_ for id_, _ in ids(bench)] == [1, 3]
    assert bench.receipt("t").watermark == "2024-01-05T00:00:00"


@embedded
@pytest.mark.parametrize(
    ("type_", "values", "lookback"),
    [
        ("INTEGER", [1, 5, 4, 9], 1),
        ("DATE", ["'2024-01-01'", "'2024-01-05'", "'2024-01-04'", "'2024-01-09'"], dt.timedelta(1)),
        ("TEXT", ["'a'", "'e'", "'e'", "'i'"], None),
        ("DECIMAL(9,2)", ["1.25", "5.50", "5", "9.75"], 1),
    ],
)
def test_a_cursor_may_be_a_number_a_date_or_a_text(
    bench: Bench, type_: str, values: list[Any], lookback: Any
) -> None:
    table = Table(name="t", key=("id",), mode="incremental", cursor="at", lookback=lookback)
    bench.source(f"CREATE TABLE t (id INTEGER PRIMARY KEY, at {type_})")
    for batch in (values[:2], values[2:]):
        for value in batch:
            bench.source(f"INSERT INTO t (at) VALUES ({value})")
        bench.ingest(table)
    assert bench.rows("t", "id") == [(1,), (2,), (3,), (4,)]


@embedded
def test_a_lookback_that_does_not_fit_its_cursor_is_refused(bench: Bench) -> None:
    table = Table(name="t", key=("id",), mode="incremental", cursor="at", lookback=3)
    bench.source("CREATE TABLE t (id INTEGER, at TIMESTAMP)")
    bench.source("INSERT INTO t VALUES (1, '2024-01-01')")
    bench.ingest(table)
    with pytest.raises(errors.PermanentError, match="lookback 3 does not fit its cursor"):
        bench.ingest(table)


@pytest.mark.parametrize("strange", [math.nan, math.inf, -math.inf], ids=str)
def test_a_cursor_that_is_no_number_does_not_move_the_watermark(
    bench: Bench, strange: float, caplog: pytest.LogCaptureFixture
) -> None:
    def seen(since: Any = None) -> Iterator[Any]:
        bounds.append(since)
        yield pa.Table.from_pylist(values)

    bounds: list[Any] = []
    values = [{"id": 1, "at": 1.5}, {"id": 2, "at": strange}]
    bench.ingest(MERGE, seen)
    assert "1 rows have a at that is in the future or no number" in caplog.text
    assert bench.receipt("t").watermark == "1.5"
    values = [{"id": 3, "at": 2.5}]
    bench.ingest(MERGE, seen)
    assert bounds == [None, 1.5]
    assert bench.rows("t", "id") == [(1,), (2,), (3,)]
    assert str(strange) in {str(value) for (value,) in bench.rows("t", '"at"')}


@pytest.mark.parametrize("type_", ["TIMESTAMP", "DATE"])
def test_a_cursor_in_the_future_does_not_move_the_watermark(
    bench: Bench, type_: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench.source(
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, at {type_}, v TEXT)",
        "INSERT INTO t VALUES (1, '2024-01-01', ''), (2, '2999-12-31', '')",
    )
    with caplog.at_level(logging.WARNING):
        bench.ingest(MERGE)
    assert "1 rows have a at that is in the future" in caplog.text
    bench.source("INSERT INTO t VALUES (3, '2024-01-02', '')")
    bench.ingest(MERGE)
    assert [id_ for id_, _ in ids(bench)] == [1, 2, 3]
    assert bench.receipt("t").watermark is not None
    assert str(bench.receipt("t").watermark).startswith("2024-01-02")


@embedded
@pytest.mark.parametrize("future", ["2999-12-31", "2999-12-31T23:59:59Z"])
def test_a_text_in_the_future_does_not_move_the_watermark(bench: Bench, future: str) -> None:
    past = future.replace("2999", "2023")
    bench.source("CREATE TABLE t (id INTEGER PRIMARY KEY, at TEXT, v TEXT)")
    bench.source(f"INSERT INTO t VALUES (1, '{past}', ''), (2, '{future}', '')")
    bench.ingest(MERGE)
    assert bench.receipt("t").watermark == past
    assert [id_ for id_, _ in ids(bench)] == [1, 2]


@embedded
@pytest.mark.parametrize(
    ("type_", "value"), [("TEXT", "29991231"), ("TEXT", "zebra"), ("INTEGER", "99999999999")]
)
def test_what_is_no_time_moves_the_watermark(bench: Bench, type_: str, value: str) -> None:
    bench.source(f"CREATE TABLE t (id INTEGER PRIMARY KEY, at {type_}, v TEXT)")
    bench.source(f"INSERT INTO t VALUES (1, '1', ''), (2, '{value}', '')")
    bench.ingest(MERGE)
    assert bench.receipt("t").watermark == value


@embedded
def test_only_cursors_in_the_future_leave_the_watermark_as_it_was(bench: Bench) -> None:
    rows = [{"id": 1, "at": dt.datetime(2999, 1, 1, tzinfo=dt.UTC), "v": ""}]
    bench.ingest(MERGE, rows)
    assert bench.receipt("t").watermark is None
    bench.ingest(MERGE, [row(2, 3)])
    bench.ingest(MERGE, rows)
    assert bench.receipt("t").watermark == "2024-01-03T00:00:00+00:00"


def test_nothing_new_keeps_the_watermark(bench: Bench) -> None:
    bench.ingest(MERGE, [row(1, 3)])
    bench.ingest(MERGE, [])
    receipt = bench.receipt("t")
    assert (receipt.watermark, receipt.rows_loaded) == ("2024-01-03T00:00:00+00:00", 0)
    assert ids(bench) == [(1, "")]


def test_a_receipt_of_a_load_that_did_not_end_does_not_count(bench: Bench) -> None:
    bench.ingest(MERGE, [row(1, 3)])
    names = ", ".join(["table_name", "source", "mode", "rows_read", "rows_loaded", "rows_dropped"])
    bench.execute(
        f"INSERT INTO raw._ingestions ({names}, watermark, loaded_at, _dlt_load_id)"
        " VALUES ('t', 's', 'incremental', 1, 1, 0, '2999-01-01', '2999-01-01 00:00:00+00', 'x')"
    )
    assert bench.receipt("t").watermark == "2024-01-03T00:00:00+00:00"


@embedded
def test_rows_that_break_a_rule_do_not_move_the_watermark(bench: Bench) -> None:
    table = Table(
        name="t",
        key=("id",),
        mode="incremental",
        cursor="at",
        rules=(rules.AcceptedValues(column="v", values=("a", "b")),),
    )
    bench.ingest(table, [row(1, 1, "a")])
    with pytest.raises(errors.PermanentError, match="v is one of a, b: 1"):
        bench.ingest(table, [row(2, 2, "b"), row(3, 3, "c")])
    assert ids(bench) == [(1, "a")]
    assert bench.receipt("t").watermark == "2024-01-01T00:00:00+00:00"
    bench.ingest(table, [row(2, 2, "b"), row(3, 3, "a")])
    assert ids(bench) == [(1, "a"), (2, "b"), (3, "a")]


# Windows: what is read again never moves the watermark, never brings back what is old.


def test_a_window_is_read_again_and_the_watermark_stays(bench: Bench) -> None:
    bench.source("CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP, v TEXT)")
    for number in range(1, 6):
        bench.source(f"INSERT INTO t VALUES ({number}, '2024-01-0{number}', 'a')")
    bench.ingest(MERGE)
    bench.source("UPDATE t SET v = 'b'")
    done = bench.ingest(MERGE, since="2024-01-02", until="2024-01-04")
    assert (done.read, done.loaded) == (2, 2)
    assert ids(bench) == [(1, "a"), (2, "b"), (3, "b"), (4, "a"), (5, "a")]
    assert bench.receipt("t").watermark == "2024-01-05T00:00:00"
    bench.ingest(MERGE, since="2024-01-04T00:00:00+00:00")
    assert [v for _, v in ids(bench)] == ["a", "b", "b", "b", "b"]


@embedded
def test_after_a_window_alone_the_next_load_reads_all(bench: Bench) -> None:
    bench.source("CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP, v TEXT)")
    bench.source("INSERT INTO t VALUES (1, '2024-01-01', ''), (2, '2024-01-02', '')")
    bench.ingest(MERGE, since="2024-01-02")
    assert bench.receipt("t").watermark is None
    bench.ingest(MERGE)
    assert [id_ for id_, _ in ids(bench)] == [1, 2]


def test_a_window_brings_back_no_older_version_of_a_row(bench: Bench) -> None:
    """The source keeps every version, and the key is not its primary key."""
    bench.source(
        "CREATE TABLE t (id INTEGER, at TIMESTAMP, v TEXT)",
        "INSERT INTO t VALUES (1, '2024-01-01', 'old'), (1, '2024-01-09', 'new'),"
        " (2, '2024-01-01', 'only')",
    )
    bench.ingest(MERGE)
    bench.ingest(MERGE, since="2024-01-01", until="2024-01-05")
    assert ids(bench) == [(1, "new"), (2, "only")]


@embedded
def test_a_window_of_a_function_brings_back_no_older_version_of_a_row(bench: Bench) -> None:
    versions = [row(1, 1, "old"), row(1, 9, "new"), row(2, 1, "only")]
    bench.ingest(MERGE, versions)
    versions[-1]["v"] = "again"
    bench.ingest(MERGE, versions, since="2024-01-01", until="2024-01-05")
    assert ids(bench) == [(1, "new"), (2, "again")]


def test_a_window_of_a_table_that_appends_adds_no_row_twice(bench: Bench) -> None:
    bench.source("CREATE TABLE t (id INTEGER, at TIMESTAMP, v TEXT)")
    bench.source("INSERT INTO t VALUES (1, '2024-01-01', ''), (2, '2024-01-02', '')")
    bench.ingest(BY_TIME)
    bench.ingest(BY_TIME, since="2024-01-01", until="2024-01-02")
    assert [id_ for id_, _ in ids(bench)] == [1, 2]


@embedded
@pytest.mark.parametrize(
    ("since", "until", "message"),
    [
        (None, "2024-01-01", "needs a beginning"),
        ("2024-01-05", "2024-01-05", "is empty"),
        ("7 days ago", None, "'7 days ago' does not fit a cursor"),
        ("yesterday", None, "'yesterday' is no cursor value"),
    ],
)
def test_a_window_that_is_none_is_refused(
    bench: Bench, since: str | None, until: str | None, message: str
) -> None:
    bench.source("CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP, v TEXT)")
    with pytest.raises(errors.PermanentError, match=message):
        bench.ingest(MERGE, since=since, until=until)


@embedded
def test_a_window_of_a_full_table_reads_it_whole(bench: Bench) -> None:
    bench.ingest(FULL, [row(1, 1), row(2, 2)], since="2024-01-02", until="2024-01-03")
    assert bench.count("t") == 2


@embedded
def test_a_window_may_be_open_by_name(bench: Bench) -> None:
    bench.ingest(
        Table(name="t", key=("id",), mode="incremental", cursor="id"),
        [{"id": 1.5}],
        since="-inf",
        until="inf",
    )
    assert bench.rows("t") == [(1.5,)]


# Append.


def test_append_by_a_cursor_adds_no_row_twice_and_misses_none(bench: Bench) -> None:
    bench.source("CREATE TABLE t (id INTEGER, at TIMESTAMP, v TEXT)")
    bench.source("INSERT INTO t VALUES (1, '2024-01-01', ''), (2, '2024-01-02', '')")
    bench.ingest(BY_TIME)
    # Two equal rows, late, with the cursor's newest value; and one that is newer.
    bench.source(
        "INSERT INTO t VALUES (3, '2024-01-02', ''), (3, '2024-01-02', ''), (4, '2024-01-03', '')"
    )
    bench.ingest(BY_TIME)
    bench.ingest(BY_TIME)
    assert [id_ for id_, _ in ids(bench)] == [1, 2, 3, 3, 4]


def test_append_by_a_cursor_loses_what_the_source_deleted_of_the_newest(bench: Bench) -> None:
    """As its rows have no key, nothing else tells those of the newest value from new ones."""
    bench.source("CREATE TABLE t (id INTEGER, at TIMESTAMP, v TEXT)")
    bench.source("INSERT INTO t VALUES (1, '2024-01-01', ''), (2, '2024-01-02', '')")
    bench.source("INSERT INTO t VALUES (3, '2024-01-02', '')")
    bench.ingest(BY_TIME)
    bench.source("DELETE FROM t WHERE id < 3")
    bench.ingest(BY_TIME)
    assert [id_ for id_, _ in ids(bench)] == [1, 3]
    bench.source("DELETE FROM t")
    bench.ingest(BY_TIME)
    assert [id_ for id_, _ in ids(bench)] == [1, 3]


def test_append_keeps_rows_that_are_gone_from_the_source(bench: Bench) -> None:
    bench.source("CREATE TABLE t (id INTEGER, at TIMESTAMP, v TEXT)")
    bench.source("INSERT INTO t VALUES (1, '2024-01-01', '')")
    bench.ingest(BY_TIME)
    bench.source("DELETE FROM t", "INSERT INTO t VALUES (2, '2024-01-02', '')")
    bench.ingest(BY_TIME)
    assert [id_ for id_, _ in ids(bench)] == [1, 2]


def test_append_without_a_cursor_adds_all_that_it_is_given(bench: Bench) -> None:
    for _ in range(2):
        bench.ingest(APPEND, [row(1, 1), row(1, 1), row(None, None)])
    assert ids(bench) == [(1, "")] * 4 + [(None, "")] * 2


def test_rows_of_a_load_that_died_are_removed_before_more_are_added(bench: Bench) -> None:
    bench.ingest(APPEND, [row(1, 1)])
    names = "id, v, _dlt_load_id" + (", _dlt_id" if "_dlt_id" in _all_columns(bench) else "")
    values = "9, 'half', '123.456'" + (", 'a'" if "_dlt_id" in names else "")
    bench.execute(f"INSERT INTO raw.t ({names}) VALUES ({values})")
    bench.ingest(APPEND, [row(2, 2)])
    assert ids(bench) == [(1, ""), (2, "")]


def _all_columns(bench: Bench) -> set[str]:
    with warehouse.connect() as opened:
        return set(opened.columns("raw", "t")["t"])


# Full loads.


def test_a_full_load_replaces_all(bench: Bench) -> None:
    bench.ingest(FULL, [row(1, 1), row(2, 1)])
    bench.ingest(FULL, [row(2, 2), row(3, 2)])
    assert [id_ for id_, _ in ids(bench)] == [2, 3]


def test_a_full_load_that_is_suddenly_empty_is_refused_until_it_is_confirmed(bench: Bench) -> None:
    bench.source("CREATE TABLE t (id INTEGER)", "INSERT INTO t VALUES (1)")
    bench.ingest(FULL)
    bench.source("DELETE FROM t")
    with pytest.raises(errors.PermanentError, match=r"my-data-project reset t; or set max_shrink"):
        bench.ingest(FULL)
    assert bench.rows("t") == [(1,)]
    bench.reset("t")
    assert bench.rows("t") == [(1,)]
    bench.ingest(FULL)
    assert bench.rows("t") == []


@embedded
def test_a_full_load_that_lost_most_of_its_rows_is_refused(bench: Bench) -> None:
    def rows(count: int) -> list[dict[str, int]]:
        return [{"id": number} for number in range(count)]

    bench.ingest(FULL, rows(200))
    with pytest.raises(errors.PermanentError, match="max_shrink"):
        bench.ingest(FULL, rows(99))
    assert bench.count("t") == 200
    bench.ingest(Table(name="t", max_shrink=0.9), rows(99))
    bench.ingest(FULL, rows(40))  # a small table may halve
    bench.ingest(Table(name="t", max_shrink=1), [])
    assert bench.count("t") == 0


# Reset.


def test_after_a_reset_the_next_load_reads_all(bench: Bench) -> None:
    bench.source("CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP, v TEXT)")
    bench.source("INSERT INTO t VALUES (1, '2024-01-01', ''), (2, '2024-01-02', '')")
    bench.ingest(MERGE)
    bench.source("UPDATE t SET v = 'x'")
    bench.ingest(MERGE)
    assert ids(bench) == [(1, ""), (2, "x")]
    bench.reset("t")
    assert bench.ingest(MERGE).loaded == 2
    assert ids(bench) == [(1, "x"), (2, "x")]
    assert bench.receipt("t").watermark == "2024-01-02T00:00:00"


def test_a_reset_may_drop_the_table(bench: Bench) -> None:
    bench.ingest(MERGE, [row(1, 1), row(2, 2)])
    bench.reset("t", drop=True)
    assert bench.columns("t") == []
    bench.ingest(MERGE, [{"id": "now a text", "at": day(1), "more": 1}])
    assert bench.rows("t", "id, more") == [("now a text", 1)]


def test_a_reset_before_the_first_load_does_no_harm(bench: Bench) -> None:
    bench.reset("t", drop=True)
    bench.ingest(MERGE, [row(1, 1)])
    assert ids(bench) == [(1, "")]


# First loads without rows.


@pytest.mark.parametrize("table", [FULL, APPEND, BY_TIME, MERGE], ids=["full", "plain", "by", "m"])
def test_a_first_load_without_rows_makes_the_table(bench: Bench, table: Table) -> None:
    bench.source("CREATE TABLE t (id INTEGER, at TIMESTAMP, v TEXT)")
    bench.ingest(table)
    assert bench.columns("t") == ["id", "at", "v"]
    bench.source("INSERT INTO t VALUES (1, '2024-01-01', 'a')")
    bench.ingest(table)
    assert ids(bench) == [(1, "a")]


@pytest.mark.parametrize("table", [FULL, MERGE], ids=["full", "merge"])
def test_a_function_that_yields_nothing_at_first_does_no_harm(bench: Bench, table: Table) -> None:
    assert bench.ingest(table, []).loaded == 0
    bench.ingest(table, [row(1, 1)])
    assert ids(bench) == [(1, "")]


@embedded
def test_rows_before_the_first_value_of_a_column_stay(bench: Bench) -> None:
    pages = [[{"id": number} for number in range(600)], [{"id": 600, "v": "x"}]]
    assert bench.ingest(Table(name="t", columns=("v",)), pages).read == 601
    assert bench.rows("t") == [("x",), *[(None,)] * 600]


# Sources that are no tables.

THREE = [{"id": number, "at": day(number), "v": "x" * number} for number in (1, 2, 3)]
ARROW = pa.Table.from_pylist(THREE)
SHAPES: dict[str, Any] = {
    "rows": lambda: THREE,
    "pages": lambda: [THREE[:1], THREE[1:]],
    "mixed": lambda: [THREE[0], THREE[1:]],
    "arrow": lambda: [ARROW.slice(0, 1), ARROW.slice(1)],
    "batches": lambda: ARROW.to_batches(),
    "resource": lambda: dlt.resource(THREE, name="other"),
}
if importlib.util.find_spec("pandas"):
    SHAPES["frames"] = lambda: [ARROW.to_pandas()]


@embedded
@pytest.mark.parametrize("shape", SHAPES)
def test_a_function_may_give_rows_in_any_shape(bench: Bench, shape: str) -> None:
    done = bench.ingest(MERGE, SHAPES[shape])
    assert (done.read, done.loaded) == (3, 3)
    assert ids(bench) == [(1, "x"), (2, "xx"), (3, "xxx")]
    assert bench.receipt("t").watermark == "2024-01-03T00:00:00+00:00"
    assert "<lambda>()" in bench.receipt("t").source


@embedded
def test_a_function_gets_the_watermark_if_it_asks_for_it(bench: Bench) -> None:
    seen: list[Any] = []

    def rates(since: dt.datetime | None = None) -> Iterator[Any]:
        seen.append(since)
        yield row(len(seen), len(seen))

    for _ in range(3):
        bench.ingest(MERGE, rates)
    bench.ingest(MERGE, rates, since="2023-12-01")
    assert seen == [None, day(1), day(2), dt.datetime(2023, 12, 1, tzinfo=dt.UTC)]
    assert len(ids(bench)) == 4
    bench.reset("t")
    bench.ingest(MERGE, rates)
    assert seen[-1] is None
    bench.ingest(Table(name="whole"), rates, since="2023-12-01")  # which a window does not change
    assert seen[-1] is None


def counter(asked: list[Any]) -> Any:
    """Return a function that gives a resource of dlt: two more numbers each time."""
    begin = dlt.sources.incremental("n", initial_value=0)

    def api() -> Any:
        @dlt.resource(name="items")
        def items(at: Any = begin) -> Iterator[Any]:
            asked.append(at.last_value)
            yield [{"id": n, "n": n} for n in range(at.last_value + 1, at.last_value + 3)]

        return items

    return api


@embedded
def test_a_resource_of_dlt_goes_on_where_it_ended(bench: Bench) -> None:
    asked: list[Any] = []
    for _ in range(3):
        bench.ingest(APPEND, counter(asked))
    assert asked == [0, 2, 4]
    assert bench.rows("t", "id") == [(n,) for n in range(1, 7)]
    assert json.loads(str(bench.receipt("t").state))
    bench.reset("t", drop=True)
    bench.ingest(APPEND, counter(asked))
    assert asked[-1] == 0


@embedded
def test_a_full_load_of_a_resource_is_whole(bench: Bench) -> None:
    """Even if the resource would go on where it ended."""
    asked: list[Any] = []
    for _ in range(2):
        bench.ingest(FULL, counter(asked))
    assert asked == [0, 0]
    assert bench.rows("t", "id") == [(1,), (2,)]


@embedded
def test_a_resource_whose_load_failed_does_not_go_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    bench.ingest(APPEND, counter(asked))
    with monkeypatch.context() as patch:
        patch.setattr(loading, "load", _fail)
        with pytest.raises(errors.TransientError):
            bench.ingest(APPEND, counter(asked))
    bench.ingest(APPEND, counter(asked))
    assert asked == [0, 2, 2]
    assert bench.count("t") == 4


def _fail(*_: object) -> Any:
    raise errors.TransientError("The warehouse is away.")


@embedded
def test_types_of_a_function_do_not_hang_on_one_load(bench: Bench) -> None:
    """Small numbers at first, large ones later; Arrow of 32 bits, rows of Python."""
    small = pa.table({"id": pa.array([1], pa.int32()), "v": pa.array([0.5], pa.float32())})
    bench.ingest(APPEND, [small])
    bench.ingest(APPEND, [{"id": 2**40, "v": 0.1}])
    assert bench.rows("t", "id, v") == [(1, 0.5), (2**40, 0.1)]


def test_lists_and_dicts_become_json(bench: Bench) -> None:
    rows = [{"id": 1, "v": {"a": [1, {"b": None}], "ä": "\"'\\"}}, {"id": 2, "v": None}]
    table = Table(name="t", key=("id",))
    for _ in range(2):
        bench.ingest(table, rows)
    found = [value for (value,) in bench.rows("t", "v") if value is not None]
    assert [json.loads(value) if isinstance(value, str) else value for value in found] == [
        rows[0]["v"]
    ]
    assert bench.query("SELECT count(*) FROM raw.t WHERE v IS NULL") == [(1,)]
    got = "v->>'ä'" if bench.kind == "duckdb" else "v::json->>'ä'"
    assert bench.query(f"SELECT {got} FROM raw.t WHERE id = 1") == [("\"'\\",)]


def test_json_of_a_database_stays_json(bench: Bench) -> None:
    bench.source("CREATE TABLE t (id INTEGER PRIMARY KEY, v JSON)")
    bench.source("""INSERT INTO t VALUES (1, '{"a": 1}'), (2, NULL)""")
    bench.ingest(FULL)
    bench.ingest(FULL)
    value = bench.rows("t", "v")[-1][0] or bench.rows("t", "v")[0][0]
    assert (json.loads(value) if isinstance(value, str) else value) == {"a": 1}


def from_function(folder: Path, pages: list[Any], **options: Any) -> list[Any]:
    """Return what the column `v` of a function's rows becomes."""
    table = Table(name="t", **options)
    found = extraction.extract(table, folder, receipt=None, rows=lambda: iter(pages))
    with extraction.query(found) as connection:
        return connection.sql("SELECT v FROM rows").to_arrow_table()["v"].to_pylist()


NAIVE = dt.datetime(2024, 1, 1, 12)
LARGE = 2**53 + 1  # which a double does not hold


@embedded
@pytest.mark.parametrize(
    "values",
    [
        *(["2024-01-01T00:00:00.123456789Z"], ["\uf026", "\uf02fa"], [True, None, False]),
        *([1.5, math.inf], [NAIVE], [day(1)], [dt.date(1, 1, 1)], [dt.time(23, 59)], [b"\0"]),
    ],
    ids=ascii,
)
def test_values_of_a_function_arrive_as_they_are(
    bench: Bench, tmp_path: Path, values: list[Any]
) -> None:
    assert from_function(tmp_path, [{"v": value} for value in values]) == values
    assert from_function(tmp_path, [pa.table({"v": values})]) == values


@embedded
def test_whole_numbers_join_floats_and_decimals_where_nothing_is_lost(
    bench: Bench, tmp_path: Path
) -> None:
    one, page = [{"v": 2**53}], [{"v": 0.5}]
    assert from_function(tmp_path, [one, page]) == [2.0**53, 0.5]
    assert from_function(tmp_path, [pa.table({"v": [1]}), pa.table({"v": [0.5]})]) == [1, 0.5]
    assert from_function(tmp_path, [{"v": 1}, {"v": Decimal("0.5")}]) == [1, Decimal("0.5")]
    nothing = pa.table({"v": pa.nulls(1)})
    assert from_function(tmp_path, [nothing, pa.table({"v": ["a"]})]) == [None, "a"]


MIXED: list[tuple[list[Any], str]] = [
    ([True, 5], "bigint and bool"),
    ([5, "007"], "bigint and text"),
    ([1.5, LARGE], "9007199254740993"),
    ([dt.date(2024, 1, 1), NAIVE], "date and timestamp"),
    ([NAIVE, day(1)], "timestamp and timestamptz"),
    ([Decimal("1.5"), 0.1], "decimal.* and double"),
    ([{"a": 1}, "text"], "json and text"),
]
"""Values that no type holds together, and words of the refusal."""


@embedded
@pytest.mark.parametrize(("values", "words"), MIXED, ids=[words for _, words in MIXED])
def test_mixed_values_of_a_function_are_refused_by_name(
    bench: Bench, tmp_path: Path, values: list[Any], words: str
) -> None:
    rows = [{"v": value} for value in values]
    for pages in ([rows], [[row] for row in rows], [pa.Table.from_pylist([row]) for row in rows]):
        with pytest.raises(errors.PermanentError, match=rf"Column 'v' .*{words}.*types=.*text"):
            from_function(tmp_path, pages)
    assert len(from_function(tmp_path, rows, types={"v": "text"})) == 2  # what it advises


@embedded
def test_decimals_of_different_digits_are_advised_a_type(bench: Bench, tmp_path: Path) -> None:
    for first, second in ((Decimal("1.5"), Decimal("20.25")), (Decimal("1.5"), 2**40)):
        pages = [pa.table({"v": [first]}), pa.table({"v": [second]})]
        with pytest.raises(errors.PermanentError, match=r"types=\{'v': 'decimal") as caught:
            from_function(tmp_path, pages)
        kind = str(caught.value).rpartition(": '")[2].removesuffix("'}.")
        assert from_function(tmp_path, pages, types={"v": kind}) == [first, second]


ODD: dict[str, Any] = {
    "2**64": 2**64,
    "NaN within": {"a": [math.nan]},
    "key of a number": {1: "a"},
    "key of None": {"a": {None: 1}},
    "bytes within": [b"a"],
    "duration": dt.timedelta(1),
    "zone of a time": dt.time(1, tzinfo=dt.UTC),
    "surrogate": "\ud800",
    "year 0": pa.table({"v": pa.array([-(10**17)], pa.timestamp("us"))}),
    "24:00": pa.table({"v": pa.array([86_400_000_000], pa.time64("us"))}),
    "nanoseconds": pa.table({"v": pa.array([1], pa.timestamp("ns"))}),
    "keys of a map": pa.table({"v": pa.array([[(1, 2)]], pa.map_(pa.int64(), pa.int64()))}),
    "twice": pa.table([[1], [2]], names=["v", "v"]),
    "text and bytes": [{"v": "a"}, {"v": b"a"}],
}


@embedded
@pytest.mark.parametrize("odd", ODD)
def test_values_of_a_function_that_no_column_holds_are_refused_by_name(
    bench: Bench, tmp_path: Path, odd: str
) -> None:
    is_page = isinstance(ODD[odd], pa.Table) or odd == "text and bytes"
    with pytest.raises(errors.PermanentError, match="Column 'v' "):
        from_function(tmp_path, [ODD[odd] if is_page else {"v": ODD[odd]}])


@embedded
def test_types_of_a_function_are_the_tables_or_the_resources_to_choose(
    bench: Bench, tmp_path: Path
) -> None:
    def read(value: Any, kind: str) -> Any:
        return from_function(tmp_path, [{"v": value}], types={"v": kind})[0]

    assert read("2024-01-01T02:00:00+02:00", "timestamptz") == day(1)
    assert read(NAIVE, "timestamptz") == NAIVE.replace(tzinfo=dt.UTC)
    assert read("1.5", "decimal(3,1)") == Decimal("1.5")
    assert read(True, "json") == "true"
    with pytest.raises(errors.PermanentError, match=r"Column 'v' .*'seven'"):
        read("seven", "bigint")
    whole = pa.table({"v": [1]})
    assert from_function(tmp_path, [whole], types={"v": "decimal(3,1)"}) == [Decimal("1.0")]
    hinted = dlt.resource([{"v": "1.5"}], name="t", columns={"v": {"data_type": "double"}})
    found = extraction.extract(FULL, tmp_path, receipt=None, rows=lambda: hinted)
    assert found.schema.field("v").type == pa.float64()


@embedded
@pytest.mark.skipif(not importlib.util.find_spec("pandas"), reason="pandas is not installed")
def test_frames_lose_no_index_and_hold_nulls_for_nan(bench: Bench) -> None:
    import pandas as pd

    frame = pd.DataFrame({"v": [1.5, None]}, index=pd.Index([7, 8], name="id"))
    bench.ingest(FULL, [frame, frame[frame.v > 1]])
    assert bench.rows("t", "id, v") == [(7, 1.5), (7, 1.5), (8, None)]
    with pytest.raises(errors.PermanentError, match=r"an index without a name.*reset_index"):
        bench.ingest(FULL, [pd.DataFrame({"v": [1]}, index=["a"])])
    for values in ([True, 5], ["a", b"b"], pd.period_range("2024", periods=1), [1j]):
        with pytest.raises(errors.PermanentError, match="Column 'v' of 't' holds"):
            bench.ingest(FULL, [pd.DataFrame({"v": values})])


def test_structures_of_arrow_become_json(bench: Bench) -> None:
    bench.ingest(FULL, [pa.table({"v": [{"a": [1, None], "at": NAIVE}]})])
    ((found,),) = bench.rows("t", "v")
    value = json.loads(found) if isinstance(found, str) else found
    assert value == {"a": [1, None], "at": "2024-01-01T12:00:00"}


@embedded
@pytest.mark.parametrize("cursor", [7, "007", NAIVE, day(1), Decimal("1.5"), dt.date(2024, 1, 1)])
def test_since_is_a_value_as_the_function_gave_it(bench: Bench, cursor: Any) -> None:
    seen: list[Any] = []

    def rows(since: Any = None) -> Iterator[Any]:
        seen.append(since)
        yield {"id": 1, "at": cursor}

    for _ in range(2):
        bench.ingest(MERGE, rows)
    assert seen == [None, cursor]
    assert type(seen[1]) is type(cursor)
    other = Table(name="u", key=("id",), mode="incremental", cursor="at")
    with pytest.raises(errors.PermanentError, match=r"No load has told yet .* cursor 'at' of 'u'"):
        bench.ingest(other, rows, since="2024-01-01")
    bench.ingest(dataclasses.replace(other, types={"at": "text"}), rows, since="007")
    assert seen[-1] == "007"


def test_texts_that_the_warehouse_cannot_hold_are_refused_by_name(bench: Bench) -> None:
    kind, types = ("JSON", {"v": "text"}) if bench.kind == "duckdb" else ("TEXT", {"v": "binary"})
    bench.source(f"CREATE TABLE t (id INTEGER, v {kind})", "INSERT INTO t VALUES (1, '[1]')")
    bench.ingest(FULL)
    bench.source("UPDATE t SET v = 'a' || char(0)")
    with pytest.raises(errors.PermanentError, match="Column 'v' of 't' has a text that"):
        bench.ingest(FULL)
    bench.ingest(Table(name="t", target="u", types=types))  # what it advises
    assert bench.rows("u", "v") == [("a\0" if bench.kind == "duckdb" else b"a\0",)]


@embedded
def test_json_that_becomes_text_in_the_source_is_refused_by_name(bench: Bench) -> None:
    bench.source("CREATE TABLE t (id INTEGER, v JSON)", "INSERT INTO t VALUES (1, '[1]')")
    bench.ingest(FULL)
    bench.source("DROP TABLE t", "CREATE TABLE t (id INTEGER, v TEXT)")
    bench.source("INSERT INTO t VALUES (1, 'a')")
    wanted = r"'v' of 't' is json .* but text in the source"
    with pytest.raises(errors.PermanentError, match=wanted):
        bench.ingest(FULL)
    bench.ingest(Table(name="t", target="u"))
    bench.source("DROP TABLE t", "CREATE TABLE t (id INTEGER, v JSON)")
    bench.source("INSERT INTO t VALUES (1, '[1]')")
    bench.ingest(Table(name="t", target="u"))
    assert bench.rows("u", "v") == [("[1]",)]


@embedded
def test_an_error_within_a_function_is_one_sentence(bench: Bench) -> None:
    def broken() -> Iterator[Any]:
        yield row(1, 1)
        raise ValueError("page 2 has no results")

    with pytest.raises(errors.PermanentError, match=r"^t from .*broken\(\): page 2 has no results"):
        bench.ingest(FULL, broken)
    assert bench.columns("t") == []


@embedded
def test_what_postgresql_refuses_is_one_sentence_with_its_hint(bench: Bench) -> None:
    url = postgres_server.create_database()
    bench.set("SOURCE_URL", url)
    with psycopg2.connect(url) as connection:
        connection.cursor().execute("CREATE TABLE t (name TEXT)")
    sentence = r': column "nam" does not exist \(Perhaps you meant .* column "t.name"\)\.$'
    with pytest.raises(errors.PermanentError, match=sentence):
        bench.ingest(Table(name="t", where="nam = 'a'"))
    bench.set("SOURCE_URL", "postgresql://tests@127.0.0.1:1/nowhere")
    with pytest.raises(errors.TransientError, match=r"/nowhere: Failed to connect: "):
        bench.ingest(Table(name="t"))


@embedded
def test_a_source_of_dlt_has_to_be_one_table(bench: Bench) -> None:
    def give(*names: str) -> Any:
        return dlt.source(lambda: [dlt.resource([{"id": n}], name=n) for n in names], name="s")()

    with pytest.raises(errors.PermanentError, match=r"gives 2 resources, .* return one of a, b\."):
        bench.ingest(Table(name="t"), lambda: give("a", "b"))
    bench.ingest(Table(name="t"), lambda: give("a"))
    assert bench.rows("t", "id") == [("a",)]


@embedded
def test_a_function_that_gives_no_rows_is_one_sentence(bench: Bench) -> None:
    with pytest.raises(errors.PermanentError, match=r"<lambda>\(\) returns nothing: let it yield"):
        bench.ingest(FULL, lambda: None)
    with pytest.raises(errors.PermanentError, match="Column '' of 't'"):
        bench.ingest(FULL, [{"id": 1, "": 2}])


@embedded
def test_a_function_without_the_key_or_cursor_is_refused(bench: Bench) -> None:
    with pytest.raises(errors.PermanentError, match=r"'t' in .* has no column id, at\."):
        bench.ingest(MERGE, [{"v": 1}])


# What the table asks of the source.


@embedded
def test_columns_conditions_and_types_are_the_tables_to_choose(bench: Bench) -> None:
    bench.source(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, secret TEXT, amount TEXT, gone BOOLEAN)",
        "INSERT INTO t VALUES (1, 's', '1.50', 0), (2, 's', '2.25', 1), (3, 's', '3', 0)",
    )
    table = Table(
        name="t", exclude=("secret",), where="gone = 0 OR id > 5", types={"amount": "decimal(9,2)"}
    )
    bench.ingest(table)
    assert bench.columns("t") == ["id", "amount", "gone"]
    assert bench.rows("t", "id, amount") == [(1, Decimal("1.50")), (3, Decimal("3.00"))]
    bench.ingest(Table(name="t", target="u", columns=("id",)))
    assert bench.rows("u") == [(1,), (2,), (3,)]


def test_two_tables_of_one_name_have_two_targets(bench: Bench) -> None:
    crm = bench.folder / "crm.db"
    query_sqlite(crm, "CREATE TABLE orders (id INTEGER)", "INSERT INTO orders VALUES (2)")
    bench.source("CREATE TABLE orders (id INTEGER)", "INSERT INTO orders VALUES (1)")
    bench.set("SOURCE_URLS__CRM", f"sqlite:///{crm}")
    bench.ingest(Table(name="orders"))
    bench.ingest(Table(name="orders", source="crm", target="crm_orders"))
    assert (bench.rows("orders"), bench.rows("crm_orders")) == ([(1,)], [(2,)])
    assert set(receipts.read_receipts()) == {"orders", "crm_orders"}
    assert bench.receipt("crm_orders").source.endswith("crm.db")


@embedded
def test_a_source_without_a_url_is_named(bench: Bench) -> None:
    with pytest.raises(errors.PermanentError, match=r"no source 'erp': set \w+SOURCE_URLS__ERP"):
        bench.ingest(Table(name="orders", source="erp"))


def test_names_that_differ_in_a_letter_stay_two_tables(bench: Bench) -> None:
    names = ["заказы", "данные", "a b", "a_b", "Größe", "grösse", "a-b [c]"]
    for number, name in enumerate(names):
        bench.ingest(Table(name=name, key=("Zähler 1",)), [{"Zähler 1": number, "ö.x": None}])
    for number, name in enumerate(names):
        assert bench.rows(name, '"Zähler 1"') == [(number,)]


@embedded
@pytest.mark.parametrize("name", ["it's", 'a"b', "a\nb", " id", "", "  "])
def test_a_column_whose_name_would_change_is_refused(bench: Bench, name: str) -> None:
    quoted = name.replace('"', '""')
    bench.source(f'CREATE TABLE t (num INTEGER, "{quoted}" INTEGER)', "INSERT INTO t VALUES (1, 2)")
    for rows in (None, [pa.table({"num": [1], name: [1]})], [{"num": 1, name: 1}]):
        with pytest.raises(errors.PermanentError, match="has no name, or one with a quote"):
            bench.ingest(FULL, rows)
    bench.ingest(Table(name="t", exclude=(name,)))  # as the message says
    assert bench.rows("t") == [(1,)]


@pytest.mark.parametrize(
    ("name", "table"),
    [("a;b", FULL), ("a{b}", MERGE), ("{}", Table(name="t", mode="append", cursor="{}"))],
    ids=["semicolon", "key", "cursor"],
)
def test_a_column_whose_name_dlt_would_break_is_refused(
    bench: Bench, name: str, table: Table
) -> None:
    if table is MERGE:
        table = Table(name="t", key=(name,), mode="incremental", cursor="v")
    bench.source(f'CREATE TABLE t ("{name}" INTEGER, v INTEGER)', "INSERT INTO t VALUES (1, 2)")
    with pytest.raises(errors.PermanentError, match="has a semicolon, or as a key or") as caught:
        bench.ingest(table)
    assert bench.columns("t") == []
    assert ("exclude" in str(caught.value)) == (table is FULL)
    if table is FULL:
        return
    bench.ingest(FULL)  # a brace does no harm elsewhere
    assert bench.rows("t") == [(1, 2)]


@pytest.mark.parametrize("bench", ["postgres"], indirect=True)
@pytest.mark.parametrize("name", ["ctid", "xmin"])
def test_a_system_column_of_postgresql_is_refused(bench: Bench, name: str) -> None:
    with pytest.raises(errors.PermanentError, match=f"'{name}' of 't' has the name of a system"):
        bench.ingest(FULL, [{"id": 1, name: 2}])
    assert bench.columns("t") == []


def test_columns_that_differ_in_case_are_two_or_refused(bench: Bench) -> None:
    rows = [{"id": 1, "ID": 2}]
    if bench.kind == "postgres":
        bench.ingest(FULL, rows)
        assert bench.rows("t") == [(1, 2)]
        return
    with pytest.raises(errors.PermanentError, match=r"'ID' of 't' differs from 'id' in case only"):
        bench.ingest(FULL, rows)
    assert bench.columns("t") == []


def test_a_name_that_is_too_long_is_refused(bench: Bench) -> None:
    long = "ä" * 40
    if bench.kind == "duckdb":
        bench.ingest(Table(name=long), [{long: 1}])
        assert bench.rows(long) == [(1,)]
        return
    for table, rows in ((Table(name=long), [{"id": 1}]), (FULL, [{long: 1}])):
        with pytest.raises(errors.PermanentError, match=r"is longer than the 63 bytes"):
            bench.ingest(table, rows)
    bench.ingest(Table(name=long, target="short"), [{"id": 1}])
    assert bench.count("short") == 1


# The warehouse.


def test_a_table_that_the_pipeline_did_not_make_is_never_written_to(bench: Bench) -> None:
    bench.ingest(Table(name="other"), [row(1, 1)])
    bench.execute("CREATE TABLE raw.t (id BIGINT)", "INSERT INTO raw.t VALUES (7)")
    for table in (FULL, APPEND, Table(name="t", key=("id",), mode="incremental", cursor="id")):
        with pytest.raises(errors.PermanentError, match=r"raw\.t in .* was not made by this"):
            bench.ingest(table, [{"id": 1}])
    assert bench.query("SELECT * FROM raw.t") == [(7,)]
    bench.ingest(Table(name="t", target="mine"), [{"id": 1}])  # as the message says
    assert bench.rows("mine") == [(1,)]


@pytest.mark.parametrize("schema", ["raw", "raw_staging"])
def test_a_table_of_another_pipeline_is_never_written_to(bench: Bench, schema: str) -> None:
    """A column of dlt's does not make it ours; loads go through `raw_staging`."""
    bench.ingest(Table(name="other", key=("id",), mode="incremental", cursor="id"), [{"id": 1}])
    bench.execute(
        f"CREATE TABLE {schema}.t (id BIGINT, _dlt_load_id TEXT, _dlt_id TEXT)",
        f"INSERT INTO {schema}.t VALUES (7, 'theirs', 'theirs')",
    )
    theirs = [(7, "theirs", "theirs")]
    for table in (FULL, APPEND, Table(name="t", key=("id",), mode="incremental", cursor="id")):
        with pytest.raises(errors.PermanentError, match=rf"{schema}\.t in .* was not made by this"):
            bench.ingest(table, [{"id": 1}])
    if schema == "raw":
        with pytest.raises(errors.PermanentError, match="was not made by this pipeline"):
            bench.reset("t", drop=True)
    assert bench.query(f"SELECT * FROM {schema}.t") == theirs
    bench.execute(f"DROP TABLE {schema}.t")  # also to the check of what loads leave behind


def test_a_foreign_table_whose_name_differs_in_case_is_left_alone(bench: Bench) -> None:
    bench.ingest(Table(name="other"), [row(1, 1)])
    bench.execute('CREATE TABLE raw."T" (id BIGINT)', 'INSERT INTO raw."T" VALUES (7)')
    if bench.kind == "duckdb":
        with pytest.raises(errors.PermanentError, match=r"raw\.T in .* was not made by this"):
            bench.ingest(FULL, [{"id": 1}])
    else:
        bench.ingest(FULL, [{"id": 1}])
        assert bench.rows("t") == [(1,)]
    assert bench.query('SELECT * FROM raw."T"') == [(7,)]


@embedded
def test_a_table_that_was_reset_before_its_first_load_is_not_ours(bench: Bench) -> None:
    bench.ingest(Table(name="other"), [row(1, 1)])
    bench.reset("t")
    bench.execute("CREATE TABLE raw.t (id BIGINT)")
    with pytest.raises(errors.PermanentError, match="was not made by this pipeline"):
        bench.ingest(FULL, [row(1, 1)])


@embedded
def test_a_first_load_that_failed_does_not_stop_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = loading._run

    def die(opened: warehouse.Warehouse, extractions: Any, *given: Any) -> str:
        load_id = run(opened, extractions, *given)
        if extractions:
            opened.execute(f"UPDATE raw._dlt_loads SET status = 1 WHERE load_id = '{load_id}'")
            raise errors.PermanentError("The load has died.")
        return load_id

    with monkeypatch.context() as patch:
        patch.setattr(loading, "_run", die)
        with pytest.raises(errors.PermanentError, match="has died"):
            bench.ingest(APPEND, [{"id": 1}])
    assert bench.count("t") == 1
    bench.ingest(APPEND, [{"id": 1}])
    assert bench.rows("t") == [(1,)]


@embedded
def test_another_cursor_begins_anew(bench: Bench) -> None:
    bench.source("CREATE TABLE t (id BIGINT, v BIGINT)", "INSERT INTO t VALUES (1, 1000), (2, 20)")
    by_v = Table(name="t", key=("id",), mode="incremental", cursor="v")
    bench.ingest(by_v)
    bench.source("INSERT INTO t VALUES (3, 3), (50, 4)")
    bench.ingest(Table(name="t", key=("id",), mode="incremental", cursor="id"))
    assert bench.count("t") == 4
    bench.ingest(Table(name="t", key=("id",)))  # full, which has no watermark
    bench.source("INSERT INTO t VALUES (4, 4)")
    bench.ingest(by_v)
    assert bench.count("t") == 5


@embedded
def test_a_cursor_of_another_type_is_one_sentence(bench: Bench) -> None:
    table = Table(name="t", key=("id",), mode="incremental", cursor="v")
    bench.source("CREATE TABLE t (id BIGINT, v BIGINT)", "INSERT INTO t VALUES (1, 5)")
    bench.ingest(table)
    bench.source("DROP TABLE t", "CREATE TABLE t (id BIGINT, v DATE)")
    message = r"cursor 'v' is date32\[day\] now, but the last load ended at '5'\..* reset t --drop"
    with pytest.raises(errors.PermanentError, match=message):
        bench.ingest(table)


@embedded
def test_a_source_whose_newest_row_is_gone_is_a_warning(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """It may count from 1 again: new rows would never be read."""
    table = Table(name="t", key=("id",), mode="incremental", cursor="id")
    bench.source("CREATE TABLE t (id BIGINT)", "INSERT INTO t VALUES (7)")
    bench.ingest(table)
    bench.ingest(table)
    assert "watermark" not in caplog.text
    bench.source("DELETE FROM t", "INSERT INTO t VALUES (1), (2)")
    bench.ingest(table)
    assert "no row is at or above the watermark 7" in caplog.text
    assert "reset t --drop" in caplog.text


@pytest.mark.parametrize("bench", ["postgres"], indirect=True)
def test_blanks_in_a_url_reach_the_server(bench: Bench) -> None:
    """In parameters, and in a password: libpq's error about a space in it would show it."""
    url = sa.make_url(bench.url).set(password="+%hunter2 ä?&=")
    options = {"application_name": "a+b c", "options": "-c geqo_threshold=13"}
    url = url.update_query_dict(options)
    bench.set("WAREHOUSE_URL", url.render_as_string(hide_password=False).replace(" ", "%20"))
    table = Table(name="t", key=("id",), mode="incremental", cursor="id")
    for number in (1, 2):
        bench.ingest(table, [{"id": number}])
    found = bench.query(
        "SELECT current_setting('application_name'), current_setting('geqo_threshold')"
    )
    assert (bench.rows("t"), found) == ([(1,), (2,)], [("a+b c", "13")])


@embedded
def test_a_full_load_of_nothing_keeps_what_was_loaded_by_parts(bench: Bench) -> None:
    bench.source("CREATE TABLE t (id BIGINT)", "INSERT INTO t VALUES (1)")
    bench.ingest(Table(name="t", key=("id",), mode="incremental", cursor="id"))
    bench.source("DELETE FROM t")
    with pytest.raises(errors.PermanentError, match="the published ones stay"):
        bench.ingest(Table(name="t", key=("id",)))
    assert bench.rows("t") == [(1,)]


def test_new_rows_of_a_function_replace_none_with_their_cursor(bench: Bench) -> None:
    table = Table(name="t", mode="append", cursor="day")
    for number in (1, 2):
        bench.ingest(table, [{"id": number, "day": dt.date(2024, 1, 2)}])
    assert sorted(row[0] for row in bench.rows("t", '"id"')) == [1, 2]


@pytest.mark.parametrize("policy", ["fail", "evolve"])
def test_a_column_of_nulls_alone_is_not_gone(bench: Bench, policy: Any) -> None:
    table = Table(name="t", key=("id",), mode="incremental", cursor="id", on_missing_column=policy)
    bench.ingest(table, [{"id": 1, "note": "kept"}])
    bench.ingest(table, [{"id": 2, "note": None}])
    assert bench.rows("t", '"id", "note"') == [(1, "kept"), (2, None)]


def test_large_numbers_of_arrow_stay(bench: Bench) -> None:
    bench.ingest(FULL, [pa.table({"id": pa.array([2**64 - 1], pa.uint64())})])
    assert bench.rows("t") == [(Decimal(2**64 - 1),)]


@embedded
def test_a_window_leaves_the_state_of_a_resource(bench: Bench) -> None:
    def pages(since: Any = None) -> Any:
        @dlt.resource(name="t")
        def give() -> Iterator[dict[str, int]]:
            state = dlt.current.resource_state()
            at = state["next"] = state.get("next", 0) + 1
            yield {"id": at}

        return give()

    table = Table(name="t", key=("id",), mode="incremental", cursor="id")
    bench.ingest(table, pages)
    before = bench.receipt("t").state
    bench.ingest(table, pages, since=0, until=9)
    assert bench.receipt("t").state == before
    with pytest.raises(errors.PermanentError, match="no part of it can be read again"):
        bench.ingest(Table(name="plain", mode="append"), [{"id": 1}], since=0)


@embedded
def test_a_lookback_of_hours_reads_whole_days_of_dates(bench: Bench) -> None:
    with pytest.raises(ValueError, match="lookback must not be negative"):
        Table(name="t", key=("id",), mode="incremental", cursor="id", lookback=-5)
    bench.source("CREATE TABLE t (id BIGINT, d DATE)", "INSERT INTO t VALUES (1, '2024-01-05')")
    table = Table(
        name="t", key=("id",), mode="incremental", cursor="d", lookback=dt.timedelta(hours=36)
    )
    bench.ingest(table)
    bench.source("INSERT INTO t VALUES (2, '2024-01-03'), (3, '2024-01-02')")
    bench.ingest(table)
    assert [row[0] for row in bench.rows("t")] == [1, 2]


@embedded
def test_a_load_that_fails_drops_no_column(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(name="t", on_missing_column="evolve")
    bench.ingest(table, [{"id": 1, "v": 7}])
    with monkeypatch.context() as patch:
        patch.setattr(loading, "_run", _fail)
        with pytest.raises(errors.TransientError):
            bench.ingest(table, [{"id": 2}])
    assert bench.rows("t", "id, v") == [(1, 7)]
    bench.ingest(table, [{"id": 2}])
    assert bench.columns("t") == ["id"]


@embedded
def test_a_table_of_another_project_is_not_ours(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.ingest(FULL, [row(1, 1)])
    monkeypatch.setattr(settings, "PROJECT", "another")
    with pytest.raises(errors.PermanentError, match=r"raw\.t in .* was not made by this"):
        bench.ingest(FULL, [row(2, 2)])
    with pytest.raises(errors.PermanentError, match=r"raw\.t in .* was not made by this"):
        bench.reset("t", drop=True)
    assert [row[0] for row in bench.rows("t")] == [1]


@embedded
def test_a_clock_that_is_ahead_does_not_hide_later_loads(bench: Bench) -> None:
    table = Table(name="t", key=("id",), mode="incremental", cursor="id")
    bench.ingest(table, [{"id": 1}])
    bench.execute("UPDATE raw._ingestions SET loaded_at = loaded_at + INTERVAL 1 DAY")
    bench.ingest(table, [{"id": 2}])
    assert bench.receipt("t").watermark == "2"
    bench.reset("t")
    assert bench.receipt("t").mode == "reset"


def test_a_plain_append_is_reset_with_its_rows(bench: Bench) -> None:
    bench.ingest(APPEND, [{"id": 1}])
    with pytest.raises(errors.PermanentError, match="--drop"):
        bench.reset("t")
    bench.reset("t", drop=True)
    bench.ingest(APPEND, [{"id": 1}])
    assert bench.rows("t") == [(1,)]


@embedded
def test_a_source_that_has_changed_is_told(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    table = Table(name="t", key=("id",), mode="incremental", cursor="id")
    bench.source("CREATE TABLE t (id BIGINT)", "INSERT INTO t VALUES (7)")
    bench.ingest(table)
    bench.set("SOURCE_URL", f"sqlite:///{bench.folder}/./source.db")  # the same file
    bench.ingest(table)
    assert "the last load" not in caplog.text
    shutil.copy(bench.folder / "source.db", bench.folder / "copy.db")
    bench.set("SOURCE_URL", f"sqlite:///{bench.folder / 'copy.db'}")
    bench.ingest(table)
    assert "copy.db. This load continues where the last one ended" in caplog.text
    assert "reset t --drop" in caplog.text


@embedded
def test_a_program_that_has_the_file_open_is_named(bench: Bench) -> None:
    """A notebook, say, which knows nothing of the lock beside the file."""
    file = db_utils.file_of(db_utils.parse_url(bench.url))
    code = f"import duckdb; held = duckdb.connect({str(file)!r}); print(flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as notebook:
        try:
            assert notebook.stdout
            assert notebook.stdout.readline()
            text = f'Could not set lock on file "{file}": Conflicting lock is held in .*'
            with pytest.raises(errors.TransientError, match=rf"{text}\(PID {notebook.pid}\)"):
                bench.ingest(APPEND, [{"id": 1}])
        finally:
            notebook.kill()
    bench.ingest(APPEND, [{"id": 1}])
    assert bench.rows("t") == [(1,)]


@embedded
def test_a_relative_path_is_the_same_source_in_every_folder(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A developer's load from the project's folder, then one of a worker in a temporary folder."""
    table = Table(name="t", key=("id",), mode="incremental", cursor="id")
    bench.source("CREATE TABLE t (id BIGINT)", "INSERT INTO t VALUES (7)")
    elsewhere = bench.folder / "elsewhere"
    elsewhere.mkdir()
    whole = f"sqlite:///{bench.folder / 'source.db'}"
    monkeypatch.chdir(bench.folder)
    bench.set("SOURCE_URL", "sqlite:///./source.db")
    bench.ingest(table)
    assert bench.receipt("t").source == whole
    monkeypatch.chdir(elsewhere)
    bench.set("SOURCE_URL", whole)
    bench.ingest(table)
    for older in ("sqlite:///source.db", "sqlite:///../source.db"):
        bench.execute(f"UPDATE raw._ingestions SET source = '{older}'")
        bench.ingest(table)
    assert "the last load" not in caplog.text
    bench.execute("UPDATE raw._ingestions SET source = 'sqlite:///other/source.db'")
    bench.ingest(table)
    assert "the last load came from sqlite:///other/source.db, this one" in caplog.text


@pytest.mark.parametrize(
    "change",
    [{"where": "id > 1"}, {"exclude": ("more",)}, {"columns": ("id", "v")}],
    ids=lambda change: next(iter(change)),
)
def test_a_selection_that_has_changed_is_told_once(
    bench: Bench, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    table = Table(
        name="t", key=("id",), mode="incremental", cursor="id", on_missing_column="ignore"
    )
    changed = dataclasses.replace(table, **change)
    bench.source("CREATE TABLE t (id BIGINT, v TEXT, more TEXT)")
    bench.source("INSERT INTO t VALUES (1, 'a', 'b'), (2, 'c', 'd')")
    for _ in range(2):
        bench.ingest(table)
    assert "than this one" not in caplog.text
    for _ in range(2):
        bench.ingest(changed)
    told = "t: the last load had another name, schema, where, columns or exclude than this one."
    assert caplog.text.count(told) == 1
    bench.ingest(Table(name="t"))  # full, which reads all again
    assert caplog.text.count(told) == 1
    bench.reset("t", drop=True)  # as the message says
    bench.ingest(changed)
    assert caplog.text.count(told) == 1


def test_receipts_of_an_older_version_are_read(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """They say nothing about a selection."""
    bench.ingest(MERGE, [row(1, 3)])
    bench.execute("ALTER TABLE raw._ingestions DROP COLUMN selection")
    assert bench.receipt("t").watermark == "2024-01-03T00:00:00+00:00"
    bench.ingest(MERGE, [row(2, 4)])
    assert "the last load" not in caplog.text
    assert bench.receipt("t").selection == MERGE.selection
    assert ids(bench) == [(1, ""), (2, "")]


NEWER = {"bytes_loaded", "rules_met", "version", "flow_run"}
"""What receipts of before 0.8 did not have."""


def test_receipts_of_two_versions_stand_in_one_table(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newer one adds its columns; after a rollback the older one leaves them empty."""

    def ingest(number: int, *, older: bool) -> receipts.Receipt:
        with monkeypatch.context() as patch:
            if older:
                fields = [name for name in receipts._FIELDS if name not in NEWER]
                patch.setattr(receipts, "_FIELDS", fields)
                schema = pa.schema([receipts.SCHEMA.field(name) for name in fields])
                patch.setattr(receipts, "SCHEMA", schema)
            bench.ingest(MERGE, [row(number, number)])
        return bench.receipt("t")

    assert ingest(1, older=True).version is None
    assert not NEWER & {*bench.columns("_ingestions")}
    assert ingest(2, older=False).version == runs.version()
    assert ingest(3, older=True).version is None
    assert ingest(4, older=False).bytes_loaded
    assert {*bench.columns("_ingestions")} > NEWER
    assert ids(bench) == [(n, "") for n in range(1, 5)]


@embedded
def test_a_receipt_tells_code_flow_run_bytes_and_rules(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "of a worker")
    checked = (rules.NotNull(column="id"), rules.Dropped(), rules.Unique(columns=("id",)))
    table = dataclasses.replace(MERGE, rules=checked)
    bench.ingest(table, [row(1, 1, "x" * 1000)])
    receipt = bench.receipt("t")
    assert (receipt.flow_run, receipt.rules_met) == ("of a worker", 3)
    assert receipt.version == runs.version()
    assert (receipt.bytes_loaded or 0) > 1000
    bench.ingest(MERGE, [])
    assert (bench.receipt("t").bytes_loaded, bench.receipt("t").rules_met) == (0, 0)


def test_the_report_of_a_run_is_markdown_whatever_a_message_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[str] = []
    monkeypatch.setattr(reporting, "markdown_artifact", lambda *words: written.extend(words))
    load = receipts.Receipt(
        table_name="t",
        mode="full",
        loaded_at=day(1),
        watermark="a|b",
        rows_read=1234,
        bytes_loaded=9,
        load_id="1.5",
    )
    receipts.report("ingestion", [load])
    assert written == []  # outside of a flow
    run = SimpleNamespace(id="id", name="n", deployment_version="1.2.0+g1a2b3c4d")
    context = SimpleNamespace(flow_run=run)
    monkeypatch.setattr(receipts.FlowRunContext, "get", lambda: context)
    old = checks.Finding(table="t", rule="id is new", severity="warn", violations=1)
    ok = dataclasses.replace(old, violations=0)
    reason = "a `b` |\nc"
    receipts.report("ingestion-T_1", [load], {"t": [ok, old]}, {"u": reason})
    key, text, _ = written
    assert key == "my-data-project-dev-ingestion-t-1"
    assert "deployed as `1.2.0+g1a2b3c4d`, flow run `n` (`id`)" in text
    assert r"| `t` | 1,234 | 0 | 0 | 9 | `a\|b` | 1 ok, 1 warn | 1.5 |" in text
    assert text.endswith("`u`: `a 'b' \\| c`\n\n`t`: `id is new: 1 rows, warn`")


def test_source_and_warehouse_may_share_a_server_but_no_table(bench: Bench) -> None:
    """Whatever the two URLs look like: the warehouse has a schema of its own."""
    if bench.kind == "duckdb":
        bench.execute("CREATE TABLE main.t (id BIGINT)", "INSERT INTO main.t VALUES (7)")
        bench.set("SOURCE_URL", bench.url.replace("warehouse.duckdb", "./warehouse.duckdb"))
        with pytest.raises(errors.PermanentError, match="Source and warehouse are one file"):
            bench.ingest(FULL)
        assert bench.query("SELECT * FROM main.t") == [(7,)]
        return
    bench.execute("CREATE TABLE public.t (id BIGINT PRIMARY KEY)", "INSERT INTO t VALUES (7)")
    bench.set("SOURCE_URL", f"{bench.url}{'&' if '?' in bench.url else '?'}sslmode=disable")
    for _ in range(2):
        bench.ingest(FULL)
    assert bench.query("SELECT * FROM public.t") == [(7,)] == bench.query("SELECT id FROM raw.t")
    with pytest.raises(errors.PermanentError, match="_dlt_load_id"):  # its own table as source
        bench.ingest(Table(name="t", schema="raw"))
    bench.execute("CREATE SCHEMA other", "CREATE TABLE other.t (id BIGINT)")
    bench.set("RAW_SCHEMA", "other")
    with pytest.raises(errors.PermanentError, match="was not made by this pipeline"):
        bench.ingest(Table(name="t", schema="other"))


@embedded
def test_a_folder_that_cannot_be_written_is_one_sentence(bench: Bench) -> None:
    (bench.folder / "file").write_text("")
    bench.set("WAREHOUSE_URL", f"duckdb:///{bench.folder}/file/warehouse.duckdb")
    with pytest.raises(errors.PermanentError, match=r"Cannot write to duckdb.*file"):
        receipts.read_receipts()
    (bench.folder / "text").write_text("no database" * 999)
    bench.set("WAREHOUSE_URL", f"duckdb:///{bench.folder}/text")
    with pytest.raises(errors.PermanentError, match=r"^duckdb:///\S+: IO Error: The file .*/text"):
        receipts.read_receipts()
    bench.set("WAREHOUSE_URL", bench.url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///w.db", "SQLite is a source, no warehouse: use duckdb"),
        ("oracle://me@db/x", "type 'oracle' is not supported. There are: .*postgresql"),
        ("duckdb://", "needs a file"),
        ("postgresql://a,b/x", "host=first,second"),
    ],
)
def test_a_warehouse_that_cannot_be_is_refused(
    url: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{settings.ENV_PREFIX}WAREHOUSE_URL", url)
    with pytest.raises(errors.PermanentError, match=message):
        receipts.read_receipts()


def test_a_server_that_is_away_is_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://me:hunter2@127.0.0.1:1/x"
    monkeypatch.setenv(f"{settings.ENV_PREFIX}WAREHOUSE_URL", url)
    with pytest.raises(errors.TransientError, match="refused") as caught:
        receipts.read_receipts()
    assert "hunter2" not in str(caught.value)


# Several at the same time.


def test_a_run_that_another_one_overtook_reads_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.source("CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP, v TEXT)")
    bench.source("INSERT INTO t VALUES (1, '2024-01-01', 'a'), (2, '2024-01-02', 'a')")
    load = loading.load
    others: list[Any] = []

    def overtaken(found: Any) -> Any:
        if not others:
            others.append("once")
            bench.source("UPDATE t SET v = 'b'", "INSERT INTO t VALUES (3, '2024-01-03', 'b')")
            others.append(bench.ingest(MERGE).loaded)
        return load(found)

    monkeypatch.setattr(loading, "load", overtaken)
    bench.ingest(MERGE)
    assert others == ["once", 3]
    assert ids(bench) == [(1, "b"), (2, "b"), (3, "b")]
    assert bench.receipt("t").watermark == "2024-01-03T00:00:00"


@pytest.mark.parametrize("table", [MERGE, BY_TIME], ids=["incremental", "append"])
def test_runs_of_one_table_at_the_same_time_end_right(bench: Bench, table: Table) -> None:
    bench.source(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP, v TEXT)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)"
        " INSERT INTO t SELECT i, datetime('2024-01-01', '+' || i || ' hours'), '' FROM n",
    )
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(bench.ingest, [table] * 4))
    assert bench.rows("t", "id") == [(n,) for n in sorted(range(1, 501), key=lambda n: f"({n},)")]


def extract(table: Table, rows: list[Any], folder: Path) -> extraction.Extraction:
    folder.mkdir()
    receipt = receipts.read_receipts().get(table.target_name)
    return extraction.extract(table, folder, receipt=receipt, rows=lambda: iter(rows))


def test_tables_that_are_ready_together_are_loaded_together(bench: Bench) -> None:
    tickets = [
        loading._Ticket(extract(Table(name=name), [{"id": 1}], bench.folder / name))
        for name in ("a", "b", "c")
    ]
    loading._load_all(tickets)
    assert len({ticket.result().load_id for ticket in tickets}) == 1
    assert [bench.rows(name) for name in ("a", "b", "c")] == [[(1,)]] * 3


@pytest.mark.parametrize("mode", ["full", "append"])
def test_one_table_that_fails_stops_only_itself(bench: Bench, mode: Any) -> None:
    names = ("a", "b", "c")
    tables = [Table(name=name, mode=mode) for name in names]
    for table in tables:
        bench.ingest(table, [{"id": 1, "v": "x"}])
    bench.execute("ALTER TABLE raw.b ALTER COLUMN v SET NOT NULL")
    rows = [{"id": 2, "v": None}, {"id": 3, "v": "y"}]
    tickets = [loading._Ticket(extract(table, rows, bench.folder / table.name)) for table in tables]
    loading._load_all(tickets)
    failed = tickets[1].exception()
    assert isinstance(failed, errors.PermanentError)
    assert str(failed).startswith("b in ")
    assert "\n" not in str(failed)
    assert "null" in str(failed).lower()
    for name in ("a", "c"):
        assert {id_ for (id_,) in bench.rows(name, "id")} >= {2, 3}
    assert bench.rows("b", "id") == [(1,)]
    bench.execute("ALTER TABLE raw.b ALTER COLUMN v DROP NOT NULL")
    bench.ingest(tables[1], rows)
    assert {id_ for (id_,) in bench.rows("b", "id")} >= {2, 3}


@embedded
def test_a_table_that_does_not_fit_stops_only_itself(bench: Bench) -> None:
    bench.ingest(Table(name="b"), [{"id": 1, "v": 1}])
    tickets = [
        loading._Ticket(extract(Table(name=name), [{"id": 1}], bench.folder / name))
        for name in ("a", "b")
    ]
    loading._load_all(tickets)
    assert tickets[0].result().rows_loaded == 1
    assert "has no column v" in str(tickets[1].exception())


@embedded
def test_a_warehouse_that_is_away_fails_all_that_wait(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickets = [
        loading._Ticket(extract(Table(name=name), [{"id": 1}], bench.folder / name))
        for name in ("a", "b")
    ]
    with monkeypatch.context() as patch:
        patch.setattr(receipts, "recorded", _fail)
        loading._load_all(tickets)
    assert all(isinstance(t.exception(), errors.TransientError) for t in tickets)


@pytest.mark.parametrize("bench", ["postgres"], indirect=True)  # threads share a file of DuckDB
def test_a_second_run_waits_for_the_lock_and_gives_up_in_time(bench: Bench) -> None:
    bench.ingest(FULL, [row(1, 1)])
    bench.set("LOCK_TIMEOUT_SECONDS", "0")
    entered, done = threading.Event(), threading.Event()

    def hold() -> None:
        with warehouse.table_locks(["t"]):
            entered.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(60)
    try:
        with pytest.raises(errors.TransientError):
            bench.ingest(FULL, [row(2, 2)])
    finally:
        done.set()
        holder.join()
    assert ids(bench) == [(1, "")]


@pytest.mark.parametrize("bench", ["postgres"], indirect=True)
@pytest.mark.parametrize("table", [FULL, APPEND], ids=["full", "append"])
def test_a_table_that_somebody_locks_is_named_in_time(bench: Bench, table: Table) -> None:
    bench.ingest(table, [row(1, 1)])
    bench.set("LOCK_TIMEOUT_SECONDS", "0.2")
    with psycopg2.connect(bench.url) as holder:
        holder.cursor().execute("LOCK TABLE raw.t IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(errors.TransientError, match=r"^t in .*: canceling .* lock timeout\.$"):
            bench.ingest(table, [row(2, 2)])
    assert ids(bench) == [(1, "")]
    bench.ingest(table, [row(2, 2)])
    assert (2, "") in ids(bench)


@pytest.mark.parametrize("bench", ["postgres"], indirect=True)
def test_a_statement_that_takes_too_long_is_tried_again(bench: Bench) -> None:
    """Whatever the server's language."""
    with (
        psycopg2.connect(bench.url) as connection,
        pytest.raises(errors.TransientError, match=r"^t: zu lange"),
        failures.explained("t"),
    ):
        connection.cursor().execute("DO $$BEGIN RAISE 'zu lange' USING ERRCODE = '57014'; END$$")


@pytest.mark.parametrize("bench", ["postgres"], indirect=True)
def test_no_setting_of_a_role_changes_a_session(bench: Bench) -> None:
    """Whether in a transaction or not, and when a statement before has failed."""
    name = bench.url.partition("?")[0].rpartition("/")[2]
    with psycopg2.connect(bench.url) as connection:
        for setting in (
            *("extra_float_digits = 0", "datestyle = 'SQL, DMY'", "intervalstyle = 'iso_8601'"),
            *("timezone = 'America/New_York'", "standard_conforming_strings = off"),
            "search_path = nowhere",
        ):
            connection.cursor().execute(f"ALTER DATABASE {name} SET {setting}")
    asked = (
        "SELECT concat_ws(' ', 0.1::float8 + 0.2, date '2024-02-01', interval '1 hour',"
        r" timestamptz '2024-01-01 12:00Z', 'a\\b')"
    )
    expected = r"0.30000000000000004 2024-02-01 01:00:00 2024-01-01 12:00:00+00 a\\b"
    with warehouse.connect() as opened:
        assert opened.query(asked) == [(expected,)]
        with pytest.raises(errors.PermanentError):
            opened.query("SELECT nothing")
        assert opened.query(asked) == [(expected,)]
        opened.execute(f"CREATE TABLE public.kept AS {asked} AS v")
        assert opened.query("SELECT v FROM public.kept") == [(expected,)]
    for table, count in ((FULL, 1), (MERGE, 2), (BY_TIME, 2)):
        for number in (1, 2):
            bench.ingest(dataclasses.replace(table, target=table.mode), [row(number, number)])
        assert bench.count(table.mode) == count


@embedded
def test_a_load_leaves_nothing_in_the_temporary_folder(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    bench.ingest(MERGE, [row(1, 1)])
    with pytest.raises(errors.PermanentError):
        bench.ingest(MERGE, [{"v": 1}])
    assert list(folder.iterdir()) == []


@embedded
def test_what_killed_runs_have_left_is_removed_in_a_week(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    old, young = (tmp_path / f"my-data-project-run-{name}" for name in ("old", "young"))
    for folder, days in ((old, 8), (young, 6)):
        folder.mkdir()
        (folder / "rows.arrow").write_text("")
        os.utime(folder, (time.time() - days * 86_400,) * 2)
    bench.ingest(FULL, [row(1, 1)])
    assert (old.exists(), young.exists()) == (False, True)


@embedded
def test_the_result_tells_what_was_done(bench: Bench) -> None:
    result = bench.ingest(Table(name="t", target="u", key=("id",)), [row(1, 1), row(None, 1)])
    assert isinstance(result, ingestion.IngestionResult)
    assert (result.table, result.read, result.loaded, result.dropped) == ("u", 2, 1, 1)
    assert result.seconds > 0
