"""The worker's job variables: those of Prefect's process worker, and limits."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from prefect.utilities.processutils import command_from_string
from prefect.workers.process import ProcessJobConfiguration, ProcessVariables
from pydantic import Field

from ..job_variables import Options, StrictJobConfiguration

# Run by path: `python -m` would import this package, and with it Prefect.
SUPERVISE = [sys.executable, "-P", str(Path(__file__).with_name("supervise.py"))]


def _field(default: int | None, title: str, text: str, least: int, most: int | None = None) -> Any:
    text += ", of all processes of a run together; empty for no limit." if default is None else "."
    return Field(default=default, title=title, description=text, ge=least, le=most)


class Limits(Options):
    """Limits of a run, and the time it has to end."""

    memory_mib: int | None = _field(None, "Memory (MiB)", "Memory (Prefect needs 150)", 64)
    cpu_seconds: int | None = _field(None, "CPU time (s)", "CPU time (Prefect needs 5)", 1)
    wall_seconds: int | None = _field(None, "Time (s)", "Time from start to end", 1)
    niceness: int = _field(0, "Niceness", "Niceness of a run, added to its worker's", 0, 19)
    # Prefect kills a cancelled run after 30 seconds.
    grace_seconds: int = _field(20, "Grace (s)", "Time to end after a cancellation", 0, 25)


class LimitedVariables(ProcessVariables, Limits):
    """The job variables, with the work pool's defaults."""


class LimitedConfiguration(StrictJobConfiguration, ProcessJobConfiguration, Limits):
    """The configuration of a flow run's process."""

    def prepare_for_flow_run(self, *context: Any, **more: Any) -> None:
        """Run the command, by default Prefect's, under the supervisor."""
        engine = f"{shlex.quote(sys.executable)} -m prefect.engine"
        command = command_from_string(self.command or engine)
        order = json.dumps(self.model_dump(include={*Limits.model_fields}))
        self.command = shlex.join([*SUPERVISE, order, *command])
        super().prepare_for_flow_run(*context, **more)
