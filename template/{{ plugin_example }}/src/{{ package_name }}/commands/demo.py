"""Run the flows of examples/ one after the other, offline."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..common import errors

if TYPE_CHECKING:
    import argparse

HELP = "run the flows of examples/, offline"
FOLDER = Path("examples")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare no arguments."""


def run(arguments: argparse.Namespace) -> None:
    """Run every example; each prints what it did.

    Raises:
        PermanentError: The folder examples/ does not exist.
    """
    examples = sorted(FOLDER.glob("[!_]*.py"))
    if not examples:
        raise errors.PermanentError("There is no folder examples/ here: run this in the project.")
    # The examples print what matters; all logs are in Prefect's UI.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
    # Without heartbeats a flow ends faster; nothing here reads them.
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    sys.path.insert(0, str(FOLDER.resolve()))
    print("Starting Prefect; the first time takes about 20 seconds ...", flush=True)
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        for example in examples:
            print(f"\n{example}", flush=True)
            runpy.run_path(str(example), run_name="__main__")
