"""A source and a warehouse without Prefect's server. Runs inside a project.

A test module gets the fixture with `bench = use_bench`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import postgres_server
import pytest
from my_data_project.common import loading, receipts, settings, warehouse
from my_data_project.common.extraction import Window
from my_data_project.common.table import Table
from my_data_project.tasks import ingestion, quality

KINDS = tuple(os.environ.get("TEST_WAREHOUSES", "duckdb postgres").split())
"""Warehouses to test; what is the same for all is tested on DuckDB alone."""


def query_sqlite(path: Path, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements in one transaction and return the rows of the last one."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            for statement in statements:
                found = connection.execute(statement).fetchall()
        return found
    finally:
        connection.close()


class Bench:
    """A source in SQLite and an empty warehouse, both in the settings."""

    def __init__(self, kind: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.kind = kind
        self.folder = folder
        self.patch = patch
        self.url = f"duckdb:///{folder / 'warehouse.duckdb'}"
        if kind == "postgres":
            self.url = postgres_server.create_database()
        self.set("SOURCE_URL", f"sqlite:///{folder / 'source.db'}")
        self.set("WAREHOUSE_URL", self.url)
        self.set("LOCK_TIMEOUT_SECONDS", "60")

    def set(self, name: str, value: object) -> None:
        """Set one of the project's variables."""
        self.patch.setenv(f"{settings.ENV_PREFIX}{name}", str(value))

    def source(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements in the source."""
        return query_sqlite(self.folder / "source.db", *statements)

    def ingest(
        self,
        table: Table,
        rows: Iterable[Any] | Callable[..., Any] | None = None,
        *,
        since: object = None,
        until: object = None,
    ) -> ingestion.IngestionResult:
        """Ingest a table, from the source or from rows."""
        window = Window.parse(*(None if end is None else str(end) for end in (since, until)))
        if rows is None or callable(rows):
            return ingestion.ingest_table(table, window, rows)
        return ingestion.ingest_table(table, window, lambda: iter(rows))

    def check(self, table: Table) -> list[Any]:
        """Check the rules of a table in the warehouse."""
        return quality.check_quality.fn(table)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query in the warehouse; ingested tables are in the schema `raw`."""
        with warehouse.connect() as opened:
            return opened.query(sql)

    def execute(self, *statements: str) -> None:
        """Run statements in the warehouse."""
        with warehouse.connect() as opened:
            opened.execute(*statements)

    def rows(self, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
        """Return the rows of an ingested table, without dlt's columns, sorted."""
        with warehouse.connect() as opened:
            names = [name for name in opened.columns("raw", table)[table] if name[:5] != "_dlt_"]
            listed = ", ".join(map(opened.quote, names)) if columns == "*" else columns
            found = opened.query(f"SELECT {listed} FROM {opened.name('raw', table)}")
        # PostgreSQL's driver returns bytes as memory views.
        plain = [
            tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)
            for row in found
        ]
        return sorted(plain, key=repr)

    def count(self, table: str) -> int:
        """Count the rows of an ingested table."""
        return len(self.rows(table))

    def columns(self, table: str, schema: str = "raw") -> list[str]:
        """Return the columns of a table without dlt's; empty without a table."""
        with warehouse.connect() as opened:
            found = opened.columns(schema, table).get(table, {})
        return [name for name in found if not name.startswith("_dlt_")]

    def receipt(self, table: str) -> receipts.Receipt:
        """Return the last completed load of a table."""
        return receipts.read_receipts()[table]

    def reset(self, table: str, *, drop: bool = False) -> None:
        """Reset a table like the command `reset`."""
        with warehouse.connect() as opened:
            loading.forget(opened, table, drop=drop)


embedded = pytest.mark.parametrize("bench", ["duckdb"], indirect=True)
"""Marks a test of what is the same for every warehouse."""


@pytest.fixture(params=KINDS)
def use_bench(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """A source and a warehouse; tasks run as plain functions."""
    monkeypatch.chdir(tmp_path)
    for name in ("extract_table", "load_table"):
        monkeypatch.setattr(ingestion, name, getattr(ingestion, name).fn)
    made = Bench(request.param, tmp_path, monkeypatch)
    yield made
    if not made.columns("_ingestions"):
        return
    staged = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'raw_staging'"
    for (name,) in made.query(staged):
        if not name.startswith("_dlt"):
            left = made.query(f'SELECT count(*) FROM raw_staging."{name}"')
            assert left == [(0,)], "a load left a copy of its rows behind"
