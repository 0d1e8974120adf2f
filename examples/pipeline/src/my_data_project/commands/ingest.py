"""Ingest tables in this process, without a deployment.

Settings come from the environment and from `.env`. Unless PREFECT_API_URL names a Prefect server,
the command starts a temporary one.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Iterable
    from types import ModuleType

    from ..tasks.ingestion import IngestionResult

HELP = "ingest tables in this process, without a deployment"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the tables."""
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="names of tables (default: all)")
    parser.add_argument("--transform", action="store_true", help="also build the derived tables")


def run(arguments: argparse.Namespace) -> None:
    """Ingest, and show the results."""
    ingest(arguments.tables or None, transform=arguments.transform)


def ingest(
    only: list[str] | None,
    since: str | None = None,
    until: str | None = None,
    *,
    transform: bool = False,
) -> None:
    """Ingest tables, and show the results, also when some tables fail.

    If none fails, the derived tables may be built too.
    """
    from ..common import runs, server
    from ..common.extraction import Window

    flows = load_flows()
    flows.list_tables(only)  # before a run starts, an error is one sentence
    Window.parse(since, until)
    try:
        with server.local_server():
            results = flows.ingest_all(only, since, until)
            derived = build() if transform else {}
    except runs.IngestionError as error:
        if error.results:
            show_results(error.results, error.failed)
        raise
    show_results(results)
    for name, rows in derived.items():
        print(f"{name}: {rows:,} rows")


def build() -> dict[str, int]:
    """Build the derived tables."""
    from ..flows import transform_flow

    return transform_flow.transform_all()


def load_flows() -> ModuleType:
    """Import the flows of the tables.

    Raises:
        PermanentError: An entry of flows/tables.py cannot work.
    """
    try:
        from ..flows import ingestion_flow
    except (TypeError, ValueError) as error:
        from ..common import errors

        raise errors.PermanentError(f"flows/tables.py: {error}") from error
    return ingestion_flow


def show_results(results: Iterable[IngestionResult], failed: Collection[str] = ()) -> None:
    """Print a line for each table; those that failed are marked."""
    columns = ["table", "read", "loaded", "dropped", "seconds"]
    rows: dict[str, dict[str, Any]] = {one.table: dataclasses.asdict(one) for one in results}
    for name in failed:
        rows.setdefault(name, {"table": name} | dict.fromkeys(columns[1:]))
        rows[name]["state"] = "failed"
    for row in rows.values():
        row.setdefault("state", "ok")
    show([*rows.values()], [*columns, "state"] if failed else columns)


def show(rows: list[dict[str, Any]], columns: list[str], title: str | None = None) -> None:
    """Print some columns of rows; numbers are right-aligned, times are UTC."""
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, highlight=False)
    cells = [[_text(row[name]) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    if sum(widths) + 3 * len(widths) >= console.width:
        # Break lines between a flow and its deployment, and between a date and its time.
        fold = functools.partial(re.sub, r"(?<=\w/)(?=[\w.-]{16})|(?<=\d) (?=\d)", "\n")
        cells = [[*map(fold, row)] for row in cells]
    grid = Table(title=title, title_justify="left")
    for name in columns:
        number = any(isinstance(row[name], int | float) for row in rows)
        title = name.removeprefix("rows_").replace("_", " ")
        justify = "right" if number else "left"
        # On a narrow screen, wrap text but not numbers.
        grid.add_column(title, overflow="fold", justify=justify, no_wrap=number)
    for row in cells:
        grid.add_row(*row)
    console.print(grid, crop=False)


def _text(value: Any) -> str:
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:.1f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return "-" if value is None else re.sub(r"^(\d{4}-\d\d-\d\d)T", r"\1 ", str(value))
