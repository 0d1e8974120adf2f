"""Receipts: the warehouse keeps a record of each completed load."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from prefect.context import FlowRunContext

from . import reporting, runs, settings, warehouse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .checks import Finding

LOAD_ID = "_dlt_load_id"
"""Column that dlt adds to every table: the load that wrote the row."""

RECEIPTS = "_ingestions"
"""Table of the receipts, in the schema of the ingested tables."""


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The record of one completed load of a table.

    Attributes:
        table_name: Name of the table in the warehouse.
        mode: How its rows were loaded; `reset` once the table was reset.
        loaded_at: When it was loaded.
        source: Where the rows came from, without secrets.
        selection: Digest of the settings that select rows and columns.
        project: The project that loaded it.
        cursor: The table's cursor.
        watermark: The newest cursor value loaded so far, as text.
        cursor_kind: Kind of that value, such as `timestamptz`.
        state: State of the dlt resource, as JSON.
        rows_read: Rows read.
        rows_loaded: Rows written: for `full` all rows, otherwise those that were new or read again.
        rows_dropped: Rows left out: without a key or cursor, or duplicates of a key.
        bytes_loaded: Size of the written rows as Arrow.
        rules_met: Rules that were checked before the rows were published.
        version: Version of this package and its commit.
        flow_run: Id of the flow run.
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
    # Receipts of older versions lack these.
    bytes_loaded: int | None = None
    rules_met: int | None = None
    version: str | None = None
    flow_run: str | None = None
    load_id: str = ""


_NUMBERS = ("rows_read", "rows_loaded", "rows_dropped", "bytes_loaded", "rules_met")
_TYPES = {"loaded_at": pa.timestamp("us", "UTC"), **dict.fromkeys(_NUMBERS, pa.int64())}
_FIELDS = [field.name for field in dataclasses.fields(Receipt) if field.name != "load_id"]
SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in _FIELDS])


def latest(opened: warehouse.Warehouse, *names: str) -> dict[str, Receipt]:
    """Return the last completed load of each existing table, or of those named."""
    found = recorded(opened, *names)
    # A table that somebody has dropped is loaded from its beginning.
    there = opened.columns(opened.raw, *found)
    return {name: receipt for name, receipt in found.items() if name in there}


def recorded(opened: warehouse.Warehouse, *names: str) -> dict[str, Receipt]:
    """Return the last receipt of each table, also of tables that no longer exist."""
    there = opened.columns(opened.raw, RECEIPTS).get(RECEIPTS)
    if not there:
        return {}
    fields = [field for field in _FIELDS if field in there]  # older versions wrote fewer columns
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
    """Return a query for the loads that dlt has marked as complete."""
    return f"SELECT load_id FROM {opened.name(opened.raw, '_dlt_loads')} WHERE status = 0"


def read_receipts(*names: str) -> dict[str, Receipt]:
    """Open the warehouse and return the last completed load of each table, or of those named."""
    with warehouse.connect() as opened:
        return latest(opened, *names)


def report(
    key: str,
    loads: Iterable[Receipt],
    findings: Mapping[str, Sequence[Finding]] | None = None,
    failed: Mapping[str, str] | None = None,
) -> None:
    """Write the receipts of a flow run as an artifact; outside a flow, do nothing.

    Args:
        key: Last part of the artifact's key, the same each time: Prefect keeps the history.
        loads: The completed loads.
        findings: What the rules found in the warehouse, by table; without an entry, the rules
            that were checked before the load count.
        failed: Why a table failed or broke a rule, by table.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    run, findings, failed = context.flow_run, findings or {}, failed or {}
    deployed = f", deployed as {_code(run.deployment_version)}" if run.deployment_version else ""
    lines = [
        f"Version {_code(runs.version())}{deployed}, flow run {_code(run.name)} ({_code(run.id)})",
        "",
        f"| Table | Read | Loaded | Dropped | Bytes | Watermark | Rules | {LOAD_ID} |",
        "|---|--:|--:|--:|--:|---|---|---|",
    ]
    for done in loads:
        name = done.table_name
        found = [one.status for one in findings.get(name, ())] or ["ok"] * (done.rules_met or 0)
        rules = ", ".join(f"{found.count(status)} {status}" for status in sorted({*found}))
        numbers = (done.rows_read, done.rows_loaded, done.rows_dropped, done.bytes_loaded or 0)
        cells = [_code(name), *(f"{number:,}" for number in numbers)]
        cells += [_code(done.watermark), "failed" if name in failed else rules, done.load_id]
        lines.append(f"| {' | '.join(cells)} |")
    notes = [
        (one.table, f"{one.rule}: {one.violations:,} rows, {one.severity}")
        for one in (one for found in findings.values() for one in found)
        if one.violations
    ]
    for name, note in (*failed.items(), *notes):
        lines += ["", f"{_code(name)}: {_code(note)}"]
    text = "What the last ingestion did, by table"
    reporting.markdown_artifact(runs.artifact_key(key), "\n".join(lines), text)


def _code(value: Any) -> str:
    """Return a value as Markdown code that fits in one cell of a table."""
    text = " ".join(str("" if value is None else value).replace("`", "'").split())
    return f"`{text}`".replace("|", "\\|") if text else ""


def unread(name: str, ours: dict[str, Receipt]) -> Receipt:
    """Return a receipt without a watermark: the next load reads the whole table."""
    return Receipt(table_name=name, mode="reset", loaded_at=now(ours))


def now(ours: dict[str, Receipt]) -> datetime:
    """Return the time for a new receipt: later than the last one, even if the clock went back."""
    last = [receipt.loaded_at + timedelta(microseconds=1) for receipt in ours.values()]
    return max([datetime.now(tz=UTC), *last])
