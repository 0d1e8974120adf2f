"""The demo: a year of flights from New York, from a source database into a warehouse."""

from __future__ import annotations

import os
import time
from pathlib import Path

from rich.console import Console

from . import demo_source
from .common.settings import ENV_PREFIX

SOURCE = Path("data", "source.db")
WAREHOUSE = Path("data", "warehouse.duckdb")


def run() -> None:
    """Build the source if it is missing, ingest, check and transform it, and show what was done.

    Raises:
        PermanentError: The message says what to do.
    """
    console = Console(highlight=False)
    start = time.perf_counter()
    # The demo keeps to its own files, whatever the environment or `.env` says.
    os.environ[f"{ENV_PREFIX}SOURCE_URL"] = f"sqlite:///{SOURCE}"
    os.environ[f"{ENV_PREFIX}WAREHOUSE_URL"] = f"duckdb:///{WAREHOUSE}"
    os.environ[f"{ENV_PREFIX}SLACK_WEBHOOK_URL"] = ""
    # Here, what the rules find in the data; all logs are in Prefect's UI.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
    if not SOURCE.is_file():
        console.print("Building the source database ...")
        rows = demo_source.build_source(demo_source.find_files(), SOURCE)
        console.print(f"Built {SOURCE} with {rows:,} rows in five tables.")
    console.print("Starting Prefect, and loading; the first time takes about 20 seconds ...")
    # Imported here: they cost seconds, and what comes before them should show at once.
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from .commands import ingest
    from .common import server
    from .flows import ingestion_flow, transform_flow

    # Tables of your own are not in the demo's source.
    names = [name for name in ingestion_flow.FLOWS if name in demo_source.TABLES]
    # Without heartbeats a flow ends at once: nobody watches for zombies here.
    with server.local_server(), temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        results = ingestion_flow.ingest_all(names)
        derived = transform_flow.transform_all()
    ingest.show_results(results)
    for name, count in derived.items():
        console.print(f"{name}: {count:,} rows")
    seconds = time.perf_counter() - start
    console.print(f"Done in {seconds:.0f} s. The warehouse is {WAREHOUSE}.")
    console.print("Next: `Load your own tables` in README.md.")
