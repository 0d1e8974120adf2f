"""Reports how a run ended to Prefect, in its flow's environment: `python report.py MESSAGE`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from uuid import UUID

import httpx
import psutil
from prefect.client.orchestration import get_client
from prefect.exceptions import Abort, ObjectNotFound
from prefect.flows import load_flow_from_flow_run
from prefect.logging.loggers import flow_run_logger
from prefect.runner._hook_runner import HookRunner
from prefect.states import Cancelled, Crashed
from prefect.utilities.engine import propose_state


async def crash(flow_run_id: UUID, message: str) -> None:
    """Set a run to Crashed and call its hooks, unless it has ended or waits for a retry."""
    async with get_client() as client:
        flow_run = await client.read_flow_run(flow_run_id)
        state = flow_run.state
        if state is not None and (state.is_pending() or state.is_running()):
            flow_run_logger(flow_run).error(message)
            state = await propose_state(client, Crashed(message=message), flow_run_id=flow_run_id)
            hooks = HookRunner(resolve_flow=load_flow_from_flow_run)
            await hooks.run_crashed_hooks(flow_run, state)


async def attend(flow_run_id: UUID, supervisor: int) -> None:
    """Replace a killed worker as long as the supervisor of the run exists: handle cancellation."""
    while os.getppid() == supervisor:
        with contextlib.suppress(httpx.HTTPError, psutil.Error):
            async with get_client() as client:
                state = (await client.read_flow_run(flow_run_id)).state
                if state is not None and state.is_cancelling():
                    await client.set_flow_run_state(flow_run_id, Cancelled(), force=True)
                    # Kill it: after SIGTERM, the flow would report that it crashed.
                    for each in psutil.Process(supervisor).children():
                        _ = each.pid == os.getpid() or each.kill()
        await asyncio.sleep(5)
    kill_left(str(flow_run_id))
    await crash(flow_run_id, "The run was ended: its supervisor was killed, after its worker.")


def kill_left(flow_run: str) -> None:
    """Kill the other processes of this user that have a flow run in their environment."""
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if each.environ().get("PREFECT__FLOW_RUN_ID") == flow_run and each.pid != os.getpid():
                each.kill()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the supervisor blocks some signals
    sys.path.insert(0, "")  # as with `python -m prefect.engine`
    run, what = UUID(os.environ["PREFECT__FLOW_RUN_ID"]), sys.argv[1]
    with contextlib.suppress(Abort, ObjectNotFound):  # the run has ended or was deleted
        asyncio.run(attend(run, int(what)) if what.isdigit() else crash(run, what))
