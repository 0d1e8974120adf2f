"""The folder of a flow run: it starts there, and keeps its temporary files there."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path


def make(flow_run: str) -> str:
    """Make a folder for a flow run, which nobody else can read.

    Args:
        flow_run: Id of the flow run.

    Returns:
        Path of the folder.
    """
    return tempfile.mkdtemp(prefix=_prefix(flow_run))


def remove(flow_run: str) -> None:
    """Remove what `make` has made for a flow run on this machine, and what is in it.

    Args:
        flow_run: Id of the flow run.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{_prefix(flow_run)}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _prefix(flow_run: str) -> str:
    return f"flow-run-{flow_run}-"
