"""Tables as data: what an entry of `flows/tables.py` may say. Runs inside a generated project."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from databases import Database
from my_data_project import cli
from my_data_project.common import errors, rules
from my_data_project.common.table import AllTables, Table, check_targets
from my_data_project.flows import tables

ORDERS = Table(name="orders", key=("id",), mode="incremental", cursor="changed_at")


def test_a_table_needs_no_more_than_a_name() -> None:
    table = Table(name="orders")
    assert (table.target_name, table.mode, table.key) == ("orders", "full", None)
    assert Table(name="orders", schema="eu", target="eu_orders").target_name == "eu_orders"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "id"}, r"key must be a tuple, such as \('id',\)"),
        ({"key": ["id"]}, "key must be a tuple"),
        ({"key": ()}, "names no column"),
        ({"columns": ()}, "names no column"),
        ({"exclude": "note"}, "exclude must be a tuple"),
        ({"rules": rules.RowCount(minimum=1)}, "rules must be a tuple"),
        ({"mode": "increment"}, "'full', 'incremental', 'append'"),
        ({"on_new_column": "drop"}, "'evolve', 'ignore', 'fail'"),
        ({"cursor_nulls": "ignore"}, "'drop', 'keep', 'fail'"),
        ({"cursor": None}, "needs a cursor"),
        ({"mode": "full"}, "a cursor goes with"),
        ({"mode": "full", "cursor": None, "lookback": timedelta(1)}, "lookback goes with"),
        ({"mode": "append", "cursor_nulls": "keep"}, "each time"),
        ({"max_shrink": 2}, "between 0 and 1"),
        ({"exclude": ("changed_at", "note")}, "must be read: changed_at"),
        ({"columns": ("note",)}, "must be read: changed_at, id"),
        ({"target": "_dlt_loads"}, "another name"),
        ({"target": "_ingestions"}, "another name"),
        ({"name": "eu.orders"}, "another name"),
        ({"name": 'order"s'}, "another name"),
        ({"target": "ä" * 101}, "another name"),
        ({"rules": ("x",)}, "rules holds what is no rule"),
    ],
)
def test_a_table_that_could_not_work_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        dataclasses.replace(ORDERS, **change)


def test_all_tables_of_a_schema_are_one_entry() -> None:
    entry = AllTables(
        schema="eu",
        source="crm",
        exclude=("log",),
        target_prefix="eu_",
        template=Table(name="any", on_new_column="ignore"),
    )
    found = entry.expand(["orders", "log", "customers"])
    assert [table.target_name for table in found] == ["eu_orders", "eu_customers"]
    assert found[0] == Table(
        name="orders", schema="eu", source="crm", target="eu_orders", on_new_column="ignore"
    )
    assert str(entry) == "all tables of crm.eu"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (AllTables(exclude=("persn",), schema="eu"), "excludes 'persn': eu has no such table"),
        (AllTables(exclude=("log",)), r"'100%', 'a/b' cannot .* exclude=\('log', '100%', 'a/b'\)"),
    ],
)
def test_what_all_tables_cannot_stand_for_is_refused(entry: AllTables, message: str) -> None:
    with pytest.raises(errors.PermanentError, match=message):
        entry.expand(["100%", "a/b", "log", "person"])


@pytest.mark.parametrize("other", ["orders", "Orders"])
def test_two_tables_of_one_name_are_refused(other: str) -> None:
    with pytest.raises(errors.PermanentError, match="another target, such as target='us_"):
        check_targets((ORDERS, Table(name=other, schema="us")))
    check_targets((ORDERS, Table(name=other, schema="us", target="us_orders")))


def test_tables_of_a_schema_that_share_a_name_are_one_sentence(
    source: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tables, "TABLES", (AllTables(), Table(name="any", target="Orders")))
    assert cli.main(["ingest"]) == 1
    error = capsys.readouterr().err
    assert "two tables 'orders' for the warehouse ('any' of the source and 'orders' of" in error
    assert "give AllTables exclude=('orders',)" in error
    assert error.count("\n") == 1


def test_two_schemas_that_share_names_need_a_prefix() -> None:
    found = [AllTables(schema=schema).expand(["orders"])[0] for schema in ("eu", "us")]
    with pytest.raises(errors.PermanentError, match=r"of eu and .* of us.*target_prefix.*'us_'"):
        check_targets((), found)


@pytest.mark.parametrize("others", [(), (Table(name="orders"),)])
def test_a_schema_without_tables_is_an_error(
    others: tuple[Table, ...],
    source: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tables, "TABLES", (AllTables(schema="nope"), *others))
    assert cli.main(["backfill", "sales", "--since", "2026"]) == 1
    assert "The source has no tables in the schema 'nope'" in capsys.readouterr().err
