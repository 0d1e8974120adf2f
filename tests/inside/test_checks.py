"""Rules before and after a load, on every warehouse. Runs inside a generated project."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from bench import Bench, embedded, use_bench
from my_data_project.common import checks, errors, rules
from my_data_project.common.table import Table

bench = use_bench

ROWS = [
    {"id": 1, "kind": "a", "price": Decimal("1.50"), "day": date(2024, 1, 1), "note": "x"},
    {"id": 2, "kind": "b", "price": Decimal("20.00"), "day": date(2024, 1, 2), "note": None},
    {"id": 2, "kind": None, "price": Decimal("-1.00"), "day": None, "note": "it's"},
    {"id": None, "kind": "a", "price": None, "day": date(2024, 1, 3), "note": None},
    {"id": None, "kind": "z", "price": Decimal("7.00"), "day": date(2024, 1, 3), "note": None},
]

# A rule, what it says, and how many rows of ROWS violate it.
ABOUT_ROWS: list[tuple[Any, str, int]] = [
    (rules.NotNull(column="kind"), "kind is never null", 1),
    (rules.Unique(columns=("id",)), "(id) is unique", 1),
    (rules.Unique(columns=("id", "kind")), "(id, kind) is unique", 0),
    (rules.Unique(columns=("kind",)), "(kind) is unique", 1),
    (rules.AcceptedValues(column="kind", values=("a", "b")), "kind is one of a, b", 1),
    (rules.AcceptedValues(column="note", values=("x", "it's")), "note is one of x, it's", 0),
    (
        rules.AcceptedValues(column="day", values=(date(2024, 1, 1), date(2024, 1, 3))),
        "day is one of 2024-01-01, 2024-01-03",
        1,
    ),
    (rules.Range(column="price", minimum=0), "price is at least 0", 1),
    (
        rules.Range(column="price", minimum=Decimal("1.5"), maximum=7),
        "price is at least 1.5 and at most 7",
        2,
    ),
    (rules.Range(column="day", maximum=date(2024, 1, 2)), "day is at most 2024-01-02", 2),
    (rules.Sql(name="as cheap", condition="kind <> 'a' OR price < 1"), "as cheap", 1),
    (rules.Sql(name="even", condition="id % 2 = 0"), "even", 1),
    (rules.Sql(name="day of", condition="day >= DATE '2024-01-02'"), "day of", 1),
    (rules.Sql(name="text", condition="note IS NULL OR note LIKE '%x%'"), "text", 1),
]


def test_each_rule_counts_the_same_before_and_after_a_load(bench: Bench) -> None:
    """All in one load each: warned about in the warehouse, refused on the rows."""
    table = Table(name="t")
    warnings = tuple(dataclasses.replace(rule, severity="warn") for rule, _, _ in ABOUT_ROWS)
    warned = dataclasses.replace(table, rules=warnings)
    bench.ingest(warned, ROWS)
    found = [(finding.rule, finding.violations) for finding in bench.check(warned)]
    assert found == [(text, count) for _, text, count in ABOUT_ROWS]
    failing = dataclasses.replace(table, rules=tuple(rule for rule, _, _ in ABOUT_ROWS))
    with pytest.raises(checks.QualityError, match="were kept out") as caught:
        bench.ingest(failing, ROWS)
    for _, text, count in ABOUT_ROWS:
        assert (f"{text}: {count}" in str(caught.value)) is bool(count)


@embedded
@pytest.mark.parametrize(
    "rule",
    [
        rules.NotNull(column="kind"),
        rules.Unique(columns=("id",)),
        rules.AcceptedValues(column="kind", values=("a",)),
        rules.Range(column="price", minimum=0),
        rules.Sql(name="own", condition="price < 5"),
        rules.RowCount(minimum=1, maximum=2),
        rules.Dropped(maximum=0),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_a_bad_load_is_kept_out(bench: Bench, rule: rules.Rule) -> None:
    table = Table(name="t", rules=(rule,), key=("id",) if isinstance(rule, rules.Dropped) else None)
    bench.ingest(table, ROWS[:1])
    before = bench.receipt("t")
    with pytest.raises(checks.QualityError, match=r"'t': its new rows violate its rules"):
        bench.ingest(table, ROWS)
    assert bench.rows("t", "id") == [(1,)]
    assert bench.receipt("t") == before


@embedded
def test_an_emptied_source_is_kept_out_by_its_row_count(bench: Bench) -> None:
    table = Table(name="t", rules=(rules.RowCount(minimum=1),), max_shrink=1)
    bench.source("CREATE TABLE t (id INTEGER)", "INSERT INTO t VALUES (1)")
    bench.ingest(table)
    bench.source("DELETE FROM t")
    with pytest.raises(checks.QualityError, match=r"at least 1 rows: 1 \(0 rows\)"):
        bench.ingest(table)
    assert bench.rows("t") == [(1,)]


@embedded
@pytest.mark.parametrize("mode", ["incremental", "append"])
def test_a_row_count_is_about_all_rows(bench: Bench, mode: Any) -> None:
    """An incremental load without news is none without rows."""
    table = Table(name="t", key=("id",), mode=mode, cursor="id", rules=(rules.RowCount(minimum=2),))
    bench.ingest(table, [{"id": 1}, {"id": 2}])
    bench.ingest(table, [{"id": 2}])
    assert [finding.status for finding in bench.check(table)] == ["ok"]


@embedded
def test_a_warning_keeps_nothing_out(bench: Bench) -> None:
    table = Table(name="t", rules=(rules.NotNull(column="kind", severity="warn"),))
    bench.ingest(table, ROWS)
    assert [(f.status, f.violations) for f in bench.check(table)] == [("warn", 1)]


@embedded
def test_dropped_rows_are_known_after_the_load(bench: Bench) -> None:
    table = Table(name="t", key=("id",), rules=(rules.Dropped(maximum=2, severity="warn"),))
    bench.ingest(table, ROWS)
    (finding,) = bench.check(table)
    assert (finding.status, finding.detail) == ("warn", "3 dropped")


def test_rules_of_a_table_with_another_name_in_the_warehouse(bench: Bench) -> None:
    table = Table(name="Order Items", target="select", rules=(rules.NotNull(column="group by"),))
    bench.ingest(table, [{"group by": 1}])
    assert [finding.violations for finding in bench.check(table)] == [0]
    with pytest.raises(checks.QualityError, match="group by is never null: 1"):
        bench.ingest(table, [{"group by": None}, {"group by": 1}])


def test_a_foreign_key_counts_orphans_and_nulls(bench: Bench) -> None:
    rule = rules.ForeignKey(column="kind", references="kinds", referenced_column="name")
    bench.ingest(Table(name="kinds"), [{"name": "a"}, {"name": "b"}, {"name": None}])
    table = Table(name="t", rules=(rule,))
    bench.ingest(table, ROWS)
    with pytest.raises(checks.QualityError, match=r"kind is in kinds.name: 2 .1 of them null"):
        bench.check(table)


@pytest.mark.parametrize("zoned", [True, False])
def test_freshness_compares_with_now_or_another_table(bench: Bench, zoned: bool) -> None:
    now = datetime.now(tz=UTC)
    times = [now - timedelta(hours=3), now - timedelta(hours=1)]
    if not zoned:
        times = [when.replace(tzinfo=None) for when in times]
    rule = rules.Freshness(column="seen", max_age=timedelta(hours=2), severity="warn")
    behind = dataclasses.replace(rule, behind=("fresh", "seen"))
    old = Table(name="old", rules=(rule, behind))
    fresh = Table(name="fresh", rules=(rule,))
    empty = Table(name="empty", rules=(rule, behind))
    bench.ingest(old, [{"seen": times[0]}])
    bench.ingest(fresh, [{"seen": times[1]}])
    bench.source("CREATE TABLE empty (seen TIMESTAMP)")
    bench.ingest(empty)
    assert [f.violations for f in bench.check(old)] == [1, 0]
    assert [f.violations for f in bench.check(fresh)] == [0]
    assert [(f.violations, f.detail) for f in bench.check(empty)] == [(1, "no value")] * 2


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (rules.NotNull(column="wheels"), "rules of 't' cannot be checked: .*wheels"),
        (
            rules.ForeignKey(column="id", references="x", referenced_column="y"),
            r"rules of 't' cannot be checked: .*x\W* does not exist",
        ),
        (rules.Freshness(column="kind", max_age=timedelta(1)), r"types=\{'kind': 'timestamp'\}"),
        (rules.Sql(name="own", condition="nowhere > 1"), "nowhere"),
    ],
)
def test_a_rule_that_cannot_be_checked_is_one_sentence(
    bench: Bench, rule: rules.Rule, message: str
) -> None:
    bench.ingest(Table(name="t"), ROWS)
    with pytest.raises(errors.PermanentError, match=message) as caught:
        bench.check(Table(name="t", rules=(rule,)))
    assert "\n" not in str(caught.value)


@embedded
def test_a_rule_on_rows_that_cannot_be_checked_is_one_sentence(bench: Bench) -> None:
    for rule in (
        rules.Sql(name="own", condition="nowhere > 1"),
        rules.Sql(name="own", condition="id >"),
        rules.Range(column="kind", minimum=1),
    ):
        with pytest.raises(
            errors.PermanentError, match="rules of 't' cannot be checked: "
        ) as caught:
            bench.ingest(Table(name="t", rules=(rule,)), ROWS)
        assert "\n" not in str(caught.value)
    assert bench.columns("t") == []


def test_a_table_that_was_never_loaded_is_one_sentence(bench: Bench) -> None:
    message = "rules of 't' cannot be checked: .*does not exist"
    with pytest.raises(errors.PermanentError, match=message):
        bench.check(Table(name="t", rules=(rules.RowCount(),)))


FRESH = {"column": "a", "max_age": timedelta(1)}


@pytest.mark.parametrize(
    ("rule", "given", "message"),
    [
        (rules.NotNull, {"column": "a", "severity": "error"}, "severity is 'warn' or 'fail'"),
        (rules.Unique, {"columns": "id"}, r"columns='id'\): columns and values are tuples"),
        (rules.Unique, {"columns": ()}, "neither empty"),
        (rules.AcceptedValues, {"column": "a", "values": ["x"]}, "are tuples"),
        (rules.AcceptedValues, {"column": "a", "values": "xy"}, "are tuples"),
        (rules.AcceptedValues, {"column": "a", "values": (None,)}, "neither empty"),
        (rules.AcceptedValues, {"column": "a", "values": (1.0, math.nan)}, "nor with NaN"),
        (rules.Range, {"column": "a"}, "needs a minimum or a maximum"),
        (rules.Range, {"column": "a", "minimum": math.nan}, "other than NaN"),
        (rules.Range, {"column": "a", "maximum": Decimal("inf")}, "other than NaN"),
        (rules.RowCount, {"minimum": None}, "are numbers of rows"),
        (rules.RowCount, {"minimum": -1}, "are numbers of rows"),
        (rules.RowCount, {"maximum": -1}, "are numbers of rows"),
        (rules.Dropped, {"maximum": None}, "maximum is a number of rows"),
        (rules.Dropped, {"maximum": -1}, "maximum is a number of rows"),
        (rules.Freshness, {"column": "a", "max_age": 3600}, "max_age is a timedelta"),
        (rules.Freshness, {**FRESH, "behind": "orders"}, "behind is a table and its column"),
        (rules.Freshness, {**FRESH, "behind": ("orders",)}, "behind is a table and its column"),
    ],
)
def test_a_rule_that_could_not_work_is_refused(
    rule: Any, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"^{rule.__name__}\(.*{message}.*\.$"):
        rule(**given)


def test_rules_have_sensible_severities() -> None:
    with pytest.raises(TypeError):
        rules.NotNull("column")  # type: ignore[misc, call-arg]
    assert rules.NotNull(column="v").severity == "fail"
