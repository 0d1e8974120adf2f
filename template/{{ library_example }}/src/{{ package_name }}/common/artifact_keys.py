"""Keys of artifacts: a different one for each step of a flow."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from prefect.context import FlowRunContext, TaskRunContext

from . import reporting

KEPT = 1_000
"""Of so many steps this process remembers the calls; those used last."""

_calls: OrderedDict[str, dict[object, int]] = OrderedDict()
_lock = threading.Lock()


def of_step(kind: str, name: str) -> str:
    """Return the key for a task run's artifact, such as `transform-penguins-1a2b3c4d`.

    It is the same in each run of a flow, so that Prefect keeps a history. It differs between
    flows, names, and calls in the same run.
    """
    flow, task = FlowRunContext.get(), TaskRunContext.get()
    words = [flow.flow.name if flow and flow.flow else "", kind, name]
    if task and flow and flow.flow_run:
        run = f"{flow.flow_run.id} {flow.flow_run.run_count} {words}"
        with _lock:
            calls = _calls.setdefault(run, {})
            words.append(str(calls.setdefault(task.task_run.id, len(calls))))
            _calls.move_to_end(run)
            if len(_calls) > KEPT:
                _calls.popitem(last=False)
    digest = hashlib.sha256("\0".join(words).encode()).hexdigest()
    return reporting.artifact_key(kind, name, digest[:8])
