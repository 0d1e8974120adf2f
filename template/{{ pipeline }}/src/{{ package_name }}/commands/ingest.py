"""Ingest tables here and now, without a deployment: those that are named, or all.

Settings come from the environment and from `.env`. Without a Prefect server of yours, one runs
for as long as this takes.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import TYPE_CHECKING, Any

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

    show_results(runs.ingest_here(arguments.tables or None))


def show_results(results: Iterable[IngestionResult]) -> None:
    """Print what an ingestion did, a line for each table."""
    rows = [dataclasses.asdict(result) for result in results]
    show(rows, ["table", "read", "loaded", "dropped", "seconds"])


def show(rows: list[dict[str, Any]], columns: list[str], title: str | None = None) -> None:
    """Print some columns of rows; numbers stand to the right, times are UTC."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(title=title, title_justify="left")
    for name in columns:
        number = any(isinstance(row[name], int | float) for row in rows)
        justify = "right" if number else "left"
        grid.add_column(name.replace("_", " "), overflow="fold", justify=justify)
    for row in rows:
        grid.add_row(*(_text(row[name]) for name in columns))
    Console(markup=False, highlight=False).print(grid, crop=False)


def _text(value: Any) -> str:
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:.1f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return "-" if value is None else str(value)
