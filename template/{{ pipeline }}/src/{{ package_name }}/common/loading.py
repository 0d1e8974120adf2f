"""Loading: what was extracted becomes tables in the warehouse, by dlt.

Tables that are ready at the same time are loaded together, because a load costs dlt about as
much for fifty small tables as for five. If that fails, each is loaded alone, so that one table
stops only itself.

A receipt of each load goes in the same package as its rows. It counts once dlt has marked the
package as complete, so a watermark is never ahead of the data.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dlt
import pyarrow as pa
from dlt.common.libs.pyarrow import py_arrow_to_table_schema_columns
from pyarrow import ipc

from . import drift, errors, failures, settings, warehouse
from .drift import LOAD_ID
from .extraction import SCRATCH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .extraction import Extraction

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
_SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in _FIELDS])


class ConflictError(errors.PermanentError):
    """Another run has loaded the table since its rows were read: they have to be read again."""


def receipts(opened: warehouse.Warehouse, *names: str) -> dict[str, Receipt]:
    """Return the last completed load of tables that are there, of all or those named."""
    found = _all_receipts(opened, *names)
    # Of a table that somebody has dropped, all rows are new.
    there = opened.columns(opened.raw, *found)
    return {name: receipt for name, receipt in found.items() if name in there}


def _all_receipts(opened: warehouse.Warehouse, *names: str) -> dict[str, Receipt]:
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
        f" WHERE {opened.quote(LOAD_ID)} IN ({_completed(opened)})"
        f"{f' AND {name} IN ({wanted})' if names else ''}) AS done WHERE place = 1"
    )
    found = [Receipt(**dict(zip((*fields, "load_id"), row, strict=True))) for row in rows]
    return {receipt.table_name: receipt for receipt in found}


def _completed(opened: warehouse.Warehouse) -> str:
    """Return the query for the loads that dlt has marked as complete."""
    return f"SELECT load_id FROM {opened.name(opened.raw, '_dlt_loads')} WHERE status = 0"


def read_receipts(*names: str) -> dict[str, Receipt]:
    """Open the warehouse and return the last completed load of tables, of all or those named."""
    with warehouse.connect() as opened:
        return receipts(opened, *names)


def forget(opened: warehouse.Warehouse, name: str, *, drop: bool) -> None:
    """Let the next load of a table read all of it; with `drop`, drop the table as well.

    Args:
        opened: The warehouse.
        name: Name of the table in it.
        drop: Whether the table goes too.

    Raises:
        PermanentError: The warehouse refuses.
        TransientError: A run of the table is in progress, or the warehouse is unavailable.
    """
    with warehouse.table_locks([name]):
        is_there = bool(opened.columns(opened.raw, name))
        ours = _all_receipts(opened, name)
        receipt = ours.get(name)
        if receipt is None and not is_there:
            return
        if receipt is None or receipt.project != settings.PROJECT:
            raise _not_ours(opened, opened.raw, name)
        if is_there and not drop and receipt.mode == "append" and not receipt.cursor:
            message = f"The next load would add all rows of {name} to those that are there"
            raise errors.PermanentError(f"{message}: --drop resets it with them.")
        if drop and is_there:
            opened.drop(name)
        _run(opened, [], [_unread(name, ours)])


def _unread(name: str, ours: dict[str, Receipt]) -> Receipt:
    """Return the receipt of a table that is ours, and has to be read from its beginning."""
    return Receipt(table_name=name, mode="reset", loaded_at=_now(ours))


def _now(ours: dict[str, Receipt]) -> datetime:
    """Return the time for new receipts: after the last ones, whatever the machine's clock says."""
    last = [receipt.loaded_at + timedelta(microseconds=1) for receipt in ours.values()]
    return max([datetime.now(tz=UTC), *last])


def _not_ours(opened: warehouse.Warehouse, schema: str, name: str) -> errors.PermanentError:
    message = f"{schema}.{name} in {opened.described} was not made by this pipeline, which"
    message = f"{message} therefore does not write to it: give the table another target, or set"
    return errors.PermanentError(f"{message} another {settings.ENV_PREFIX}RAW_SCHEMA.")


class _Ticket(Future[Receipt]):
    """An extraction that a thread has handed in, and what becomes of it."""

    def __init__(self, extraction: Extraction) -> None:
        super().__init__()
        self.extraction = extraction


# What keeps runs apart, from the inside out:
# - `turn`: threads of this process ingest a table one after the other, from reading to loading;
# - `_leader`: one thread of this process loads, for all that wait; `_guard` keeps the two lists;
# - `warehouse.table_locks`: processes load a table one after the other, but may read meanwhile;
# - `warehouse.alone`: the same from reading on, for a run that another one has overtaken.
_guard = threading.Lock()
_leader = threading.Lock()
_waiting: list[_Ticket] = []
_turns: dict[str, threading.RLock] = {}


def turn(name: str) -> threading.RLock:
    """Return the lock that lets one thread of this process at a time ingest a table."""
    with _guard:
        return _turns.setdefault(name, threading.RLock())


