"""`house_flow` and `house_task`: Prefect's decorators with the organisation's defaults.

The defaults are an owner who is alerted when a run fails (`alerts`), a cost centre, a name for
runs with their scheduled time, a time limit, and retries of temporary failures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import prefect
from prefect.runtime import flow_run

from ..common import errors, retries

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect import Flow, Task

P = ParamSpec("P")
R = TypeVar("R")

HOUR_SECONDS = 3600.0

_tags: dict[Callable[..., Any], list[str]] = {}


def tag_of_owner(owner: str) -> str:
    """Return the tag that names an owner in Prefect.

    Raises:
        PermanentError: The owner is empty or a pattern.
    """
    if not owner or owner != owner.strip() or "*" in owner or not owner.isprintable():
        # Prefect reads `*` as a pattern, so this owner would get other owners' alerts.
        message = f"{owner!r} is no name of an owner: leave out `*`, line breaks and outer spaces."
        raise errors.PermanentError(message)
    return f"owner:{owner}"


def house_flow(
    *,
    owner: str,
    cost_centre: str,
    name: str | None = None,
    timeout_seconds: float = 4 * HOUR_SECONDS,
    **options: Any,
) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """Create a flow with an owner, such as `finance`, and a cost centre, such as `cc-1042`.

    Its name defaults to the function's, with dashes. The options are those of `prefect.flow`.
    """
    tags = [f"cost-centre:{cost_centre}", tag_of_owner(owner)]

    def decorate(function: Callable[P, R]) -> Flow[P, R]:
        chosen = name or function.__name__.replace("_", "-")

        def run_name() -> str:
            # The scheduled time; the run may have begun later.
            due = flow_run.get_scheduled_start_time()
            return f"{chosen}-{due:%Y-%m-%dT%H:%M}"

        given: dict[str, Any] = {"flow_run_name": run_name, **options}
        _tags[function] = tags
        return prefect.flow(name=chosen, timeout_seconds=timeout_seconds, **given)(function)

    return decorate


def house_task(
    *, owner: str, timeout_seconds: float = HOUR_SECONDS, **options: Any
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Create a task with an owner; the time limit is for one attempt.

    The options are those of `prefect.task`, and override the organisation's defaults.
    """
    given: dict[str, Any] = {**retries.TRANSIENT, "timeout_seconds": timeout_seconds, **options}
    given["tags"] = {tag_of_owner(owner), *options.get("tags", ())}

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        return prefect.task(**given)(function)

    return decorate


def tags_of(flow: Flow[..., Any]) -> list[str]:
    """Return the tags that every deployment of a house flow must have.

    Flows have no tags in Prefect. A run has the tags of its deployment from the start, so its
    owner is alerted even if the run ends before its flow is imported.
    """
    return _tags.get(flow.fn, [])
