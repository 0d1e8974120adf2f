"""Flows that the tests of the worker run as jobs."""

from __future__ import annotations

import os
import time
from pathlib import Path

from prefect import flow, get_run_logger


@flow
def talk(until: str = "", *, fails: bool = False) -> None:
    """Log, print, and wait for a file."""
    get_run_logger().info("logged by the flow")
    print("printed by the flow", os.environ.get("SERVICE_PASSWORD"), flush=True)  # noqa: T201 - as jobs do
    deadline = time.monotonic() + 300
    while until and not Path(until).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    print("printed at the end", flush=True)  # noqa: T201 - as jobs do
    if fails:
        raise ValueError("as it was told to")
