"""A flow for the worker to run."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from prefect import flow


def remember(flow: Any, flow_run: Any, state: Any) -> None:
    """Write a hook's arguments to a file; Prefect calls hooks by keyword."""
    Path(flow_run.parameters["folder"], "hook").write_text(f"{state.name}: {state.message}")


@flow(on_crashed=[remember], on_cancellation=[remember])
def behave(how: str, folder: str) -> str:
    """End, fail, disappear, or print until the file `go` exists."""
    Path(folder, "here").write_text(f"{Path.cwd()} {os.environ.get('COLOUR')} {os.nice(0)}")
    if how == "fail":
        raise ValueError("wrong on purpose")
    if how == "disappear":
        os._exit(0)
    while how == "talk" and not Path(folder, "go").exists():
        sys.stdout.write("still here " * 1000 + "\n")  # more than a pipe holds
        sys.stdout.flush()
        time.sleep(0.1)
    return how
