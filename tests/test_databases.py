"""Pipelines on SQLite, PostgreSQL and DuckDB: every value and name, from each to each."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import projects
import pytest
from projects import tool

INSIDE = projects.ROOT / "tests" / "inside"


@pytest.mark.parametrize("module", ["test_types.py", "test_drift.py"])
def test_every_value_survives_or_is_refused(
    module: str, everything: Path, postgres_server: object, tmp_path: Path
) -> None:
    """All types through all pairs of databases, in the project's own environment."""
    folder = Path(shutil.copytree(everything / "tests", tmp_path / "tests"))
    shutil.copy(INSIDE / module, folder)
    printed = tool(
        everything, "pytest", "-q", "--no-cov", "-p", "no:cacheprovider", folder / module
    )
    assert " passed" in printed
    assert " skipped" not in printed


LOAD_TWICE = """
import sys
import sqlalchemy as sa
from my_data_project.common import db_utils, merge, quality, staging, state
from my_data_project.flows import tables

source, warehouse = sys.argv[1:]
state.prepare(warehouse)
for attempt in range(2):
    written = []
    for table in tables.TABLES:
        extraction = staging.extract(source, warehouse, table, batch_size=50)
        written.append(merge.publish(warehouse, table, extraction).rows_written)
    print(written)
found = [finding for table in tables.TABLES for finding in quality.check(warehouse, table)]
print(sorted(finding.violations for finding in found if finding.violations))
with db_utils.read(warehouse) as connection:
    query = sa.text("SELECT time_hour, dep_delay, tailnum FROM flights WHERE flight = 1545")
    print(connection.execute(query).all())
"""


def load_twice(project: Path, warehouse: str, source: str, tmp_path: Path) -> list[str]:
    script = tmp_path / "load_twice.py"
    script.write_text(LOAD_TWICE)
    return tool(project, "python", str(script), source, warehouse).splitlines()


EXPECTED = ["[16, 52, 146, 169, 27]", "[0, 0, 0, 0, 0]", "[3, 8, 23]"]


def test_duckdb_is_a_warehouse(everything: Path, sources: dict[str, str], tmp_path: Path) -> None:
    warehouse = f"duckdb:///{tmp_path / 'warehouse.duckdb'}"
    printed = load_twice(everything, warehouse, sources["MY_DATA_PROJECT_SOURCE_URL"], tmp_path)
    assert printed[:3] == EXPECTED


def test_postgres_is_a_warehouse_and_a_source(
    everything: Path, sources: dict[str, str], postgres: str, tmp_path: Path
) -> None:
    source = sources["MY_DATA_PROJECT_SOURCE_URL"]
    assert load_twice(everything, postgres, source, tmp_path)[:3] == EXPECTED
    back = f"sqlite:///{tmp_path / 'back.db'}"
    assert load_twice(everything, back, postgres, tmp_path)[:3] == EXPECTED
    original = sqlite3.connect(source.removeprefix("sqlite:///"))
    copy = sqlite3.connect(back.removeprefix("sqlite:///"))
    for table in ("airlines", "airports", "planes", "flights", "weather"):
        query = f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4, 5, 6, 7, 8"
        if table == "airlines":
            query = f"SELECT * FROM {table} ORDER BY 1"
        assert copy.execute(query).fetchall() == original.execute(query).fetchall()
    copy.close()
    original.close()
