"""Telling Prefect how a flow run ended, from outside of the run."""

from __future__ import annotations

import time
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

PAUSE_SECONDS = 10

UNFINISHED = {StateType.PENDING, StateType.RUNNING}


def crash(flow_run: str, message: str, *, patience_seconds: float) -> bool:
    """Set a flow run to Crashed, unless it has ended already.

    Args:
        flow_run: Id of the flow run.
        message: What happened and what to do.
        patience_seconds: For how long to try again while Prefect's API does not answer.

    Returns:
        True if Prefect was told, or knows better.
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            with get_client(sync_client=True) as client:
                state = client.read_flow_run(UUID(flow_run)).state
                # It may have ended by itself, or wait for another attempt.
                if state is not None and state.type in UNFINISHED:
                    client.set_flow_run_state(UUID(flow_run), Crashed(message=message))
        except ObjectNotFound:
            return True
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                return False
            time.sleep(PAUSE_SECONDS)
        else:
            return True
