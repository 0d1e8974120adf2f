"""Kill ingestions with SIGKILL at seeded points, run them again, compare with a clean run.

Runs inside a generated project: `python kills.py WAREHOUSE COUNT SEED`, COUNT for each way to
load. Each attempt is a fork of one process that has imported everything and opened nothing. Kills
occur at the begin or end of a statement in the warehouse, at Python's audit events, such as
opening, moving and removing files, or at a random moment, maybe during a commit. With PostgreSQL,
all connections to source and warehouse are also ended at a statement. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import stores
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient
from dlt.destinations.impl.postgres.sql_client import Psycopg2SqlClient
from my_data_project.common import errors
from my_data_project.common.table import Table
from my_data_project.tasks import ingestion
from stores import Store, fork

PREFIX = "MY_DATA_PROJECT_"
WAYS = {
    "full": Table(name="prices"),
    "incremental": Table(name="orders", key=("id",), mode="incremental", cursor="changed"),
    "append": Table(name="events", mode="append", cursor="number"),
    "append, no cursor": Table(name="visits", mode="append"),
    "function": Table(name="pages", key=("id",), mode="incremental", cursor="number"),
}
COLUMNS = "id INTEGER, number INTEGER, changed TIMESTAMP, amount DOUBLE PRECISION, note TEXT"
CODE = (
    *("import", "compile", "exec", "object.", "sys.", "code.", "cpython.", "marshal."),
    "builtins.",
)
"""What is audited without anything happening outside of the process."""

Row = tuple[Any, ...]
Events = Counter[str]
_seen = Events()
_last: tuple[str, int] | None = None


def die() -> None:
    """End this process as a power failure would."""
    os.kill(os.getpid(), signal.SIGKILL)


def cut() -> None:
    """Make PostgreSQL end all connections to source and warehouse."""
    for name in ("SOURCE", "WAREHOUSE"):
        stores.cut(os.environ[f"{PREFIX}{name}_URL"])


_fault = die


def event(kind: str) -> None:
    """Count an event; at the chosen one, cause the fault."""
    _seen[kind] += 1
    if (kind, _seen[kind]) == _last:
        _fault()


def watch(client: type, *methods: str) -> None:
    """Count the begin and end of a client's calls as events."""

    def watched(do: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            event("statement")
            done = do(*given, **named)
            event("statement")
            return done

        return called

    for name in methods:
        setattr(client, name, watched(getattr(client, name)))


def unwrap() -> None:
    """Replace tasks by functions, because there is no flow run."""
    ingestion.extract_table = ingestion.extract_table.fn  # type: ignore[attr-defined]
    ingestion.load_table = ingestion.load_table.fn  # type: ignore[attr-defined]


def ingest(table: Table, rows: Any = None) -> Any:
    """Ingest a table; call `unwrap` first."""
    return ingestion.ingest_table(table, rows=rows)


def counted(
    work: Callable[[], Any],
    fault_at: tuple[str, int] | None = None,
    fault: Callable[[], None] = die,
) -> Callable[[], tuple[Events, float]]:
    """Return a function that causes a fault at an event, and returns its events and seconds."""

    def run() -> tuple[Events, float]:
        global _last, _fault
        _last, _fault, start = fault_at, fault, time.perf_counter()
        sys.addaudithook(lambda name, _: None if name.startswith(CODE) else event("other"))
        work()
        return _seen, time.perf_counter() - start

    return run


def snapshot(warehouse: Store, table: Table) -> tuple[list[Row], list[Row], list[str | None]]:
    """Return the rows of completed loads, other rows, and the watermarks of completed loads."""
    names = warehouse.tables("raw")
    rows: list[Row] = []
    marks: list[Row] = []
    complete: set[str] = set()
    if "_dlt_loads" in names:
        complete = {load for (load,) in warehouse("SELECT load_id FROM raw._dlt_loads")}
    if table.name in names:
        wanted = "id, number, changed, amount, note, _dlt_load_id"
        rows = warehouse(f"SELECT {wanted} FROM raw.{table.name}")
    if "_ingestions" in names:
        wanted = "watermark, _dlt_load_id"
        query = f"SELECT {wanted} FROM raw._ingestions WHERE table_name = '{table.name}'"
        marks = warehouse(f"{query} ORDER BY loaded_at")
    return (
        sorted((comparable(row[:-1]) for row in rows if row[-1] in complete), key=repr),
        sorted((comparable(row[:-1]) for row in rows if row[-1] not in complete), key=repr),
        [mark for mark, load in marks if load in complete],
    )


def comparable(row: Row) -> Row:
    """Return a row with types that are equal for source and warehouse."""
    id_, number, changed, amount, note = row
    return id_, number, str(changed)[:19], f"{amount:.6f}", note


def change(source: Store, way: str, dice: random.Random) -> None:
    """Add, change and (full) delete some rows of the source."""
    table = WAYS[way].name
    (highest,) = source(f"SELECT coalesce(max(id), 0) FROM {table}")[0]
    # Never decreases: otherwise a clean run would lose rows too. Some rows share it.
    newest = (highest + 30) // 60
    when = datetime(2013, 1, 1) + timedelta(seconds=newest)
    rows = ", ".join(
        f"({highest + number}, {newest + number // 60}, '{when + timedelta(seconds=number // 60)}',"
        f" {dice.random():.6f}, {dice.choice(['NULL', repr('ä b')])})"
        for number in range(1, dice.randint(60, 160))
    )
    statements = [f"INSERT INTO {table} VALUES {rows}"]
    if way in {"full", "incremental", "function"}:
        (number, latest) = source(f"SELECT max(number), max(changed) FROM {table}")[0]
        some = f"id % 7 = {dice.randint(0, 6)}"
        stamp = f", number = {number}, changed = '{latest}'" if highest else ""
        statements += [f"UPDATE {table} SET amount = {dice.random():.6f}{stamp} WHERE {some}"]
    if way == "full":
        statements += [f"DELETE FROM {table} WHERE id % 11 = {dice.randint(0, 10)}"]
    source(*statements)


def pages(source: Store, since: int | None) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a table like a user's function."""
    names = [part.split()[0] for part in COLUMNS.split(", ")]
    rows = source(f"SELECT * FROM pages WHERE number >= {since or 0}")
    for start in range(0, len(rows), 40):
        page = [dict(zip(names, row, strict=True)) for row in rows[start : start + 40]]
        yield [{**row, "changed": datetime.fromisoformat(str(row["changed"]))} for row in page]


def try_way(way: str, kind: str, source: Store, warehouse: Store, kills: int, seed: str) -> Counter:
    """Kill loads of one way, and compare after each."""
    dice, table, ends = random.Random(f"{seed} {kind} {way}"), WAYS[way], Counter[str]()
    given: Any = (lambda since=None: pages(source, since)) if way == "function" else None
    work = lambda: ingest(table, given)
    events, seconds, loaded = Events(statement=40, other=800), 0.5, list[Row]()
    marks: list[str | None] = []
    for attempt in range(kills):
        change(source, way, dice)
        before = loaded
        now = sorted(map(comparable, source(f"SELECT * FROM {table.name}")), key=repr)
        keeps = way == "append, no cursor"
        after = sorted(loaded + now, key=repr) if keeps else now
        where = f"{kind}, {way}, attempt {attempt}"
        at = {kind: (kind, dice.randint(1, number)) for kind, number in sorted(events.items())}
        match attempt % (4 if kind == "postgresql" else 3):
            case 0:
                fork(counted(work, at["statement"]))
            case 1:
                fork(work, kill_after=dice.uniform(0, seconds))
            case 2:
                fork(counted(work, at["other"]))
            case _:
                try:
                    fork(counted(work, at["statement"], cut))
                except errors.TransientError:
                    ends["cut"] += 1
        rows, others, found = fork(lambda: snapshot(warehouse, table))
        if len(found) > len(marks):
            ends["complete"] += 1
            assert (rows, others) == (after, []), f"{where}: a watermark is ahead of its rows"
            if keeps:
                before, after = after, sorted(after + now, key=repr)
        elif others:
            # Published, but not marked by dlt: the next run writes the same rows again.
            ends["published"] += 1
            visible = sorted(rows + others, key=repr)
            assert keeps or visible == after, f"{where}: half a load is visible"
            assert not keeps or rows == before, f"{where}: rows are missing"
        else:
            ends["before"] += 1
            assert rows == before, f"{where}: the published rows have gone"
        events, seconds = fork(counted(work))
        rows, others, marks = fork(lambda: snapshot(warehouse, table))
        assert rows == after, f"{where}: {len(rows)} rows, not {len(after)} as after a clean run"
        assert not others, f"{where}: rows of a load that never ended"
        newest = max(number for _, number, *_ in now)
        latest = str(max(row[2] for row in now)).replace(" ", "T")
        wanted = {"number": str(newest), "changed": latest, None: None}[table.cursor]
        assert marks[-1] == wanted, f"{where}: the watermark is {marks[-1]}, not {wanted}"
        loaded = rows
    return ends


def main(kind: str, kills: int, seed: str) -> None:
    """Try all ways to load into one warehouse."""
    unwrap()
    watch(
        DuckDbSqlClient if kind == "duckdb" else Psycopg2SqlClient,
        *("execute_query", "commit_transaction", "open_connection", "close_connection"),
    )
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        tempfile.tempdir = name  # for the leftovers of killed runs
        folder = Path(name)
        source, warehouse = (
            stores.create(which, folder) for which in ("sqlite" if kind == "duckdb" else kind, kind)
        )
        os.environ[f"{PREFIX}SOURCE_URL"] = source.url
        os.environ[f"{PREFIX}WAREHOUSE_URL"] = warehouse.url
        os.environ[f"{PREFIX}BATCH_BYTES"] = "4096"
        source(*(f"CREATE TABLE {table.name} ({COLUMNS})" for table in WAYS.values()))
        ends = {way: try_way(way, kind, source, warehouse, kills, seed) for way in WAYS}
        staging = fork(lambda: [left(warehouse, table) for table in WAYS.values()])
        assert not any(staging), f"rows are left in staging: {staging}"
    print(json.dumps(ends))


def left(warehouse: Store, table: Table) -> int:
    """Return the number of rows that a load has left in the staging table."""
    if table.name not in warehouse.tables("raw_staging"):
        return 0
    return int(warehouse(f"SELECT count(*) FROM raw_staging.{table.name}")[0][0])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
