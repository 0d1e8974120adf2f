"""Run the flows of examples/ one after the other, offline; each prints its results."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def main() -> None:
    """Run every example."""
    # The examples print what matters; all logs are in Prefect's UI.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
    # Without heartbeats a flow ends faster; nothing here reads them.
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    sys.path.insert(0, str(EXAMPLES))
    print("Starting Prefect; the first time takes about 20 seconds ...", flush=True)
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        for example in sorted(EXAMPLES.glob("[!_]*.py")):
            print(f"\nexamples/{example.name}", flush=True)
            runpy.run_path(str(example), run_name="__main__")


if __name__ == "__main__":
    main()
