"""A folder or bucket as warehouse. Runs inside a project with the extra `filesystem`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

os.environ["MY_DATA_PROJECT_WAREHOUSE_URL"] = sys.argv[1]

import deltalake
import pyarrow as pa
import pytest
from my_data_project.common import (
    checks,
    derived,
    errors,
    loading,
    receipts,
    rules,
    runs,
    warehouse,
)
from my_data_project.common.table import Table
from my_data_project.tasks import ingestion

ingestion.extract_table = ingestion.extract_table.fn
ingestion.load_table = ingestion.load_table.fn
NEWER = {"bytes_loaded", "rules_met", "version", "flow_run"}
DAYS = [datetime(2024, 1, day, tzinfo=UTC) for day in range(1, 10)]


def ingest(table: Table, *rows: dict[str, object]) -> ingestion.IngestionResult:
    def again(since: object) -> Iterator[dict[str, object]]:
        """Yield rows from a cursor value on, so that those with the newest value come twice."""
        return iter(rows)

    return ingestion.ingest_table(table, rows=again if table.cursor else lambda: iter(rows))


def read(name: str, columns: str = "*") -> list[tuple[object, ...]]:
    with warehouse.connect() as opened:
        return opened.query(f"SELECT {columns} FROM {opened.name('raw', name)} ORDER BY ALL")


def full() -> None:
    table = Table(name="Заказы и возвраты", max_shrink=1)
    with pytest.MonkeyPatch.context() as patch:
        older = pa.schema([one for one in receipts.SCHEMA if one.name not in NEWER])
        patch.setattr(receipts, "SCHEMA", older)
        ingest(table, {"a": 1, "b": "x"}, {"a": 2, "b": None})
    assert read(table.name, "a, b") == [(1, "x"), (2, None)]
    ingest(table, {"a": 3, "b": "z"})
    assert read(table.name, "a, b") == [(3, "z")]
    with warehouse.connect() as opened:  # the receipts have got the new columns
        assert receipts.latest(opened)[table.name].version == runs.version()
    ingest(table)
    assert read(table.name) == []


def incremental() -> None:
    checked = (
        rules.NotNull(column="v"),
        rules.Unique(columns=("Id",)),
        rules.RowCount(minimum=3),
        rules.Range(column="v", minimum=0),
        rules.ForeignKey(column="Id", references="missing", referenced_column="a"),
        rules.Freshness(column="at", max_age=timedelta(days=99_999)),
    )
    table = Table(name="orders", key=("Id",), mode="incremental", cursor="at", rules=checked[:4])
    ingest(table, *({"Id": n, "at": DAYS[n], "v": n} for n in range(3)))
    ingest(table, {"Id": 2, "at": DAYS[3], "v": 7}, {"Id": 3, "at": DAYS[4], "v": 8})
    assert read("orders", '"Id", v') == [(0, 0), (1, 1), (2, 7), (3, 8)]
    with warehouse.connect() as opened:
        receipt = receipts.latest(opened)["orders"]
        assert (receipt.watermark, receipt.rows_loaded) == (DAYS[4].isoformat(), 2)
        assert all(f.status == "ok" for f in checks.after(opened, table, receipt))
    with pytest.raises(checks.QualityError):
        ingest(table, {"Id": 9, "at": DAYS[5], "v": -1})
    assert len(read("orders")) == 4
    with pytest.raises(errors.PermanentError, match="'Order ID'"):
        ingest(
            Table(name="o", key=("Order ID",), mode="incremental", cursor="at"),
            {"Order ID": 1, "at": DAYS[0]},
        )
    # A new column is added, and is null in existing rows.
    ingest(table, {"Id": 4, "at": DAYS[5], "v": 1, "note": "new"})
    assert read("orders", 'note, "Id"')[0] == ("new", 4)


def append() -> None:
    plain = Table(name="clicks", mode="append")
    ingest(plain, {"a": 1}, {"a": 1}, {"a": None})
    ingest(plain, {"a": 1})
    assert len(read("clicks")) == 4
    by_time = Table(name="events", mode="append", cursor="at")
    ingest(by_time, {"at": DAYS[0], "a": 1}, {"at": DAYS[1], "a": 1}, {"at": DAYS[1], "a": 1})
    ingest(by_time, *({"at": DAYS[1], "a": 1} for _ in range(2)), {"at": DAYS[2], "a": 2})
    assert read("events", '"at", a') == [(DAYS[0], 1), (DAYS[1], 1), (DAYS[1], 1), (DAYS[2], 2)]
    # An incomplete load has left rows: the next one deletes them.
    with warehouse.connect() as opened:
        for name in ("clicks", "events"):
            table = opened.files._table(opened, "raw", name)
            rows = table.to_pyarrow_table()
            at = rows.schema.get_field_index("_dlt_load_id")
            dead = rows.set_column(at, "_dlt_load_id", [["dead"] * len(rows)])
            options = opened.files._options(opened)
            deltalake.write_deltalake(table, dead, mode="append", storage_options=options)
    assert len(read("clicks")) == 8
    ingest(plain, {"a": 5})
    assert len(read("clicks")) == 5
    ingest(by_time, {"at": DAYS[2], "a": 2})
    assert len(read("events")) == 4


def types() -> None:
    row = {
        "i": 2**62,
        "f": 0.1 + 0.2,
        "d": Decimal("1.50"),
        "s": "ü\n",
        "b": b"\x00\xff",
        "t": date(1999, 12, 31),
        "n": datetime(2024, 5, 6, 7, 8, 9, 10, tzinfo=UTC),
        "z": DAYS[0],
        "y": True,
        "j": {"a": [1]},
    }
    table = Table(name="types")
    for _ in range(2):
        ingest(table, row)
    assert read("types", ", ".join(row)) == [(*list(row.values())[:-1], '{"a":[1]}')]
    with pytest.raises(errors.PermanentError, match="'c'"):
        ingest(Table(name="times"), {"a": 1, "c": time(12, 30)})


def built() -> None:
    with tempfile.TemporaryDirectory() as folder:
        derived.FOLDER = Path(folder)
        query = 'SELECT count(*) AS n, max("at") AS newest FROM orders'
        (derived.FOLDER / "order_count.sql").write_text(query)
        for _ in range(2):
            with warehouse.connect() as opened:
                assert derived.build(opened, "order_count") == 1
                name = opened.name("marts", "order_count")
                assert opened.query(f"SELECT n, newest FROM {name}") == [(5, DAYS[5])]


def locked() -> None:
    """One process of this machine at a time loads a table."""
    code = (
        "from my_data_project.common import warehouse\nwith warehouse.table_locks(['orders']): pass"
    )
    env = {**os.environ, "MY_DATA_PROJECT_LOCK_TIMEOUT_SECONDS": "0.1"}
    with warehouse.table_locks(["orders"]):
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert "TransientError: Another process is using " in done.stderr, done.stderr
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 0


def forgotten() -> None:
    with warehouse.connect() as opened:
        loading.forget(opened, "orders", drop=True)
        assert "orders" not in opened.columns("raw", "orders", "clicks")
    table = Table(name="orders", key=("Id",), mode="incremental", cursor="at")
    ingest(table, {"Id": "text now", "at": DAYS[0]})
    assert read("orders", '"Id"') == [("text now",)]
    with pytest.raises(errors.PermanentError, match="holds files"):
        ingest(
            Table(name="types", on_missing_column="evolve"),
            {"i": 1},
        )


for test in (full, incremental, append, types, built, locked, forgotten):
    test()
    print(f"{test.__name__}: ok")
