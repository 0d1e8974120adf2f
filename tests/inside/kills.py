"""Kill ingestions with SIGKILL at seeded points, run them again, compare with a clean run.

Runs inside a generated project: `python kills.py WAREHOUSE COUNT SEED`. Each attempt is a fork
of one process that has imported everything and opened nothing. Half of the kills hit an exact
event (the n-th call or return of a function, Python's or C's), the other half a random moment,
which may be inside a call: in the middle of a commit, say. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, "tests")

import databases
from my_data_project.common import locks, merge, staging, state
from my_data_project.common.table import Table

TABLES = {
    "incremental": Table(name="orders", key=("id",), mode="incremental", cursor="changed"),
    "full": Table(name="prices", key=("id", "part")),
}
BATCH = 40
"""Small, so that a load has several batches."""


def ingest(source: str, warehouse: str, table: Table) -> None:
    """Do what `tasks.ingestion.ingest_table` does, without Prefect."""
    state.prepare(warehouse)
    with locks.table_lock(warehouse, table.name, 30):
        try:
            extraction = staging.extract(source, warehouse, table, batch_size=BATCH)
            merge.publish(warehouse, table, extraction)
        except BaseException:
            staging.discard(warehouse, table)
            raise


def fork(work: Callable[[], Any], kill_after: float | None = None) -> Any:
    """Do the work in a child and return its result; None if it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            result = work()
        except BaseException as error:
            result = error
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(result, pipe)
        os._exit(0)
    os.close(writing)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading, "rb") as pipe:
        sent = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return None
    result = pickle.loads(sent)
    if isinstance(result, BaseException):
        raise result
    return result


def counted(work: Callable[[], Any], stop_at: int | None) -> Callable[[], int]:
    """Return work that counts its calls and returns, and kills itself at one of them."""

    def run() -> int:
        count = 0

        def profile(_frame: object, _event: str, _argument: object) -> None:
            nonlocal count
            count += 1
            if count == stop_at:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(profile)
        try:
            work()
        finally:
            sys.setprofile(None)
        return count

    return run


def snapshot(database: Any, name: str) -> tuple[Any, ...]:
    """Return the rows of a table and its state, or that there is none."""
    names = database.tables()
    rows = tuple(database.rows(name)) if name in names else None
    known: tuple[Any, ...] = ()
    if "_ingestion_state" in names:
        query = "SELECT watermark FROM _ingestion_state WHERE table_name = ?"
        known = tuple(database(query, name))
    return rows, known


def change(database: Any, table: Table, dice: random.Random) -> None:
    """Add, change and (full) delete some rows of the source."""
    highest = (database(f"SELECT MAX(id) FROM {table.name}") or [0])[0] or 0
    # Never falls: a cursor that did would lose rows in a clean run too.
    newest = str(datetime(2013, 1, 1) + timedelta(seconds=highest))
    rows = [
        (highest + number, "ab"[number % 2], newest, f"{dice.random():.6f}", None)
        for number in range(1, dice.randint(60, 160))
    ]
    values = ", ".join(
        f"({a}, '{b}', '{c}', {d}, {'NULL' if dice.random() < 0.3 else repr('ä ' + b)})"
        for a, b, c, d, _ in rows
    )
    database(f"INSERT INTO {table.name} VALUES {values}")
    some = f"id % 7 = {dice.randint(0, 6)}"
    database(
        f"UPDATE {table.name} SET amount = {dice.random():.6f}, changed = '{newest}' WHERE {some}"
    )
    if table.mode == "full":
        database(f"DELETE FROM {table.name} WHERE id % 11 = {dice.randint(0, 10)}")


def comparable(rows: Any) -> Any:
    """Return rows so that databases with other types compare."""
    return sorted(
        tuple(
            f"{float(value):.6f}" if index == 3 else str(value).removesuffix(".000000")
            for index, value in enumerate(row)
        )
        for row in rows or ()
    )


def main(kind: str, attempts: int, seed: int) -> None:
    dice = random.Random(f"{kind} {seed}")
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    ends: Counter[str] = Counter()
    kinds = ["sqlite", kind] if kind != "sqlite" else ["sqlite"]
    # Made in this process, so that a server of the tests lives as long as it; nothing stays open.
    sources = {one: databases.create(one, folder / f"source-{one}.db") for one in kinds}
    for one, source in sources.items():
        moment = "DATETIME" if one == "sqlite" else "TIMESTAMP"
        for table in TABLES.values():
            columns = f"id INTEGER, part TEXT, changed {moment}, amount DOUBLE PRECISION, note TEXT"
            fork(lambda: source(f"CREATE TABLE {table.name} ({columns})"))
    warehouses: dict[str, Any] = {}
    done = 0
    while done < attempts:
        one = dice.choice(kinds)
        source, table = sources[one], TABLES[dice.choice(list(TABLES))]
        if one not in warehouses or dice.random() < 0.15:
            path = folder / f"warehouse-{one}-{done}.db"
            warehouses[one] = databases.create(kind, path)
        warehouse = warehouses[one]
        fork(lambda: change(source, table, dice))
        dice.random()  # the child's throws are not seen here
        before = fork(lambda: snapshot(warehouse, table.name))
        wanted = comparable(fork(lambda: source.rows(table.name)))
        spare = fork_copy(kind, warehouse, folder / "spare.db")
        work = lambda: ingest(source.url, warehouse.url, table)
        # A clean run on a copy tells what should come out, in how many events and seconds.
        clean = lambda: ingest(source.url, spare.url, table)
        start = time.perf_counter()
        events = fork(counted(clean, None))
        seconds = time.perf_counter() - start
        after = fork(lambda: snapshot(spare, table.name))
        assert comparable(after[0]) == wanted, "the clean run itself is wrong"
        if done % 2:
            # Most events belong to reading; publishing at the end deserves as many kills.
            first = 1 if done % 4 == 1 else events - events // 5
            fork(counted(work, dice.randint(first, events)))
        else:
            fork(work, kill_after=dice.uniform(0, seconds * 0.8))
        found = fork(lambda: snapshot(warehouse, table.name))
        if found == before:
            ends["before"] += 1
        elif found == after:
            ends["after"] += 1
        else:
            raise AssertionError(f"attempt {done}: a kill left half a load: {found[1]} {before[1]}")
        fork(work)
        again = fork(lambda: snapshot(warehouse, table.name))
        assert again == after, f"attempt {done}: not as after a clean run: {again[1]} {after[1]}"
        left = [name for name in fork(warehouse.tables) if name.startswith(("_staging", "_key"))]
        assert not left, f"attempt {done}: {left}"
        done += 1
    print(json.dumps({"kills": done, **ends}))


def fork_copy(kind: str, warehouse: Any, path: Path) -> Any:
    """Copy a warehouse, so that a clean run can be compared with one that was killed."""
    if kind == "postgres":
        import postgres_server

        copy = databases.Database.__new__(databases.KINDS[kind])
        copy.url = postgres_server.create_database(warehouse.url)
        return copy
    for suffix in ("", "-wal", "-shm", ".wal"):
        target = path.with_name(path.name + suffix)
        target.unlink(missing_ok=True)
        part = warehouse.path.with_name(warehouse.path.name + suffix)
        if part.exists():
            target.write_bytes(part.read_bytes())
    return databases.KINDS[kind](path)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
