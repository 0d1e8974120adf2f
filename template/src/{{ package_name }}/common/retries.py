"""Which failures of a task are worth another attempt."""

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
    """Decide, as a task's `retry_condition_fn`, whether a failed run is tried again.

    Args:
        _task: The task that failed.
        _run: Its run.
        state: The failed state, which holds the exception.

    Returns:
        True if the task raised `TransientError`.
    """
    return isinstance(state.result(raise_on_failure=False), errors.TransientError)
