"""Loading: what was extracted becomes tables in the warehouse, by dlt.

Tables that are ready at the same time are loaded together, because a load costs dlt about as
much for fifty small tables as for five. If that fails, each is loaded alone, so that one table
stops only itself.

A receipt of each load goes in the same package as its rows. It counts once dlt has marked the
package as complete, so a watermark is never ahead of the data.
"""

from __future__ import annotations

import tempfile
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dlt
import pyarrow as pa
from dlt.common.libs.pyarrow import py_arrow_to_table_schema_columns
from pyarrow import ipc

from . import drift, errors, failures, warehouse
from .drift import LOAD_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .extraction import Extraction

RECEIPTS = "_ingestions"
"""Table of the receipts, in the schema of the ingested tables."""

_SCHEMA = pa.schema(
    [
        ("table_name", pa.string()),
        ("source", pa.string()),
        ("mode", pa.string()),
        ("watermark", pa.string()),
        ("state", pa.string()),
        ("rows_read", pa.int64()),
        ("rows_loaded", pa.int64()),
        ("rows_dropped", pa.int64()),
        ("loaded_at", pa.timestamp("us", "UTC")),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What one completed load of a table did.

    Attributes:
        table_name: Name of the table in the warehouse.
        source: Where its rows came from, without secrets.
        mode: How they were loaded; `reset` once the table was reset.
        watermark: Newest cursor value loaded so far, as text.
        state: State of the dlt resource that gave the rows, as JSON.
        rows_read: Rows read.
        rows_loaded: Rows written: for `full` all of them, else what was new or read again.
        rows_dropped: Rows without a key or cursor, and all but one of those with one key.
        loaded_at: When.
        load_id: The load's `_dlt_load_id`.
    """

    table_name: str
    source: str
    mode: str
    watermark: str | None
    state: str | None
    rows_read: int
    rows_loaded: int
    rows_dropped: int
    loaded_at: datetime
    load_id: str


class ConflictError(errors.PermanentError):
    """Another run has loaded the table since its rows were read: they have to be read again."""


def receipts(opened: warehouse.Warehouse) -> dict[str, Receipt]:
    """Return the last completed load of each table, by its name in the warehouse."""
    if not opened.columns(opened.raw, RECEIPTS):
        return {}
    names = [*map(opened.quote, _SCHEMA.names), (load_id := opened.quote(LOAD_ID))]
    newest = f"{opened.quote('loaded_at')} DESC, {load_id} DESC"
    listed = ", ".join(names)
    rows = opened.query(
        f"SELECT {listed} FROM (SELECT {listed}, row_number() OVER"
        f" (PARTITION BY {opened.quote('table_name')} ORDER BY {newest}) AS place"
        f" FROM {opened.name(opened.raw, RECEIPTS)} WHERE {load_id} IN"
        f" (SELECT load_id FROM {opened.name(opened.raw, '_dlt_loads')} WHERE status = 0)"
        ") AS done WHERE place = 1"
    )
    found = [Receipt(**dict(zip((*_SCHEMA.names, "load_id"), row, strict=True))) for row in rows]
    # Of a table that somebody has dropped, all rows are new.
    there = opened.columns(opened.raw, *(receipt.table_name for receipt in found))
    return {receipt.table_name: receipt for receipt in found if receipt.table_name in there}


def read_receipts() -> dict[str, Receipt]:
    """Open the warehouse and return the last completed load of each table."""
    with warehouse.connect() as opened:
        return receipts(opened)


def forget(opened: warehouse.Warehouse, name: str, *, drop: bool) -> None:
    """Let the next load of a table read all of it; with `drop`, drop the table as well.

    Args:
        opened: The warehouse.
        name: Name of the table in it.
        drop: Whether the table goes too.

    Raises:
        PermanentError: The warehouse refuses.
        TransientError: A run of the table is in progress, or the warehouse is away.
    """
    with warehouse.table_locks([name]):
        if drop and opened.columns(opened.raw, name):
            opened.drop(name)
        now = datetime.now(tz=UTC)
        row = {"table_name": name, "source": "", "mode": "reset", "loaded_at": now}
        counts = {"rows_read": 0, "rows_loaded": 0, "rows_dropped": 0}
        _run((), [{**row, **counts}], opened)


class _Ticket(Future[Receipt]):
    """An extraction that a thread has handed in, and what becomes of it."""

    def __init__(self, extraction: Extraction) -> None:
        super().__init__()
        self.extraction = extraction


_guard = threading.Lock()
_leader = threading.Lock()
_waiting: list[_Ticket] = []
_turns: dict[str, threading.RLock] = {}


def turn(name: str) -> threading.RLock:
    """Return what lets one thread of this process at a time ingest a table."""
    with _guard:
        return _turns.setdefault(name, threading.RLock())


def load(extraction: Extraction) -> Receipt:
    """Publish the rows of a table, together with what other threads have ready.

    Raises:
        ConflictError: Another run has loaded the table since its rows were read.
        PermanentError: The rows do not fit the warehouse's table, or it refuses them.
        TransientError: The warehouse is away for the moment.
    """
    ticket = _Ticket(extraction)
    with _guard:
        _waiting.append(ticket)
    # The first thread to come loads for all that wait by then; the others find theirs done.
    with _leader:
        if not ticket.done():
            with _guard:
                tickets = _waiting.copy()
                _waiting.clear()
            _load_all(tickets)
    return ticket.result()


def _load_all(tickets: Sequence[_Ticket]) -> None:
    try:
        with (
            warehouse.table_locks([ticket.extraction.table.target_name for ticket in tickets]),
            warehouse.connect() as opened,
        ):
            known = receipts(opened)
            there = opened.columns(opened.raw, *(t.extraction.table.target_name for t in tickets))
            ready = [ticket for ticket in tickets if _accept(opened, ticket, known, there)]
            new = [t.extraction.table.target_name for t in ready if t.extraction.is_new]
            if new:
                opened.forget_schema(*new)  # dlt would believe that a dropped table is there
            try:
                _publish(opened, ready)
            except (errors.PermanentError, errors.TransientError):
                if len(ready) < 2:
                    raise
                for ticket in ready:
                    try:
                        _publish(opened, [ticket])
                    except (errors.PermanentError, errors.TransientError) as error:
                        ticket.set_exception(error)
    except BaseException as error:
        for ticket in tickets:
            if not ticket.done():
                ticket.set_exception(error)
        if not isinstance(error, Exception):
            raise


def _accept(
    opened: warehouse.Warehouse,
    ticket: _Ticket,
    known: dict[str, Receipt],
    there: dict[str, Any],
) -> bool:
    """Tell whether an extraction can be loaded; if not, say so to the thread that waits."""
    extraction = ticket.extraction
    name = extraction.table.target_name
    receipt = known.get(name)
    try:
        if (receipt.load_id if receipt else None) != extraction.based_on:
            message = f"Another run has loaded {name!r} meanwhile."
            raise ConflictError(message)
        ticket.extraction = drift.fit(opened, extraction, there.get(name))
    except (errors.PermanentError, errors.TransientError) as error:
        ticket.set_exception(error)
        return False
    return True


def _publish(opened: warehouse.Warehouse, tickets: Sequence[_Ticket]) -> None:
    """Load extractions in one package of dlt, and hand out the receipts."""
    now = datetime.now(tz=UTC)
    rows = [
        {
            "table_name": extraction.table.target_name,
            "source": extraction.source,
            "mode": extraction.table.mode,
            "watermark": extraction.watermark,
            "state": extraction.state,
            "rows_read": extraction.rows_read,
            "rows_loaded": extraction.rows,
            "rows_dropped": extraction.rows_read - extraction.rows,
            "loaded_at": now,
        }
        for extraction in (ticket.extraction for ticket in tickets)
    ]
    if not rows:
        return
    _prepare(opened, [ticket.extraction for ticket in tickets])
    load_id = _run([ticket.extraction for ticket in tickets], rows, opened)
    for ticket, row in zip(tickets, rows, strict=True):
        ticket.set_result(Receipt(**row, load_id=load_id))


def _prepare(opened: warehouse.Warehouse, extractions: Sequence[Extraction]) -> None:
    """Delete what a load that died has added to tables that only grow.

    Other modes need it not: the same rows replace what is there. But where a function gave no
    row and so no columns, dlt has nothing to replace a table with.
    """
    if opened.is_files:
        with failures.explained(opened.described):
            for extraction in extractions:
                opened.files.prepare(opened, extraction)
        return
    opened.execute(
        *(
            f"DELETE FROM {opened.name(opened.raw, found.table.target_name)}"
            for found in extractions
            if found.table.mode == "full" and not found.schema.names and not found.is_new
        )
    )
    growing = [extraction for extraction in extractions if extraction.table.mode == "append"]
    plain = [found.table.target_name for found in growing if not found.table.cursor]
    if not plain:
        return
    done = f"SELECT load_id FROM {opened.name(opened.raw, '_dlt_loads')} WHERE status = 0"
    opened.execute(
        *(
            f"DELETE FROM {opened.name(opened.raw, name)}"
            f" WHERE {opened.quote(LOAD_ID)} NOT IN ({done})"
            for name in opened.columns(opened.raw, *plain)
        )
    )


def _run(
    extractions: Sequence[Extraction], rows: list[dict[str, Any]], opened: warehouse.Warehouse
) -> str:
    names = ", ".join(extraction.table.target_name for extraction in extractions)
    where = f"{names} in {opened.described}" if names else opened.described
    resources = [
        _resource(opened, extraction)
        for extraction in extractions
        # Nothing new: the receipt is all there is to write.
        if extraction.rows or extraction.is_new or extraction.table.mode == "full"
        if extraction.schema.names
    ]
    files: Any = "delta" if opened.is_files else None
    with (
        failures.explained(where),
        tempfile.TemporaryDirectory(prefix="load-") as folder,
    ):
        receipt = dlt.resource(
            [pa.Table.from_pylist(rows, schema=_SCHEMA)],
            name=RECEIPTS,
            table_format=files,
            file_format="parquet",
        )
        info = warehouse.pipeline(folder).run([*resources, receipt])
    return info.loads_ids[-1]


def _resource(opened: warehouse.Warehouse, extraction: Extraction) -> Any:
    """Describe an extraction to dlt."""
    table = extraction.table
    columns: dict[str, Any] = dict(py_arrow_to_table_schema_columns(extraction.schema))
    for name in extraction.json if opened.dialect != "postgres" else ():
        columns[name]["data_type"] = "json"  # PostgreSQL's driver cannot copy into jsonb

    def read() -> Iterator[Any]:
        if not extraction.rows:
            # Not dlt's mark of an empty table, which adds a column that no later row has.
            yield (
                dlt.mark.materialize_table_schema()
                if opened.is_files
                else extraction.schema.empty_table()
            )
            return
        with pa.memory_map(str(extraction.file)) as mapped, ipc.open_file(mapped) as reader:
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number).select(extraction.schema.names)

    # PostgreSQL's driver fails on a Parquet file without rows.
    is_plain = bool(extraction.rows) or opened.dialect != "postgres"
    options: dict[str, Any] = {"file_format": "parquet" if is_plain else "csv"}
    if opened.is_files:
        options["table_format"] = "delta"
    disposition: Any = "replace"
    if table.mode == "incremental":
        # Extraction has left one row of each key: dlt need not look for others.
        disposition = {
            "disposition": "merge",
            "strategy": "upsert" if opened.is_files else "delete-insert",
            "deduplicated": True,
        }
        options["primary_key"] = extraction.key
    elif table.mode == "append" and opened.is_files:
        disposition = "append"  # what it would replace is gone already
    elif table.mode == "append":
        # Merged by the cursor's value: rows that share the newest one replace those that are
        # there, so that none is added twice. Without a cursor, rows are added in one step.
        disposition = "merge"
        if table.cursor:
            options["merge_key"] = table.cursor
    options |= {"write_disposition": disposition, "columns": columns}
    return dlt.resource(read, name=table.target_name, **options)
