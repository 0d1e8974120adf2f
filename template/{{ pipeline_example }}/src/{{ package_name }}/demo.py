"""The demo: a year of flights from New York, from a source database into a warehouse."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Grid

from . import demo_source
from .common.settings import ENV_PREFIX

if TYPE_CHECKING:
    from .tasks.ingestion import IngestionResult

FOLDER = Path("data")
SOURCE = FOLDER / "source.db"
WAREHOUSE = FOLDER / "warehouse.duckdb"


class _Status(logging.Handler):
    """Shows what tasks log as the line of a spinner."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self.console = console
        self.status = console.status("Starting Prefect; the first time takes about 20 seconds ...")

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().strip()
        if text.startswith(("Beginning", "Created", "Finished")):
            return
        if record.levelno >= logging.WARNING:
            self.console.print(f"  {text}", style="yellow", highlight=False, soft_wrap=True)
        elif self.console.is_terminal:
            self.status.update(text)
        else:
            self.console.print(f"  {text}", highlight=False)


def run() -> None:
    """Build the source if it is missing, ingest, check and transform it, and say what was done.

    Raises:
        PermanentError: The message says what to do.
    """
    console = Console()
    start = time.perf_counter()
    # The demo keeps to its own files, whatever the environment or `.env` says.
    os.environ[f"{ENV_PREFIX}SOURCE_URL"] = f"sqlite:///{SOURCE}"
    os.environ[f"{ENV_PREFIX}WAREHOUSE_URL"] = f"duckdb:///{WAREHOUSE}"
    os.environ[f"{ENV_PREFIX}SLACK_WEBHOOK_URL"] = ""
    # The spinner shows what matters of the logs; all of them are in Prefect's UI.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "ERROR")
    if not SOURCE.is_file():
        with console.status("Building the source database ..."):
            rows = demo_source.build_source(demo_source.find_files(), SOURCE)
        console.print(f"Built {SOURCE} with {rows:,} rows in five tables.", highlight=False)
    handler = _Status(console)
    with handler.status:
        results, derived = _run_flows(handler)
    console.print(_grid(results))
    for name, count in derived.items():
        console.print(f"{name}: {count:,} rows", highlight=False)
    seconds = time.perf_counter() - start
    console.print(f"Done in {seconds:.0f} s. The warehouse is {WAREHOUSE}.", highlight=False)


def _run_flows(handler: logging.Handler) -> tuple[list[IngestionResult], dict[str, int]]:
    # Imported here: they cost seconds, and what comes before them should show at once.
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from .common import runs
    from .flows import ingestion_flow, transform_flow

    # Tables of your own are not in the demo's source.
    names = [name for name in ingestion_flow.FLOWS if name in demo_source.COLUMNS]

    logging.getLogger("prefect.task_runs").addHandler(handler)
    # Without heartbeats a flow ends at once: nobody watches for zombies here.
    with runs.local_server(), temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        return ingestion_flow.ingest_all(names), transform_flow.transform_all()


def _grid(results: list[IngestionResult]) -> Grid:
    grid = Grid("table", "read", "loaded", "dropped", "seconds")
    for column in grid.columns[1:]:
        column.justify = "right"
    for result in results:
        grid.add_row(
            result.table,
            f"{result.read:,}",
            f"{result.loaded:,}",
            f"{result.dropped:,}",
            f"{result.seconds:.1f}",
        )
    return grid
