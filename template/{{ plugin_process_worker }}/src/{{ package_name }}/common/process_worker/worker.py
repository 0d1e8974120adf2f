"""Prefect's process worker, with a supervisor for each run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
from prefect.workers.process import ProcessWorker, ProcessWorkerResult

from ...blocks import names
from ..errors import PermanentError
from . import jobs, report

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

UNHEARD = "The command ended with exit code 0, and Prefect has not heard how the run ended."


class LimitedProcessWorker(ProcessWorker):
    """Runs flow runs as local processes, each within limits."""

    type = f"{names.SLUG}-process"
    job_configuration = jobs.LimitedConfiguration
    job_configuration_variables = jobs.LimitedVariables
    _display_name = f"{names.SYSTEM} process"
    _description = "Run flow runs as processes within limits of memory and time, on Linux."
    _documentation_url = names.DOCUMENTATION_URL
    _logo_url = names.LOGO_URL or ""

    async def setup(self) -> None:
        """Refuse to start where a run's processes cannot be supervised."""
        if sys.platform != "linux" or Path("/proc/self").readlink().name != str(os.getpid()):  # noqa: ASYNC240
            raise PermanentError(
                f"The worker {self.type} watches runs by means of Linux and a /proc of its own PID"
                " namespace: on this machine use a work pool of the type process."
            )
        await super().setup()

    async def run(
        self, flow_run: FlowRun, configuration: Any, task_status: Any = anyio.TASK_STATUS_IGNORED
    ) -> ProcessWorkerResult:
        """Run a flow run; end it when the worker is stopped."""
        supervisor: list[int] = []

        def started(pid: int) -> None:
            supervisor.append(pid)
            task_status.started(pid)

        # A separate task that is not cancelled with this one: Prefect would kill the run.
        status = SimpleNamespace(started=started)
        running = asyncio.create_task(self._run(flow_run, configuration, status))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                with contextlib.suppress(ProcessLookupError):
                    _ = os.kill(supervisor[0], signal.SIGINT) if supervisor else running.cancel()
                await asyncio.wait([running])
            raise

    async def _run(self, flow_run: FlowRun, configuration: Any, status: Any) -> ProcessWorkerResult:
        result = await super().run(flow_run, configuration, status)
        if result.status_code != 0:  # the supervisor was killed
            await asyncio.to_thread(report.kill_left, str(flow_run.id))
        state = (await self.client.read_flow_run(flow_run.id)).state
        if state is not None and (state.is_pending() or state.is_running()):
            with tempfile.TemporaryDirectory() as folder:  # Prefect may copy the flow's code there
                command = [sys.executable, "-P", report.__file__, UNHEARD]
                await anyio.run_process(command, cwd=folder, env=configuration.env, stderr=None)
        return result
