"""The flows, on a real Prefect server."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

from databases import EXAMPLES, run_to_state
from prefect import get_client
from prefect.artifacts import Artifact
from prefect.client.schemas.filters import FlowRunFilter
from prefect.flows import load_flow_from_entrypoint

from my_data_project.common import runs
from my_data_project.common.table import (
    AllTables,
    Table,
)
from my_data_project.flows import (
    factory,
    ingestion_flow,
    tables,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest
    from databases import Database


def test_a_worker_finds_the_flow_of_each_table() -> None:
    for name, flow in ingestion_flow.FLOWS.items():
        assert flow.name == f"ingest-{name}"
        entrypoint = f"{flow.fn.__module__}.{flow.fn.__qualname__}"
        assert load_flow_from_entrypoint(entrypoint) is flow


def rates() -> Iterator[dict[str, Any]]:
    """Yield rows that do not come from a database, as your flows may."""
    yield {"currency": "GBP", "rate": 1.15}
    yield {"currency": "USD", "rate": 0.92}


def test_one_more_table_is_one_more_flow(warehouse: Database, prefect_server: str) -> None:
    table = Table(name="rates", key=("currency",))
    flow = factory.create_ingestion_flow(table, module=__name__, rows=rates)
    globals()[factory.flow_attribute("rates")] = flow
    assert load_flow_from_entrypoint(f"{__name__}.ingest_rates") is flow
    assert run_to_state(flow).result().loaded == 2
    assert warehouse.rows("rates") == [("GBP", 1.15), ("USD", 0.92)]
    assert Artifact.get(runs.artifact_key("ingestion-rates")) is not None


def test_everything_together(
    source: Database, warehouse: Database, prefect_server: str, examples: None
) -> None:
    results = ingestion_flow.ingest_all()
    assert [result.table for result in results] == list(EXAMPLES)
    for name in EXAMPLES:
        assert warehouse.rows(name) == source.rows(name)
    artifact = cast("Artifact | None", Artifact.get(runs.artifact_key("ingestion")))
    assert artifact is not None
    assert re.findall(r"^\| `(\w+)` \|", str(artifact.data), re.MULTILINE) == list(EXAMPLES)


def test_all_tables_of_a_schema_are_loaded(
    source: Database, warehouse: Database, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "TABLES", (AllTables(target_prefix="shop_"),))
    results = ingestion_flow.ingest_all()
    assert [result.table for result in results] == ["shop_customers", "shop_orders"]
    assert warehouse.rows("shop_orders") == source.rows("orders")


def test_a_source_that_fails_stops_only_its_own_tables(
    source: Database, warehouse: Database, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "TABLES", (AllTables(source="crm"), *EXAMPLES.values()))
    message = str(run_to_state(ingestion_flow.ingest_all).message)
    assert "1 of 3 tables failed.\nall tables of crm: There is no source 'crm'" in message
    assert warehouse.rows("orders") == source.rows("orders")
    assert len(ingestion_flow.ingest_all(only=["orders"])) == 1


def test_task_runs_of_a_table_belong_to_its_flow_run(
    source: Database, warehouse: Database, prefect_server: str, examples: None
) -> None:
    state = run_to_state(ingestion_flow.FLOWS["customers"])
    assert state.result().loaded == source.count("customers")
    wanted = FlowRunFilter(id={"any_": [state.state_details.flow_run_id]})
    expected = {"extract-customers", "load-customers"}
    names: set[str] = set()
    deadline = time.monotonic() + 30
    # The server records task runs, and later their names, shortly after they end.
    while names != expected and time.monotonic() < deadline:
        with get_client(sync_client=True) as client:
            names = {run.name for run in client.read_task_runs(flow_run_filter=wanted)}
        time.sleep(0.1)
    assert names == expected


def test_a_failing_table_fails_the_run_but_not_the_other_tables(
    source: Database, warehouse: Database, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    emitted = mock.Mock()
    monkeypatch.setattr(ingestion_flow, "emit_event", emitted)
    monkeypatch.setattr(tables, "TABLES", (Table(name="gone"), *EXAMPLES.values()))
    state = run_to_state(ingestion_flow.ingest_all)
    assert state.is_failed()
    assert "1 of 3 tables failed.\ngone: The source has no table 'gone'" in str(state.message)
    for name in EXAMPLES:
        assert warehouse.rows(name) == source.rows(name)
        assert Artifact.get(runs.artifact_key("quality", name)) is not None
    # After this event, derived tables that do not read the failed table are still built.
    assert emitted.call_args.kwargs["event"] == "ingestion.ended"
    assert emitted.call_args.kwargs["payload"] == {"failed": ["gone"]}


def test_a_broken_rule_fails_the_run_and_hides_no_other(
    source: Database, warehouse: Database, prefect_server: str, examples: None
) -> None:
    source("UPDATE customers SET name = NULL WHERE id = 1")
    source("UPDATE orders SET price = -1 WHERE id = 10")
    source("INSERT INTO orders VALUES (15, 99, 1, '2026-01-05 00:00:00')")
    state = run_to_state(ingestion_flow.ingest_all)
    assert state.is_failed()
    assert "2 of 2 tables failed" in str(state.message)
    assert "name is never null: 1" in str(state.message)


def test_a_table_that_does_not_exist_is_one_clear_error(
    prefect_server: str, examples: None
) -> None:
    state = run_to_state(ingestion_flow.ingest_all, only=["order"])
    assert "There is no table order. Tables: customers, orders." in str(state.message)
