"""Logging and artifacts that work in a flow, in a task and outside of both.

Conventions: INFO for what happened, with its numbers; WARNING for what somebody should
look at; never a secret, never a row of data. A table artifact is keyed by what it is about
(`quality-flights`), so that Prefect keeps its history under one key.
"""

from __future__ import annotations

import copy
import logging
import re
from typing import TYPE_CHECKING, Any

import prefect.context
from prefect import artifacts
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from . import errors

if TYPE_CHECKING:
    from collections.abc import Sequence

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]


class _OneSentence(logging.Filter):
    """Logs our own errors as one sentence; their traceback goes to the debug log."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        expected = isinstance(error, errors.PermanentError | errors.TransientError)
        if expected and record.levelno > logging.DEBUG:
            cause = copy.copy(record)
            cause.levelno, cause.levelname = logging.DEBUG, "DEBUG"
            record.exc_info = record.exc_text = None
            if (log := logging.getLogger(record.name)).isEnabledFor(logging.DEBUG):
                log.handle(cause)
        return True


_ONE_SENTENCE = _OneSentence()
for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_ONE_SENTENCE)


def logger(name: str) -> Logger:
    """Return the logger of the current run; outside a run, the Python logger of a name."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger(name)


def in_run() -> bool:
    """Return whether this code runs in a flow run or task run."""
    contexts = (prefect.context.FlowRunContext, prefect.context.TaskRunContext)
    return any(context.get() is not None for context in contexts)


def artifact_key(*parts: str) -> str:
    """Join names into a valid artifact key, such as `quality-daily-sales`."""
    return re.sub("[^a-z0-9]", "-", "-".join(parts).lower()).strip("-")


def table_artifact(key: str, rows: Sequence[dict[str, Any]], description: str) -> None:
    """Write rows with the same columns as an artifact; outside a run, do nothing."""
    if in_run():
        artifacts.create_table_artifact(table=list(rows), key=key, description=description)


def markdown_artifact(key: str, text: str, description: str) -> None:
    """Write a report as an artifact; outside a run, do nothing."""
    if in_run():
        artifacts.create_markdown_artifact(markdown=text, key=key, description=description)


def link_artifact(key: str, url: str, text: str) -> None:
    """Write a link as an artifact; outside a run, do nothing."""
    if in_run():
        artifacts.create_link_artifact(link=url, link_text=text, key=key)
