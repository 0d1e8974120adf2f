"""Ingestion of a table into each kind of warehouse. Copy a test for your own tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from databases import EXAMPLES, WAREHOUSES

from my_data_project.common import errors
from my_data_project.common.table import Table
from my_data_project.tasks import ingestion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from databases import Database

CUSTOMERS, ORDERS = EXAMPLES["customers"], EXAMPLES["orders"]

each_warehouse = pytest.mark.parametrize("warehouse_kind", WAREHOUSES)


@pytest.fixture(autouse=True)
def _plain_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the tasks as plain functions, which need no Prefect server."""
    for name in ("extract_table", "load_table"):
        monkeypatch.setattr(ingestion, name, getattr(ingestion, name).fn)


@each_warehouse
def test_a_full_table_is_replaced(source: Database, warehouse: Database) -> None:
    assert ingestion.ingest_table(CUSTOMERS).loaded == 3
    assert warehouse.rows("customers") == source.rows("customers")
    source("DELETE FROM customers WHERE id = 1")
    source("UPDATE customers SET name = 'Hopper' WHERE id = 2")
    ingestion.ingest_table(CUSTOMERS)
    assert warehouse.rows("customers") == source.rows("customers")


@each_warehouse
def test_an_incremental_table_takes_what_is_new(source: Database, warehouse: Database) -> None:
    assert ingestion.ingest_table(ORDERS).loaded == 4
    source("UPDATE orders SET price = 5, changed_at = '2026-01-03 00:00:00' WHERE id = 10")
    source("INSERT INTO orders VALUES (14, 1, 8, '2026-01-02 12:00:00')")
    # Rows 10 and 14, and again 13, which has the newest cursor value.
    assert ingestion.ingest_table(ORDERS).loaded == 3
    assert warehouse.rows("orders") == source.rows("orders")


@each_warehouse
def test_rows_that_break_a_rule_are_kept_out(source: Database, warehouse: Database) -> None:
    ingestion.ingest_table(CUSTOMERS)
    before = warehouse.rows("customers")
    source("UPDATE customers SET name = NULL WHERE id = 2")
    with pytest.raises(errors.PermanentError, match="kept out: name is never null: 1"):
        ingestion.ingest_table(CUSTOMERS)
    assert warehouse.rows("customers") == before


def test_a_function_may_give_the_rows(warehouse: Database) -> None:
    def rates(since: int | None = None) -> Iterator[dict[str, Any]]:
        for day in range(since or 1, (since or 1) + 3):
            yield {"day": day, "rate": 1.5, "details": {"from": "a bank"}}

    table = Table(name="rates", key=("day",), mode="incremental", cursor="day")
    for _ in range(2):
        ingestion.ingest_table(table, rows=rates)
    assert warehouse("SELECT day FROM raw.rates ORDER BY day") == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (Table(name="custommers"), r"no table 'custommers'.* Did you mean 'customers'\?"),
        (Table(name="customers", key=("number",)), "no column 'number'; it has id, name, country"),
    ],
)
def test_what_the_source_does_not_have_is_one_clear_error(
    table: Table, message: str, source: Database, warehouse: Database
) -> None:
    with pytest.raises(errors.PermanentError, match=message):
        ingestion.ingest_table(table)
