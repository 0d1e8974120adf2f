"""Shows how a project uses a warehouse's URL, without the service. Runs inside a project.

Prints as JSON the credentials that dlt has parsed, the SQL dialect, and the statements of the
quality rules and of a derived table in that dialect. Each URL has its own fork with the common
imports, and prints after a line `URL number`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import traceback
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

try:
    import pyodbc  # noqa: F401
except ImportError:  # SQL Server's driver needs a library of the machine; nothing here uses it
    sys.modules["pyodbc"] = MagicMock()

import sqlglot
from my_data_project.common import (
    checks,
    db_utils,
    derived,
    failures,
    receipts,
    rules,
    settings,
    warehouse,
)
from my_data_project.common.table import Table
from sqlglot.errors import ErrorLevel

RULES = (
    rules.NotNull(column="Carrier"),
    rules.Unique(columns=("Carrier", "flight")),
    rules.AcceptedValues(column="Carrier", values=("AA", "O'Neil", 3, 1.5, True)),
    rules.Range(column="at", minimum=date(2000, 1, 1), maximum=datetime(2100, 1, 1, tzinfo=UTC)),
    rules.RowCount(minimum=1),
    rules.Dropped(maximum=1),
    rules.Sql(name="late", condition="dep_delay > 60 OR at < CURRENT_TIMESTAMP"),
    rules.ForeignKey(column="Carrier", references="airlines", referenced_column="carrier"),
    rules.Freshness(column="at", max_age=timedelta(days=1), behind=("airlines", "at")),
)
QUERY = """
SELECT f.carrier, count(*) AS flights, round(avg(f.dep_delay), 1) AS delay
FROM flights AS f JOIN airlines AS a ON a.carrier = f.carrier
WHERE f.at >= DATE '2013-01-01' AND f.dep_delay IS NOT NULL
GROUP BY f.carrier ORDER BY flights DESC
"""
statements: list[str] = []


def execute(sql: str, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
    statements.append(sql)
    return []


def show(text: str) -> None:
    """Print the result for a URL."""
    os.environ["MY_DATA_PROJECT_WAREHOUSE_URL"] = text
    config = settings.load()
    found: Any = warehouse._find()
    url, kind = found

    class Recorded(kind):
        """A warehouse with fixed answers that records queries."""

        def query(self, sql: str) -> list[tuple[Any, ...]]:
            statements.append(sql)
            selected = sqlglot.parse_one(sql, self.dialect).selects
            # Receipts, and the marks of derived tables.
            if any(word in sql for word in ("load_id", "information_schema", "_derived")):
                return []
            if isinstance(selected[0], sqlglot.exp.Max):
                return [(datetime(2026, 1, 1, tzinfo=UTC),)]
            return [(0,) * len(selected)]

        def columns(self, _: str, *tables: str) -> dict[str, Any]:
            names = ("Carrier", "carrier", "flight", "at", "dep_delay")
            there = [table for table in tables if table in {"flights", "airlines"}]
            return {table: {name: {} for name in names} for table in there}

    with (
        tempfile.TemporaryDirectory() as folder,
        failures.explained(db_utils.describe(url)),
        warehouse._drivers(url),
    ):
        jobs: Any = warehouse.pipeline(folder).destination_client()
    credentials = {key: value for key, value in dict(jobs.config.credentials).items() if value}
    client = jobs.sql_client
    dialect = str(client.capabilities.sqlglot_dialect)
    opened = Recorded(url, config.raw_schema, config.marts_schema, dialect, client, jobs)

    receipt = receipts.Receipt(table_name="flights", mode="full", loaded_at=datetime.now(tz=UTC))
    asked = len(checks.after(opened, Table(name="flights", rules=RULES), receipt))
    assert asked == len(RULES)
    receipts.latest(opened)
    with contextlib.ExitStack() as stack:
        sql = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (sql / "delays.sql").write_text(QUERY)
        derived.FOLDER = sql
        client.execute_sql = execute
        client.begin_transaction = contextlib.nullcontext
        client.has_dataset = lambda: True
        derived.build(opened, "delays")
    for statement in statements:
        sqlglot.parse_one(statement, dialect, error_level=ErrorLevel.RAISE)
    facts = {
        "type": type(jobs.config).__name__,
        "dialect": dialect,
        "location": getattr(jobs.config, "location", None),
        "name": opened.name("raw", "Order Items"),
        "credentials": credentials,
        "described": opened.described,
        "statements": statements,
    }
    print("FACTS" + json.dumps(facts, default=str))


for number, argument in enumerate(sys.argv[1:]):
    print("URL", number, flush=True)
    if (child := os.fork()) == 0:
        try:
            show(argument)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
    os.waitpid(child, 0)
