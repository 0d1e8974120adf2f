"""Receipts: what each completed load of a table did, kept in the warehouse beside its rows."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from . import settings, warehouse

LOAD_ID = "_dlt_load_id"
"""Column that dlt adds to every table: the load that wrote the row."""

RECEIPTS = "_ingestions"
"""Table of the receipts, in the schema of the ingested tables."""


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What one completed load of a table did.

    Attributes:
        table_name: Name of the table in the warehouse.
        mode: How its rows were loaded; `reset` once the table was reset.
        loaded_at: When.
        source: Where the rows came from, without secrets.
        selection: Digest of which rows and columns they are.
        project: The project that loaded it.
        cursor: The table's cursor.
        watermark: Its newest value loaded so far, as text.
        cursor_kind: What kind of value that is, such as `timestamptz`.
        state: State of the dlt resource that gave the rows, as JSON.
        rows_read: Rows read.
        rows_loaded: Rows written: for `full` all of them, else what was new or read again.
        rows_dropped: Rows without a key or cursor, and all but one of those with one key.
        load_id: The load's `_dlt_load_id`.
    """

    table_name: str
    mode: str
    loaded_at: datetime
    source: str = ""
    selection: str | None = None
    project: str = settings.PROJECT
    cursor: str | None = None
    watermark: str | None = None
    cursor_kind: str | None = None
    state: str | None = None
    rows_read: int = 0
    rows_loaded: int = 0
    rows_dropped: int = 0
    load_id: str = ""


_TYPES = {"rows_read": pa.int64(), "rows_loaded": pa.int64(), "rows_dropped": pa.int64()}
_TYPES["loaded_at"] = pa.timestamp("us", "UTC")
_FIELDS = [field.name for field in dataclasses.fields(Receipt) if field.name != "load_id"]
SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in _FIELDS])


def latest(opened: warehouse.Warehouse, *names: str) -> dict[str, Receipt]:
    """Return the last completed load of tables that are there, of all or those named."""
    found = recorded(opened, *names)
    # Of a table that somebody has dropped, all rows are new.
    there = opened.columns(opened.raw, *found)
    return {name: receipt for name, receipt in found.items() if name in there}


def recorded(opened: warehouse.Warehouse, *names: str) -> dict[str, Receipt]:
    """Return the last receipts, also of tables that are not there."""
    there = opened.columns(opened.raw, RECEIPTS).get(RECEIPTS)
    if not there:
        return {}
    fields = [field for field in _FIELDS if field in there]  # older versions had fewer
    name = opened.quote("table_name")
    listed = ", ".join(map(opened.quote, (*fields, LOAD_ID)))
    newest = f"{opened.quote('loaded_at')} DESC, {opened.quote(LOAD_ID)} DESC"
    wanted = ", ".join("'" + one.replace("'", "''") + "'" for one in names)
    rows = opened.query(
        f"SELECT {listed} FROM (SELECT {listed}, row_number() OVER"
        f" (PARTITION BY {name} ORDER BY {newest}) AS place"
        f" FROM {opened.name(opened.raw, RECEIPTS)}"
        f" WHERE {opened.quote(LOAD_ID)} IN ({completed(opened)})"
        f"{f' AND {name} IN ({wanted})' if names else ''}) AS done WHERE place = 1"
    )
    found = [Receipt(**dict(zip((*fields, "load_id"), row, strict=True))) for row in rows]
    return {receipt.table_name: receipt for receipt in found}


def completed(opened: warehouse.Warehouse) -> str:
    """Return the query for the loads that dlt has marked as complete."""
    return f"SELECT load_id FROM {opened.name(opened.raw, '_dlt_loads')} WHERE status = 0"


def read_receipts(*names: str) -> dict[str, Receipt]:
    """Open the warehouse and return the last completed load of tables, of all or those named."""
    with warehouse.connect() as opened:
        return latest(opened, *names)


def unread(name: str, ours: dict[str, Receipt]) -> Receipt:
    """Return the receipt of a table that is ours, and has to be read from its beginning."""
    return Receipt(table_name=name, mode="reset", loaded_at=now(ours))


def now(ours: dict[str, Receipt]) -> datetime:
    """Return the time for new receipts: after the last ones, whatever the machine's clock says."""
    last = [receipt.loaded_at + timedelta(microseconds=1) for receipt in ours.values()]
    return max([datetime.now(tz=UTC), *last])
