"""Loading: dlt loads the extracted rows into tables of the warehouse.

Tables that are ready at the same time are loaded together, because a load of fifty small tables
costs dlt about as much as one of five. If that fails, each is loaded alone, so that a failing
table stops no other.

Each load's receipt is in the same package as its rows. It counts once dlt has marked the package
as complete, so a watermark is never ahead of the data.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
import threading
import time
from concurrent.futures import Future
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dlt
import pyarrow as pa
from dlt.common.libs.pyarrow import py_arrow_to_table_schema_columns
from prefect import runtime
from pyarrow import ipc

from . import drift, errors, failures, receipts, runs, settings, warehouse
from .extraction import SCRATCH
from .receipts import LOAD_ID, Receipt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .extraction import Extraction


class ConflictError(errors.PermanentError):
    """Another run has loaded the table since its rows were read: read them again."""


def forget(opened: warehouse.Warehouse, name: str, *, drop: bool) -> None:
    """Delete a table's watermark, so that the next load reads the whole table.

    Args:
        opened: The warehouse.
        name: Name of the table in the warehouse.
        drop: Whether to drop the table too.

    Raises:
        PermanentError: The warehouse refuses.
        TransientError: A run of the table is in progress, or the warehouse is unavailable.
    """
    with warehouse.table_locks([name]):
        is_there = bool(opened.columns(opened.raw, name))
        ours = receipts.recorded(opened, name)
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
        _run(opened, [], [receipts.unread(name, ours)])


def _not_ours(opened: warehouse.Warehouse, schema: str, name: str) -> errors.PermanentError:
    message = f"{schema}.{name} in {opened.described} was not made by this pipeline, which"
    message = f"{message} therefore does not write to it: give the table another target, or set"
    return errors.PermanentError(f"{message} another {settings.ENV_PREFIX}RAW_SCHEMA.")


class _Ticket(Future[Receipt]):
    """An extraction that a thread wants to load, and the future result."""

    def __init__(self, extraction: Extraction) -> None:
        super().__init__()
        self.extraction = extraction
        self.flow_run = runtime.flow_run.id  # read in this thread: another one may do the load


# Locks, from the innermost outwards:
# - `turn`: one thread of this process at a time ingests a table, from reading to loading;
# - `_leader`: one thread of this process loads, for all that wait; `_guard` protects both lists;
# - `warehouse.table_locks`: one process at a time loads a table; others may read meanwhile;
# - `warehouse.alone`: the same, but also while reading; for a retry after a ConflictError.
_guard = threading.Lock()
_leader = threading.Lock()
_waiting: list[_Ticket] = []
_turns: dict[str, threading.RLock] = {}


def turn(name: str) -> threading.RLock:
    """Return the lock for threads of this process that ingest the same table."""
    with _guard:
        return _turns.setdefault(name, threading.RLock())


def load(extraction: Extraction) -> Receipt:
    """Publish the rows of a table, together with rows that other threads have ready.

    Raises:
        ConflictError: Another run has loaded the table since its rows were read.
        PermanentError: The rows do not fit the warehouse's table, or it refuses them.
        TransientError: The warehouse is unavailable.
    """
    ticket = _Ticket(extraction)
    with _guard:
        _waiting.append(ticket)
    # The first thread loads for all that wait; the others find their tickets done.
    with _leader:
        if not ticket.done():
            with _guard:
                tickets = _waiting.copy()
                _waiting.clear()
            _load_all(tickets)
    return ticket.result()


def _sweep() -> None:
    """Delete folders of runs that were killed more than a week ago."""
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
            ours = receipts.recorded(opened, *names)
            there = opened.columns(opened.raw, *names)
            # A load uses a table of the same name in the staging schema.
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
            if claimed := [receipts.unread(name, ours) for name in new if name not in ours]:
                _run(opened, [], claimed)  # ours from now on, even if the load fails
            ours |= {receipt.table_name: receipt for receipt in claimed}
            try:
                _publish(opened, ready, receipts.now(ours))
            except (errors.PermanentError, errors.TransientError):
                if len(ready) < 2:
                    raise
                for ticket in ready:
                    try:
                        _publish(opened, [ticket], receipts.now(ours))
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
    """Return whether an extraction can be loaded; if not, set the ticket's exception."""
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
    """Load extractions in one package of dlt, and set the tickets' receipts."""
    if not tickets:
        return
    extractions = [ticket.extraction for ticket in tickets]
    version = runs.version()
    done = [
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
            bytes_loaded=extraction.file.stat().st_size if extraction.rows else 0,
            rules_met=extraction.rules_met,
            version=version,
            flow_run=ticket.flow_run,
        )
        for ticket, extraction in zip(tickets, extractions, strict=True)
    ]
    names = ", ".join(receipt.table_name for receipt in done)
    with failures.explained(f"{names} in {opened.described}"):
        _prepare(opened, extractions)
        load_id = _run(opened, extractions, done)
        for extraction in extractions:
            if extraction.gone:
                name = extraction.table.target_name
                alter = f"ALTER TABLE {opened.name(opened.raw, name)} DROP COLUMN"
                opened.execute(*(f"{alter} {opened.quote(column)}" for column in extraction.gone))
                opened.forget_schema(name)
    for ticket, receipt in zip(tickets, done, strict=True):
        ticket.set_result(dataclasses.replace(receipt, load_id=load_id))


