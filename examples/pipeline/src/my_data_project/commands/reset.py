"""Delete a table's watermark, so that the next run reads the whole table again.

The rows stay in the warehouse until that run replaces them; rows deleted in the source stay in a
table of mode `incremental`. --drop also drops the table. The next run rebuilds it, and it then
equals the source; until then there is no table to read.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

HELP = "delete a table's watermark; with --drop, drop the table too"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the table and the two options."""
    parser.add_argument("table", nargs="?", metavar="TABLE", help="its name in the warehouse")
    parser.add_argument("--drop", action="store_true", help="drop the warehouse's table as well")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(arguments: argparse.Namespace) -> None:
    """Show what will be deleted, ask, and delete it."""
    from ..common import errors, loading, receipts, warehouse
    from .ingest import load_flows

    with warehouse.connect() as w:
        # Also tables that your own flows load, and those no longer in the list.
        loaded = receipts.latest(w)
        known = {*loaded, *load_flows().FLOWS}
        listed = f"Tables: {', '.join(sorted(known)) or 'none yet'}."
        if arguments.table is None:
            arguments.error(f"name a table. {listed}")
        if (table := str(arguments.table)) not in known:
            raise errors.PermanentError(f"There is no table {table}. {listed}")
        parts: list[str] = []
        if arguments.drop and w.columns(w.raw, table):
            rows = w.query(f"SELECT COUNT(*) FROM {w.name(w.raw, table)}")[0][0]
            parts.append(f"drops {w.raw}.{table} with its {rows:,} rows")
        if (last := loaded.get(table)) is not None and last.mode != "reset":
            mark = f"the watermark {last.watermark}" if last.watermark else "the last load"
            parts.append(f"forgets {mark} of {table}")
        where = w.described
    if not parts:
        print(f"{where} has nothing of {table}: nothing to do.")
        return
    print(f"In {where}: {' and '.join(parts)}; the next run reads the whole table.")
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise errors.PermanentError("There is no terminal to confirm on: pass --yes.")
        if input("Continue? [y/N] ").strip().lower() not in {"y", "yes"}:
            print("Nothing was changed.")
            return
    with warehouse.connect() as w:
        loading.forget(w, table, drop=arguments.drop)
    print("Done.")
