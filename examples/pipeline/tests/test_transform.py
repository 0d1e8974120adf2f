"""The flow that builds the derived tables: their order, and what a failure stops."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest
from databases import run_to_state
from prefect.artifacts import Artifact

from my_data_project.common import derived, runs
from my_data_project.flows import (
    tables,
    transform_flow,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from databases import Database


@pytest.fixture
def write(
    warehouse: Database, tmp_path: Path, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Write files of a temporary `sql/`, for a warehouse with two ingested tables."""
    monkeypatch.setattr(derived, "FOLDER", tmp_path)
    monkeypatch.setattr(tables, "TABLES", ())
    warehouse("CREATE SCHEMA raw")
    warehouse("CREATE TABLE raw.orders AS SELECT unnest([1, 2]) AS id, unnest([10, 20]) AS price")
    warehouse("CREATE TABLE raw.clients AS SELECT 1 AS id")

    def run(**queries: str) -> None:
        for name, query in queries.items():
            (tmp_path / f"{name}.sql").write_text(query, encoding="utf-8")

    return run


def test_each_table_is_built_after_those_it_reads(
    write: Callable[..., None], warehouse: Database
) -> None:
    assert transform_flow.transform_all() == {}
    write(a="SELECT SUM(total) AS s FROM z", z="SELECT SUM(price) AS total FROM orders")
    assert transform_flow.transform_all() == {"z": 1, "a": 1}
    assert warehouse("SELECT s FROM marts.a") == [30]
    artifact = cast("Any", Artifact.get(runs.artifact_key("derived-tables")))
    assert [row["rows"] for row in json.loads(artifact.data)] == [1, 1]


def test_one_failure_stops_only_what_depends_on_it(
    write: Callable[..., None], warehouse: Database
) -> None:
    write(bad="SELECT nope FROM orders", after="SELECT * FROM bad", good="SELECT id FROM clients")
    message = str(run_to_state(transform_flow.transform_all).message)
    assert "1 of 3 derived tables failed.\nbad: sql/bad.sql" in message
    assert '"nope" not found' in message
    assert "after: Skipped, because it reads bad." in message
    assert warehouse("SELECT id FROM marts.good") == [1]


def test_a_table_that_was_not_ingested_stops_only_what_depends_on_it(
    write: Callable[..., None],
) -> None:
    write(a="SELECT id FROM orders", b="SELECT * FROM marts.a", c="SELECT id FROM clients")
    assert transform_flow.transform_all(without=["orders"]) == {"c": 1}
    assert transform_flow.transform_all() == {"a": 2, "b": 2, "c": 1}
