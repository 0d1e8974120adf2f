"""Which failures of a task are retried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import errors

if TYPE_CHECKING:
    from prefect import Task
    from prefect.client.schemas.objects import TaskRun
    from prefect.states import State

ATTEMPTS = 4
"""Retries after the first failure."""

DELAYS_SECONDS = [2.0, 8.0, 30.0, 60.0]
"""Pause before each retry; about the time a database needs to restart."""


def only_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Decide, as a task's `retry_condition_fn`, whether a failed task run is retried."""
    return isinstance(state.result(raise_on_failure=False), errors.TransientError)


TRANSIENT: dict[str, Any] = {
    "retries": ATTEMPTS,
    "retry_delay_seconds": DELAYS_SECONDS,
    "retry_jitter_factor": 0.5,  # tasks that failed together do not come back together
    "retry_condition_fn": only_transient,
}
"""What makes a task try again after a `TransientError`: `@task(**retries.TRANSIENT)`."""
