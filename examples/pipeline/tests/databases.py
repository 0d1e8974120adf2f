"""Databases for the tests: a source with two tables, and an empty warehouse.

Tests of the plumbing use these tables, whatever tables the project has.
"""

from __future__ import annotations

import sqlite3
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import duckdb
import pytest

from my_data_project.common import rules, settings
from my_data_project.common.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prefect import Flow
    from prefect.states import State

EXAMPLES = {
    table.name: table
    for table in (
        Table(name="customers", key=("id",), rules=(rules.NotNull(column="name"),)),
        Table(
            name="orders",
            key=("id",),
            mode="incremental",
            cursor="changed_at",
            rules=(
                rules.RowCount(minimum=1),
                rules.ForeignKey(column="customer", references="customers", referenced_column="id"),
                rules.Range(column="price", minimum=0, severity="warn"),
            ),
        ),
    )
}
"""Tables of the tests: one is loaded whole, one incrementally."""

SOURCE = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, country TEXT);
INSERT INTO customers VALUES (1, 'Ada', 'GB'), (2, 'Grace', 'US'), (3, 'Zoë', NULL);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, customer INTEGER, price DECIMAL(10, 2), changed_at DATETIME
);
INSERT INTO orders VALUES
    (10, 1, 9.90, '2026-01-01 08:00:00'),
    (11, 2, 20, '2026-01-01 09:30:00'),
    (12, 2, 0.05, '2026-01-02 00:00:00'),
    (13, 3, 1000, '2026-01-02 12:00:00');
"""


class Database:
    """A database in tests; values have SQLite's types, so that rows can be compared."""

    def __init__(self, url: str, connect: Callable[[], Any], schema: str = "") -> None:
        self.url = url
        self.connect = connect
        self.schema = schema

    def run(self, statement: str, *values: object) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run a statement in a new connection; return the names of columns, and the rows."""
        connection = self.connect()
        try:
            cursor = connection.cursor()
            cursor.execute(statement, values)
            names = [column[0] for column in cursor.description or ()]
            rows = cursor.fetchall() if names else []
            return names, [tuple(map(_plain, row)) for row in rows]
        finally:
            connection.close()

    def __call__(self, statement: str, *values: object) -> list[Any]:
        """Run a statement and return its rows, or its values if it has one column."""
        return [row[0] if len(row) == 1 else row for row in self.run(statement, *values)[1]]

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """Return all rows of a table in a fixed order, without the columns that dlt adds."""
        names, rows = self.run(f'SELECT * FROM {self.schema}"{table}"')
        kept = [at for at, name in enumerate(names) if not name.startswith("_dlt_")]
        return sorted((tuple(row[at] for at in kept) for row in rows), key=repr)

    def count(self, table: str) -> int:
        """Return the number of rows in a table."""
        return len(self.rows(table))


def _plain(value: object) -> object:
    if isinstance(value, date):
        return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


def _make_duckdb(folder: Path) -> Database:
    path = folder / "warehouse.duckdb"
    return Database(f"duckdb:///{path}", partial(duckdb.connect, path), "raw.")


WAREHOUSES: dict[str, Callable[[Path], Database]] = {
    "duckdb": _make_duckdb,
}
"""The kinds of warehouse that this project can be tested on."""


def run_to_state(flow: Flow[..., Any], **parameters: object) -> State[Any]:
    """Run a flow and return its final state, even if it failed."""
    return cast("Any", flow)(**parameters, return_state=True)


@pytest.fixture(autouse=True)
def _clean_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's environment and `.env` out of the tests."""
    monkeypatch.chdir(tmp_path)
    for name in settings.Settings.model_fields:
        monkeypatch.delenv(f"{settings.ENV_PREFIX}{name.upper()}", raising=False)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Provide a new source with the tables of `EXAMPLES`, and set it in the settings."""
    path = tmp_path / "source.db"
    connection = sqlite3.connect(path)
    connection.executescript(SOURCE)
    connection.close()
    database = Database(f"sqlite:///{path}", partial(sqlite3.connect, path, isolation_level=None))
    monkeypatch.setenv(f"{settings.ENV_PREFIX}SOURCE_URL", database.url)
    return database


@pytest.fixture
def warehouse_kind() -> str:
    """The kind of warehouse; parametrize this fixture for other kinds."""
    return "duckdb"


@pytest.fixture
def warehouse(warehouse_kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Provide an empty warehouse, and set it in the settings."""
    database = WAREHOUSES[warehouse_kind](tmp_path)
    monkeypatch.setenv(f"{settings.ENV_PREFIX}WAREHOUSE_URL", database.url)
    monkeypatch.setenv(f"{settings.ENV_PREFIX}LOCK_TIMEOUT_SECONDS", "1")
    return database


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the project's list of tables by that of the tests."""
    # Imported here: Prefect must not be imported before `prefect_server` has set it up.
    from my_data_project.flows import (
        factory,
        ingestion_flow,
        tables,
    )

    flows = {
        name: factory.create_ingestion_flow(table, module=ingestion_flow.__name__)
        for name, table in EXAMPLES.items()
    }
    monkeypatch.setattr(tables, "TABLES", tuple(EXAMPLES.values()))
    monkeypatch.setattr(ingestion_flow, "FLOWS", flows)
