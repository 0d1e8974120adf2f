"""Ingest tables here and now, without a deployment: those that are named, or all.

Settings come from the environment and from `.env`. Without a Prefect server of yours, one runs
for as long as this takes.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from ..tasks.ingestion import IngestionResult

HELP = "ingest tables here and now, without a deployment"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the tables."""
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="names of tables; none for all")


def run(arguments: argparse.Namespace) -> None:
    """Ingest, and show what was done."""
    from ..common import runs

    show_results(runs.ingest_here(arguments.tables or None))


def show_results(results: Iterable[IngestionResult]) -> None:
    """Print what an ingestion did, a line for each table."""
    show([dataclasses.asdict(result) for result in results])


def show(rows: Sequence[dict[str, Any]], title: str | None = None) -> None:
    """Print rows that have the same columns, numbers to the right; times are UTC."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(title=title, title_justify="left")
    for column in rows[0]:
        number = any(isinstance(row[column], int | float) for row in rows)
        justify = "right" if number else "left"
        grid.add_column(column.replace("_", " "), overflow="fold", justify=justify)
    for row in rows:
        grid.add_row(*map(text, row.values()))
    Console(markup=False, highlight=False).print(grid, crop=False)


def text(value: Any) -> str:
    """Write a value as people read it."""
    if value is None:
        return "-"
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:.1f}"
    return f"{value:%Y-%m-%d %H:%M}" if hasattr(value, "strftime") else str(value)
