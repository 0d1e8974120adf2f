"""Faults other than a kill. Runs inside a generated project: `python faults.py NAME WORDS...`."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kills
import stores
from my_data_project.common import errors, loading, readers
from my_data_project.common.table import Table
from my_data_project.flows import factory
from my_data_project.tasks import ingestion
from stores import Store, finish, fork, start

SOURCE, WAREHOUSE = f"{kills.PREFIX}SOURCE_URL", f"{kills.PREFIX}WAREHOUSE_URL"
SPACE = f"small_disk_{os.getpid()}"
FOLDER = Path(tempfile.mkdtemp(prefix="faults-"))


def fill(source: Store, name: str, rows: int, width: int = 0) -> Table:
    """Make a table of the source with so many rows, and describe it; texts do not compress."""
    noise = "hex(randomblob(:width / 2))"
    if source.kind == "postgresql":
        noise = "(SELECT string_agg(md5(random()::text), '') FROM generate_series(0, :width / 32))"
    start = "(i * 97) % :width"
    note = f"'row ' || i || substr(noise, {start} + 1) || substr(noise, 1, {start})"
    source(
        f"CREATE TABLE {name} (id INTEGER, changed TIMESTAMP, note TEXT)",
        f"WITH RECURSIVE m AS MATERIALIZED (SELECT {noise} AS noise),"
        f" n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
        f" INSERT INTO {name} SELECT i, '2013-01-01 05:00:00', {note} FROM n, m".replace(
            ":width", str(width or 32)
        ),
    )
    return Table(name=name, key=("id",), mode="incremental", cursor="changed")


def choose(source: Store, warehouse: Store) -> None:
    """Let the settings name these databases."""
    os.environ |= {SOURCE: source.url, WAREHOUSE: warehouse.url}


def count(warehouse: Store, name: str) -> tuple[int, int]:
    """Return how many rows and how many keys a table has."""
    query = f"SELECT count(*), count(DISTINCT id) FROM raw.{name}"
    rows, keys = fork(lambda: warehouse(query))[0]
    return int(rows), int(keys)


def refused(work: Callable[[], Any]) -> str:
    """Do what must fail for good in a child, and return the error."""
    try:
        fork(work)
    except errors.PermanentError as error:
        return f"PermanentError: {error}"
    raise AssertionError("nothing was refused")


def together(kind: str) -> None:
    """Ingest one table five times at once, then five tables, in processes and in threads."""
    source, warehouse = stores.create("sqlite", FOLDER), stores.create(kind, FOLDER)
    choose(source, warehouse)
    kills.unwrap()
    tables = [fill(source, f"t{number}", 500) for number in range(6)]

    def processes(batch: list[Table]) -> None:
        started = [start(lambda table=table: ingestion.ingest_table(table)) for table in batch]
        assert [finish(child).read for child in started] == [500] * len(batch)

    def threads(batch: list[Table]) -> list[int]:
        with ThreadPoolExecutor(len(batch)) as pool:
            return [result.read for result in pool.map(ingestion.ingest_table, batch)]

    # The cursor never moves, so each of them reads all rows again.
    for batch in ([tables[0]] * 5, tables[:5]):
        processes(batch)
    for batch in ([tables[5]] * 2, tables[:5]):
        assert fork(lambda batch=batch: threads(batch)) == [500] * len(batch)
    for table in tables:
        assert count(warehouse, table.name) == (500, 500), table.name
    doubled = (
        "SELECT _dlt_load_id FROM raw._ingestions WHERE mode <> 'reset' GROUP BY 1, table_name"
    )
    assert len(fork(lambda: warehouse(doubled))) == 17
    print("together: fine")


def on_disk(kind: str, folder: Path) -> Store:
    """Make a warehouse in a folder; PostgreSQL keeps its log of changes elsewhere."""
    if kind == "duckdb":
        return stores.create(kind, folder)
    space = folder / "tables"
    space.mkdir()
    shutil.chown(space, "postgres")
    make = f"CREATE TABLESPACE {SPACE} LOCATION '{space}'"
    stores.execute(os.environ[stores.POSTGRES], make)
    return stores.create(kind, folder, f"TABLESPACE {SPACE}")


def drop(warehouse: Store) -> None:
    """Let go of the disk."""
    name = warehouse.url.partition("?")[0].rpartition("/")[2]
    statements = (f"DROP DATABASE {name} (FORCE)", f"DROP TABLESPACE {SPACE}")
    stores.execute(os.environ[stores.POSTGRES], *statements)


def full_disk(what: str, folder: str) -> None:
    """Fill the disk of the warehouse, or of the waiting rows, during a load; make room, repeat."""
    kind = "postgresql" if what == "postgresql" else "duckdb"
    source = stores.create("sqlite", FOLDER)
    small, large = fill(source, "small", 10), fill(source, "large", 60_000, 200)
    warehouse = stores.create(kind, FOLDER) if what == "spool" else on_disk(kind, Path(folder))
    choose(source, warehouse)
    kills.unwrap()
    fork(lambda: ingestion.ingest_table(small))
    ballast = Path(folder) / "ballast"
    with ballast.open("wb") as file:  # in parts, because a server writes meanwhile
        while shutil.disk_usage(folder).free > 900_000:
            file.write(b"\0" * 100_000)
            file.flush()
    if what == "spool":
        tempfile.tempdir = folder
    print(refused(lambda: ingestion.ingest_table(large)))
    assert count(warehouse, "small") == (10, 10)
    ballast.unlink()
    fork(lambda: ingestion.ingest_table(large))
    assert count(warehouse, "large") == (60_000, 60_000)
    if kind == "postgresql":
        drop(warehouse)
    print("full disk: fine")


def interrupted(way: str, *words: str) -> None:
    """Cut connections in the middle of a flow run, or restart the server: it tries again."""
    source, warehouse = stores.create("postgresql", FOLDER), stores.create("postgresql", FOLDER)
    choose(source, warehouse)
    os.environ[f"{kills.PREFIX}BATCH_BYTES"] = "100000"
    table = fill(source, "large", 40_000, 1000)
    faults = [0]

    def fault() -> None:
        faults[0] += 1
        if faults[0] == 1:
            if way == "restart":
                subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            else:
                stores.cut({"source": source, "warehouse": warehouse}[way].url)

    if way == "source":
        read = readers.read

        def reading(*given: Any, **named: Any) -> Iterator[Any]:
            for number, batch in enumerate(read(*given, **named)):
                yield batch
                if number == 0:
                    fault()

        readers.read = reading
    else:
        # The rows are in staging: what comes next is the merge.
        client, merge = kills.Psycopg2SqlClient, kills.Psycopg2SqlClient.execute_query

        def execute(self: Any, query: Any, *given: Any, **named: Any) -> Any:
            if "raw_staging" in str(query) and "INSERT INTO" in str(query):
                fault()
            return merge(self, query, *given, **named)

        client.execute_query = execute
    ingest = factory.create_ingestion_flow(table, module=__name__)
    result = ingest(return_state=True)
    assert faults[0], "nothing was cut"
    print(f"{result.name}: {result.message or ''}")
    print(count(warehouse, "large"))


def encodings(source_options: str, warehouse_options: str) -> None:
    """Copy texts and exact values where databases and roles have settings of their own."""
    source = stores.create("postgresql", FOLDER, source_options)
    warehouse = stores.create("postgresql", FOLDER, warehouse_options)
    for store in (source, warehouse):
        name = store.url.partition("?")[0].rpartition("/")[2]
        for setting in (
            *("extra_float_digits = 0", "datestyle = 'SQL, DMY'", "timezone = 'America/New_York'"),
            *("bytea_output = 'escape'", "intervalstyle = 'iso_8601'"),
            *("standard_conforming_strings = off", "client_encoding = 'LATIN1'"),
        ):
            store(f"ALTER DATABASE {name} SET {setting}")
    source(
        "CREATE TABLE odd (id BIGINT PRIMARY KEY, text TEXT, number FLOAT8, day DATE,"
        " moment TIMESTAMP, instant TIMESTAMPTZ, raw BYTEA, pause INTERVAL)",
        "INSERT INTO odd VALUES (1, 'Grüße, ''ñ'' ' || chr(92), 0.1::float8 + 0.2, '2013-02-01',"
        " '2013-02-01 23:59:59.999999', '2013-07-01 12:00:00+02', decode('005c27ff', 'hex'),"
        " '1 day 02:03:04')",
    )
    choose(source, warehouse)
    kills.unwrap()
    fork(lambda: ingestion.ingest_table(Table(name="odd")))
    exact = (
        "SELECT id, encode(convert_to(text, 'UTF8'), 'hex'), number = 0.1::float8 + 0.2, day = date"
        " '2013-02-01', moment = timestamp '2013-02-01 23:59:59.999999', instant = timestamptz"
        " '2013-07-01 10:00:00Z', encode(raw, 'hex'), pause::interval = '1 day 02:03:04' FROM"
    )
    wanted = source(f"{exact} odd")
    assert wanted[0][2:6] + wanted[0][7:] == (True,) * 5, wanted
    assert warehouse(f"{exact} raw.odd") == wanted, warehouse("SELECT * FROM raw.odd")
    # What the warehouse's encoding has not is refused, and so is what is no text at all.
    bad = ""
    if "LATIN1" in warehouse_options:
        bad = "'🚀'"
    elif "SQL_ASCII" in source_options:
        bad = "convert_from(decode('ff', 'hex'), 'SQL_ASCII')"
    if bad:
        source(f"UPDATE odd SET text = {bad}")
        print(refused(lambda: ingestion.ingest_table(Table(name="odd"))))
        assert warehouse(f"{exact} raw.odd") == wanted, "the published row has gone"
    print("encodings: fine")


def pooled(port: str) -> None:
    """Read and load through PgBouncer, in its transaction mode, and in five processes at once."""
    direct = [stores.create("postgresql", FOLDER) for _ in range(2)]
    user = stores.execute(direct[0].url, "SELECT current_user")[0][0]
    names = [store.url.partition("?")[0].rpartition("/")[2] for store in direct]
    options = "?sslmode=disable&prepare_threshold=0"
    source, warehouse = (
        Store(f"postgresql://{user}@127.0.0.1:{port}/{name}{options}") for name in names
    )
    tables = [fill(direct[0], f"t{number}", 300) for number in range(3)]
    tables.append(Table(name="t0", target="whole"))
    tables.append(Table(name="t0", target="more", mode="append", cursor="changed"))
    choose(source, warehouse)
    kills.unwrap()
    for _ in range(2):
        for table in tables:
            fork(lambda table=table: ingestion.ingest_table(table))
    for table in tables:
        assert count(direct[1], table.target_name) == (300, 300)
    started = [start(lambda: ingestion.ingest_table(tables[0])) for _ in range(4)]
    assert [finish(child).read for child in started] == [300] * len(started)
    assert count(direct[1], "t0") == (300, 300)
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    assert stores.execute(direct[1].url, held) == [(0,)]
    print("pooled: fine")


def wide(source_kind: str, kind: str, rows: str, width: str) -> None:
    """Copy wide rows; print the peaks of memory of reading and loading, beyond a small table's."""
    source, warehouse = stores.create(source_kind, FOLDER), stores.create(kind, FOLDER)
    choose(source, warehouse)
    kills.unwrap()
    small, large = fill(source, "small", 10), fill(source, "large", int(rows), int(width))
    found = fork(lambda: peaks(small, large))
    assert count(warehouse, "large") == (int(rows), int(rows))
    print(json.dumps(found))


def peaks(*tables: Table) -> dict[str, int]:
    """Ingest tables; return how much more memory the last one took than the one before, in MiB.

    Pages of files that are mapped do not count: the system takes them back when it needs them.
    """
    found: dict[str, int] = {}
    step, done = "extract", threading.Event()

    def look() -> None:
        while not done.wait(0.002):
            status = Path("/proc/self/status").read_text()
            used = int(status.partition("RssAnon:")[2].split()[0]) // 1024
            found[step] = max(found.get(step, 0), used)

    load = loading.load

    def loaded(extraction: Any) -> Any:
        nonlocal step
        step = "load"
        return load(extraction)

    loading.load = loaded
    *before, last = tables
    for table in before:
        ingestion.ingest_table(table)
    gc.collect()
    step = "before"
    watching = threading.Thread(target=look)
    watching.start()
    while "before" not in found:
        pass
    step = "extract"
    ingestion.ingest_table(last)
    done.set()
    watching.join()
    return {name: found[name] - found["before"] for name in ("extract", "load")}


if __name__ == "__main__":
    try:
        globals()[sys.argv[1]](*sys.argv[2:])
    finally:
        shutil.rmtree(FOLDER)
