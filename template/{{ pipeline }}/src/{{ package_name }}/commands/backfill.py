"""Read rows again: all from a date on, or a window of the past.

Rows of the source whose cursor is at or after --since (and before --until) are read again; what
is new or has changed is written. The watermark stays, so the next plain run goes on as if
nothing had happened. Rows that are gone from the source stay. Tables of mode `full` are read
whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import argparse

HELP = "read rows again: all from a date on, or a window of the past"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the tables and the window."""
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="names of tables")
    parser.add_argument("--since", help="lowest value of the cursor, such as 2026-01-31")
    parser.add_argument("--until", help="where the window ends, itself not included")
    parser.add_argument(
        "--on-worker", action="store_true", help="let a worker run it, instead of this process"
    )


def run(arguments: argparse.Namespace) -> None:
    """Run it here or on a worker, wait for it, and show what was done.

    Raises:
        PermanentError: There is no such table, or the run failed.
        TransientError: Prefect's server does not answer.
    """
    from ..common import runs
    from . import ingest

    names = runs.find_tables(arguments.tables)  # refuses unknown ones before a worker is asked
    if not arguments.tables or arguments.since is None:
        arguments.error(f"name tables and --since. Tables: {', '.join(names)}.")
    if arguments.on_worker:
        _run_on_worker(only=arguments.tables, since=arguments.since, until=arguments.until)
    else:
        ingest.show(runs.ingest_here(arguments.tables, arguments.since, arguments.until))


def _run_on_worker(**parameters: Any) -> None:
    from prefect.deployments import run_deployment
    from prefect.exceptions import ObjectNotFound
    from prefect.utilities.urls import url_for

    from ..common import errors, runs

    name = f"ingest-all/{runs.deployment_name()}-manual"
    try:
        with runs.connect():
            # Typed as if it might be awaited: in synchronous code it is the flow run.
            flow_run = cast("Any", run_deployment(name, parameters=parameters, poll_interval=2))
    except ObjectNotFound:
        raise errors.PermanentError(f"There is no deployment {name}: deploy first.") from None
    state = flow_run.state
    if not state.is_completed():
        raise errors.PermanentError(f"{state.name}: {state.message} {url_for(flow_run)}")
    print(f"Completed: {url_for(flow_run)}")
