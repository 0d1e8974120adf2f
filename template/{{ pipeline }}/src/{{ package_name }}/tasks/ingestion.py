"""Ingestion of one table: two tasks, and the function that groups them."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..common import checks, extraction, loading, reporting, retries, warehouse
from ..common.receipts import Receipt, read_receipts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..common.extraction import Extraction, Rows, Window
    from ..common.table import Table


@dataclass(frozen=True, kw_only=True)
class IngestionResult:
    """What the ingestion of one table did.

    Attributes:
        table: Name of the table in the warehouse.
        read: Rows read from the source.
        loaded: Rows written: for `full` all rows, otherwise those that were new or read again.
        dropped: Rows left out: without a key or cursor, or duplicates of a key.
        seconds: Wall time it took.
        receipt: Its receipt in the warehouse.
    """

    table: str
    read: int
    loaded: int
    dropped: int
    seconds: float
    receipt: Receipt


# Neither task is cached: both depend on what is in two databases, not on their arguments.
@task(task_run_name="extract-{table.target_name}", cache_policy=NO_CACHE, **retries.TRANSIENT)
def extract_table(
    table: Table,
    folder: Path,
    receipt: Receipt | None = None,
    window: Window | None = None,
    rows: Rows | None = None,
) -> Extraction:
    """Read the new rows of a table into a file, and check the rules about them.

    Args:
        table: The table.
        folder: Folder for the file.
        receipt: The last load of the table; None reads all of it.
        window: Read this window again instead.
        rows: Function that yields the rows, if the table is not read from a database.

    Raises:
        QualityError: The rows violate a rule.
        PermanentError: The table or a column is missing, or a value does not fit.
        TransientError: The source stayed unavailable for all retries.
    """
    found = extraction.extract(table, folder, receipt=receipt, window=window, rows=rows)
    dropped = found.rows_read - found.rows
    log = reporting.logger(__name__)
    log.info("%s: %s rows read", table.target_name, f"{found.rows_read:,}")
    if dropped:
        text = "%s: %s rows dropped: null key or cursor, or duplicate key"
        log.warning(text, table.target_name, f"{dropped:,}")
    return dataclasses.replace(found, rules_met=len(checks.before(found)))


@task(task_run_name="load-{found.table.target_name}", cache_policy=NO_CACHE, **retries.TRANSIENT)
def load_table(found: Extraction) -> Receipt:
    """Publish the rows of a table, together with its new watermark.

    Raises:
        PermanentError: The rows do not fit the table, or the warehouse refuses them.
        TransientError: The warehouse stayed unavailable for all retries.
    """
    receipt = loading.load(found)
    log = reporting.logger(__name__)
    log.info("%s: %s rows loaded", receipt.table_name, f"{receipt.rows_loaded:,}")
    return receipt


def ingest_table(
    table: Table,
    window: Window | None = None,
    rows: Rows | None = None,
    receipts: Mapping[str, Receipt] | None = None,
) -> IngestionResult:
    """Extract and load one table.

    A plain function, so that the flow that calls it shows its task runs as its own.

    Args:
        table: The table.
        window: Read this window again instead of new rows.
        rows: Function that yields the rows, if the table is not read from a database.
        receipts: The last load of each table; None reads them from the warehouse.

    Raises:
        PermanentError: Something has to be fixed first; the message says what.
        TransientError: A database stayed unavailable for all retries.
    """
    start = time.perf_counter()
    name = table.target_name
    with loading.turn(name), tempfile.TemporaryDirectory(prefix=extraction.SCRATCH) as folder:
        path = Path(folder)
        receipts = read_receipts(name) if receipts is None else receipts
        receipt = receipts.get(name)
        try:
            done = load_table(extract_table(table, path, receipt, window, rows))
        except loading.ConflictError:
            # Another run was faster: read again from its watermark, this time with a lock.
            with warehouse.alone(name):
                receipt = read_receipts(name).get(name)
                done = load_table(extract_table(table, path, receipt, window, rows))
    return IngestionResult(
        table=name,
        read=done.rows_read,
        loaded=done.rows_loaded,
        dropped=done.rows_dropped,
        seconds=time.perf_counter() - start,
        receipt=done,
    )
