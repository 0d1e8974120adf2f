"""Load rows again, from a date on or within a window.

It reads rows whose cursor is at or after --since (and before --until), and writes new and changed
ones. The watermark does not move, so the next run continues where the last one ended. Rows deleted
in the source stay. Tables of mode `full` are read whole. docs/operations.md shows how to backfill
on a worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

HELP = "load rows again, from a date on or within a window"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the tables and the window."""
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="names of tables")
    parser.add_argument("--since", help="lowest value of the cursor, such as 2026-01-31")
    parser.add_argument("--until", help="end of the window, exclusive")


def run(arguments: argparse.Namespace) -> None:
    """Ingest the window, and show the results."""
    from .ingest import ingest, load_flows

    if not arguments.tables or arguments.since is None:
        listed, _ = load_flows().list_tables()
        arguments.error(f"name tables and --since. Tables: {', '.join(listed)}.")
    ingest(arguments.tables, arguments.since, arguments.until)
