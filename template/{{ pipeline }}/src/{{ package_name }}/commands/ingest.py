"""Ingest tables here and now, without a deployment: those that are named, or all.

Settings come from the environment and from `.env`. Without a Prefect server of yours, one runs
for as long as this takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from ..tasks.ingestion import IngestionResult

HELP = "ingest tables here and now, without a deployment"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the tables."""
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="names of tables; none for all")


def run(arguments: argparse.Namespace) -> None:
    """Ingest, and show what was done."""
    from ..common import runs

    show(runs.ingest_here(arguments.tables or None))


def show(results: Iterable[IngestionResult]) -> None:
    """Print a table of results, a line for each of their tables."""
    from rich.console import Console
    from rich.table import Table

    grid = Table("table")
    for name in ("read", "loaded", "dropped", "seconds"):
        grid.add_column(name, justify="right")
    for one in results:
        counts = [f"{count:,}" for count in (one.read, one.loaded, one.dropped)]
        grid.add_row(one.table, *counts, f"{one.seconds:.1f}")
    Console().print(grid)
