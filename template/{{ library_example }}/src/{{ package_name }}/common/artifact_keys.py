"""Keys of artifacts that no two steps of a flow share."""

from __future__ import annotations

import hashlib

from prefect.context import FlowRunContext, TaskRunContext

from . import reporting

_calls: dict[str, list[object]] = {}


def of_step(kind: str, name: str) -> str:
    """Return the key for what a task run reports, such as `transform-penguins-1a2b3c4d`.

    It is the same in each run of a flow, so that Prefect keeps a history. Another flow, another
    name and another call in the same run have other keys.
    """
    flow, task = FlowRunContext.get(), TaskRunContext.get()
    words = [flow.flow.name if flow and flow.flow else "", kind, name]
    if task and flow and flow.flow_run:
        run = f"{flow.flow_run.id} {flow.flow_run.run_count} {words}"
        calls = _calls.setdefault(run, [])
        calls.append(task.task_run.id)
        words.append(str(calls.index(task.task_run.id)))
    digest = hashlib.sha256("\0".join(words).encode()).hexdigest()
    return reporting.artifact_key(kind, name, digest[:8])
