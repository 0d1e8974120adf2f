"""Read rows again: all from a date on, or a window of the past.

Rows of the source whose cursor is at or after --since (and before --until) are read again; what
is new or has changed is written. The watermark stays, so the next plain run goes on as if
nothing had happened. Rows that are gone from the source stay. Tables of mode `full` are read
whole. docs/operations.md says how a worker does the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

HELP = "read rows again: all from a date on, or a window of the past"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the tables and the window."""
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="names of tables")
    parser.add_argument("--since", help="lowest value of the cursor, such as 2026-01-31")
    parser.add_argument("--until", help="where the window ends, itself not included")


def run(arguments: argparse.Namespace) -> None:
    """Run it, and show what was done."""
    from ..common import runs
    from .ingest import ingest

    if not arguments.tables or arguments.since is None:
        listed, _ = runs.load_flows().list_tables()
        arguments.error(f"name tables and --since. Tables: {', '.join(listed)}.")
    ingest(arguments.tables, arguments.since, arguments.until)