def load(extraction: Extraction) -> Receipt:
    """Publish the rows of a table, together with what other threads have ready.

    Raises:
        ConflictError: Another run has loaded the table since its rows were read.
        PermanentError: The rows do not fit the warehouse's table, or it refuses them.
        TransientError: The warehouse is unavailable.
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


def _sweep() -> None:
    """Delete what runs that were killed more than a week ago have left."""
    for left in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > timedelta(days=7).total_seconds():
                shutil.rmtree(left, ignore_errors=True)


def _load_all(tickets: Sequence[_Ticket]) -> None:
    _sweep()
    try:
        with (
            warehouse.table_locks([ticket.extraction.table.target_name for ticket in tickets]),
            warehouse.connect() as opened,
        ):
            names = [ticket.extraction.table.target_name for ticket in tickets]
            ours = _all_receipts(opened, *names)
            there = opened.columns(opened.raw, *names)
            # A load goes through a table of the same name in the staging schema.
            staging = () if opened.is_files else (opened.client.staging_dataset_name,)
            unknown = set(names) - ours.keys()
            taken = {
                name: (schema, other)
                for schema in ((opened.raw, *staging) if unknown else ())
                for name, other in opened.find(schema, *unknown).items()
            }
            ready = [t for t in tickets if _accept(opened, t, ours, there, taken)]
            new = [t.extraction.table.target_name for t in ready if t.extraction.is_new]
            opened.forget_schema(*new)
            if claimed := [_unread(name, ours) for name in new if name not in ours]:
                _run(opened, [], claimed)  # what is there from now on is ours, ended or not
            ours |= {receipt.table_name: receipt for receipt in claimed}
            try:
                _publish(opened, ready, _now(ours))
            except (errors.PermanentError, errors.TransientError):
                if len(ready) < 2:
                    raise
                for ticket in ready:
                    try:
                        _publish(opened, [ticket], _now(ours))
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
    ours: dict[str, Receipt],
    there: dict[str, Any],
    taken: dict[str, tuple[str, str]],
) -> bool:
    """Tell whether an extraction can be loaded; if not, say so to the thread that waits."""
    extraction = ticket.extraction
    name = extraction.table.target_name
    receipt = ours.get(name)
    try:
        if name in taken:
            raise _not_ours(opened, *taken[name])
        if receipt and receipt.project != settings.PROJECT:
            raise _not_ours(opened, opened.raw, name)
        if name in there and LOAD_ID not in there[name]:
            raise _not_ours(opened, opened.raw, name)
        if (receipt.load_id if receipt and name in there else None) != extraction.based_on:
            message = f"Another run has loaded {name!r} meanwhile."
            raise ConflictError(message)
        ticket.extraction = drift.fit(opened, extraction, there.get(name))
    except (errors.PermanentError, errors.TransientError) as error:
        ticket.set_exception(error)
        return False
    return True


def _publish(opened: warehouse.Warehouse, tickets: Sequence[_Ticket], now: datetime) -> None:
    """Load extractions in one package of dlt, and hand out the receipts."""
    if not tickets:
        return
    extractions = [ticket.extraction for ticket in tickets]
    receipts = [
        Receipt(
            table_name=extraction.table.target_name,
            mode=extraction.table.mode,
            loaded_at=now,
            source=extraction.source,
            selection=extraction.table.selection,
            cursor=extraction.table.cursor,
            watermark=extraction.watermark,
            cursor_kind=extraction.cursor_kind,
            state=extraction.state,
            rows_read=extraction.rows_read,
            rows_loaded=extraction.rows,
            rows_dropped=extraction.rows_read - extraction.rows,
        )
        for extraction in extractions
    ]
    names = ", ".join(receipt.table_name for receipt in receipts)
    with failures.explained(f"{names} in {opened.described}"):
        _prepare(opened, extractions)
        load_id = _run(opened, extractions, receipts)
        for extraction in extractions:
            if extraction.gone:
                name = extraction.table.target_name
                alter = f"ALTER TABLE {opened.name(opened.raw, name)} DROP COLUMN"
                opened.execute(*(f"{alter} {opened.quote(column)}" for column in extraction.gone))
                opened.forget_schema(name)
    for ticket, receipt in zip(tickets, receipts, strict=True):
        ticket.set_result(dataclasses.replace(receipt, load_id=load_id))


def _prepare(opened: warehouse.Warehouse, extractions: Sequence[Extraction]) -> None:
    """Delete what a load that died has added to tables that only grow.

    In other modes the same rows replace what is there. But a function that gave no row gave no
    columns either, so dlt has nothing to replace a table with.
    """
    if opened.is_files:
        for extraction in extractions:
            opened.files.prepare(opened, extraction)
        return
    statements = []
    for extraction in extractions:
        table = extraction.table
        delete = f"DELETE FROM {opened.name(opened.raw, table.target_name)}"
        if table.mode == "full" and not extraction.schema.names and not extraction.is_new:
            statements.append(delete)
        elif table.mode == "append" and (extraction.adds or not table.cursor):
            others = f"{opened.quote(LOAD_ID)} NOT IN ({_completed(opened)})"
            if opened.columns(opened.raw, table.target_name):
                statements.append(f"{delete} WHERE {others}")
    opened.execute(*statements)


def _run(
    opened: warehouse.Warehouse, extractions: Sequence[Extraction], receipts: Sequence[Receipt]
) -> str:
    """Let dlt load extractions and receipts in one package; return its load id."""
    names = ", ".join(receipt.table_name for receipt in receipts)
    resources = [
        _resource(opened, extraction)
        for extraction in extractions
        # Nothing new: the receipt is all there is to write.
        if extraction.rows or extraction.is_new or extraction.table.mode == "full"
        if extraction.schema.names
    ]
    rows = pa.Table.from_pylist([*map(dataclasses.asdict, receipts)], schema=_SCHEMA)
    files: Any = "delta" if opened.is_files else None
    with (
        failures.explained(f"{names} in {opened.described}"),
        tempfile.TemporaryDirectory(prefix=SCRATCH) as folder,
    ):
        resources.append(
            dlt.resource([rows], name=RECEIPTS, table_format=files, file_format="parquet")
        )
        info = warehouse.pipeline(folder).run(resources)
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
        if table.cursor and not extraction.adds:
            options["merge_key"] = table.cursor
    options |= {"write_disposition": disposition, "columns": columns}
    return dlt.resource(read, name=table.target_name, **options)