def _prepare(opened: warehouse.Warehouse, extractions: Sequence[Extraction]) -> None:
    """Delete rows that incomplete loads have added to tables of mode `append`.

    In other modes the new rows replace them. Also empty a `full` table if a function yielded no
    row: without columns, dlt cannot replace it.
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
            others = f"{opened.quote(LOAD_ID)} NOT IN ({receipts.completed(opened)})"
            if opened.columns(opened.raw, table.target_name):
                statements.append(f"{delete} WHERE {others}")
    opened.execute(*statements)


def _run(
    opened: warehouse.Warehouse, extractions: Sequence[Extraction], done: Sequence[Receipt]
) -> str:
    """Load extractions and receipts with dlt in one package; return its load id."""
    names = ", ".join(receipt.table_name for receipt in done)
    resources = [
        _resource(opened, extraction)
        for extraction in extractions
        # Without new rows, write the receipt only.
        if extraction.rows or extraction.is_new or extraction.table.mode == "full"
        if extraction.schema.names
    ]
    rows = pa.Table.from_pylist([*map(dataclasses.asdict, done)], schema=receipts.SCHEMA)
    files: Any = "delta" if opened.is_files else None
    with (
        failures.explained(f"{names} in {opened.described}"),
        tempfile.TemporaryDirectory(prefix=SCRATCH) as folder,
    ):
        resources.append(
            dlt.resource([rows], name=receipts.RECEIPTS, table_format=files, file_format="parquet")
        )
        info = warehouse.pipeline(folder).run(resources)
    return info.loads_ids[-1]


def _resource(opened: warehouse.Warehouse, extraction: Extraction) -> Any:
    """Return dlt's resource for an extraction."""
    table = extraction.table
    columns: dict[str, Any] = dict(py_arrow_to_table_schema_columns(extraction.schema))
    for name in extraction.json if opened.dialect != "postgres" else ():
        columns[name]["data_type"] = "json"  # in PostgreSQL, its driver cannot copy into jsonb

    def read() -> Iterator[Any]:
        if not extraction.rows:
            # Only for files use dlt's mark of an empty table: it adds a column that rows lack.
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
        # Extraction has removed duplicates, so dlt need not look for them.
        disposition = {
            "disposition": "merge",
            "strategy": "upsert" if opened.is_files else "delete-insert",
            "deduplicated": True,
        }
        options["primary_key"] = extraction.key
    elif table.mode == "append" and opened.is_files:
        disposition = "append"  # `prepare` has deleted the rows to replace
    elif table.mode == "append":
        # Merge by the cursor: rows with the newest value are read again and replace the old
        # ones, so that none is added twice. Without a cursor, rows are added in one step.
        disposition = "merge"
        if table.cursor and not extraction.adds:
            options["merge_key"] = table.cursor
    options |= {"write_disposition": disposition, "columns": columns}
    return dlt.resource(read, name=table.target_name, **options)
