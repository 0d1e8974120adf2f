"""Flow runs: their names, their version, their task runner, and how they fail."""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from prefect import runtime
from prefect.futures import PrefectFuture
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from . import errors, reporting, settings

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ..tasks.ingestion import IngestionResult

Runner = TaskRunner[PrefectFuture[Any]]


class IngestionError(errors.PermanentError):
    """At least one table failed; the message has the reasons.

    Attributes:
        results: Results of the tables that were loaded.
        failed: Names of the tables that failed or broke a rule.
    """

    results: Sequence[IngestionResult] = ()
    failed: Collection[str] = ()


NO_TABLE = (
    "flows/tables.py lists no table yet:"
    f" `uv run {settings.PROJECT} discover` proposes those of the source,"
    f" `uv run {settings.PROJECT} add table NAME` adds one."
)


def deployment_name() -> str:
    """Return the name of the current environment's deployments in `prefect.yaml`."""
    return f"{settings.PROJECT}-{settings.load().environment}"


def artifact_key(*parts: str) -> str:
    """Return an artifact's key with project and environment: all share the server's keys."""
    return reporting.artifact_key(deployment_name(), *parts)


def name_run(what: str) -> str:
    """Name the current flow run, such as `flights from 2026-01-01, 2026-01-31 06:05 UTC`.

    Args:
        what: What the flow loads, unless its parameter `only` names tables.
    """
    parameters: dict[str, Any] = runtime.flow_run.parameters
    text = ", ".join(parameters.get("only") or [what])
    for word, name in (("from", "since"), ("to", "until")):
        text += f" {word} {parameters[name]}" if parameters.get(name) else ""
    start: Any = runtime.flow_run.scheduled_start_time
    return f"{text}, {start:%Y-%m-%d %H:%M} UTC"


@functools.cache
def version() -> str:
    """Return the version of this package and its commit, such as `1.2.0+g1a2b3c4d`.

    In a checkout they come from git, because its commit changes without a new installation;
    edits that are not committed add `.dirty`. Elsewhere it is the installed version.
    """
    found = metadata.distribution(settings.PROJECT)
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    git = shutil.which("git")
    if not git or not origin.get("dir_info", {}).get("editable"):
        return found.version
    tag = settings.RELEASE_TAG
    options = ("--always", "--tags", "--long", "--dirty", "--abbrev=8")
    call = (git, "describe", *options, f"--match={tag}[0-9]*", f"--exclude={tag}*-v*")
    # In a git hook of another repository, these make git look there.
    elsewhere = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT")
    env = {name: value for name, value in os.environ.items() if not name.startswith(elsewhere)}
    try:
        told = subprocess.run(  # noqa: S603 - no user input
            call,
            cwd=Path(__file__).parent,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    except subprocess.TimeoutExpired:
        return found.version
    pattern = rf"(?:{re.escape(tag)}(.+)-(\d+)-g)?([0-9a-f]{{8}})[0-9a-f]*(-dirty)?\n"
    if not (described := re.fullmatch(pattern, told.stdout)):
        return found.version
    tagged, count, commit, dirty = described.groups()
    number = tagged or found.version.partition("+")[0]
    if tagged and count != "0":  # commits after a tag, named as hatch-vcs does
        number = re.sub(r"\d+$", lambda last: str(int(last[0]) + 1), tagged) + f".dev{count}"
    return f"{number}+g{commit}{'.dirty' if dirty else ''}"


def create_task_runner(config: settings.Settings) -> Runner:
    """Create the task runner of the settings, which ingests tables in parallel."""
    # The casts are needed because each task runner has its own type of future.
    match config.task_runner:
        case "threads":
            # More threads than readers: tables that have been read wait, and are loaded together.
            return cast("Runner", ThreadPoolTaskRunner(max_workers=max(128, config.max_workers)))
        case "processes":
            return cast("Runner", ProcessPoolTaskRunner(max_workers=config.max_workers))
        case other:  # the module of an extra
            return importlib.import_module(f".{other}", __package__).create_task_runner(config)


def join_reasons(first: str, reasons: Mapping[str, str]) -> str:
    """Return a message with one line for each failure."""
    return "\n".join((first, *(f"{name}: {reason}" for name, reason in reasons.items())))
