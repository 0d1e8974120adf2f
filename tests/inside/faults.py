"""Faults other than a kill. Runs inside a generated project: `python faults.py NAME WORDS...`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, "tests")

import databases
import kills
from my_data_project.common import errors
from my_data_project.common.table import Table

WAREHOUSE = "MY_DATA_PROJECT_WAREHOUSE_URL"


def fill(source: Any, name: str, rows: int) -> None:
    source(f"CREATE TABLE {name} (id INTEGER, changed DATETIME, note TEXT)")
    source(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
        f" INSERT INTO {name} SELECT i, datetime('2013-01-01', '+' || i || ' hours'),"
        " 'row ' || i FROM n"
    )


def start(work: Callable[[], None]) -> int:
    """Do the work in a process of its own; it ends with 1 if that fails."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
        os._exit(0)
    return child


def together(kind: str) -> None:
    """Ingest one table five times at once, then five tables at once, in processes."""
    folder = Path(tempfile.mkdtemp(prefix="together-"))
    source = databases.create("sqlite", folder / "source.db")
    warehouse = databases.create(kind, folder / "warehouse.db")
    names = [f"t{number}" for number in range(5)]
    for name in names:
        fill(source, name, 500)
    tables = [Table(name=name, key=("id",), mode="incremental", cursor="changed") for name in names]
    for batch in ([tables[0]] * 5, tables):
        children = [
            start(lambda table=table: kills.ingest(source.url, warehouse.url, table))  # type: ignore[misc]
            for table in batch
        ]
        assert all(os.waitpid(child, 0)[1] == 0 for child in children)

    def check() -> None:
        for name in names:
            assert warehouse.count(name) == 500, name
            assert warehouse(f"SELECT COUNT(DISTINCT id) FROM {name}") == [500]
        left = [name for name in warehouse.tables() if name.startswith("_staging")]
        assert not left, left
        assert warehouse.count("_ingestion_state") == 5

    kills.fork(check)
    print("together: fine")


def on_disk(kind: str, folder: Path) -> Any:
    """Make a warehouse in a folder; PostgreSQL keeps its log of changes elsewhere."""
    warehouse = databases.KINDS[kind](folder / "warehouse.db")
    if kind == "postgres":
        import psycopg
        from psycopg import sql

        space = folder / "tables"
        space.mkdir()
        shutil.chown(space, "postgres")
        name = psycopg.conninfo.conninfo_to_dict(warehouse.url)["dbname"]
        with psycopg.connect(os.environ["TEST_POSTGRES_URL"], autocommit=True) as server:
            make = sql.SQL("CREATE TABLESPACE small_disk LOCATION {}")
            server.execute(make.format(sql.Literal(str(space))))
            move = sql.SQL("ALTER DATABASE {} SET TABLESPACE small_disk")
            server.execute(move.format(sql.Identifier(name)))
    return warehouse


def drop(warehouse: Any) -> None:
    """Let go of the disk."""
    import psycopg
    from psycopg import sql

    name = psycopg.conninfo.conninfo_to_dict(warehouse.url)["dbname"]
    with psycopg.connect(os.environ["TEST_POSTGRES_URL"], autocommit=True) as server:
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        server.execute("DROP TABLESPACE small_disk")


def full_disk(kind: str, folder: str) -> None:
    """Fill the disk of the warehouse in the middle of a load; make room and load again."""
    source = databases.create("sqlite", Path(tempfile.mkdtemp()) / "source.db")
    fill(source, "small", 10)
    fill(source, "large", 120_000)
    warehouse = on_disk(kind, Path(folder))
    large = Table(name="large", key=("id",))
    kills.fork(lambda: kills.ingest(source.url, warehouse.url, Table(name="small", key=("id",))))
    ballast = Path(folder) / "ballast"
    free = shutil.disk_usage(folder).free
    ballast.write_bytes(b"\0" * (free - 900_000))
    kills.BATCH = 5000
    try:
        kills.fork(lambda: kills.ingest(source.url, warehouse.url, large))
    except errors.PermanentError as error:
        print(f"PermanentError: {error}")
    else:
        raise AssertionError("the disk was large enough")
    ballast.unlink()
    assert kills.fork(lambda: warehouse.count("small")) == 10
    kills.fork(lambda: kills.ingest(source.url, warehouse.url, large))
    assert kills.fork(lambda: warehouse.count("large")) == 120_000
    left = [name for name in kills.fork(warehouse.tables) if name.startswith("_staging")]
    assert not left, left
    if kind == "postgres":
        drop(warehouse)
    print("full disk: fine")


def interrupted(way: str, *words: str) -> None:
    """Cut the connections, or restart the server, while a flow run writes its second batch."""
    import psycopg
    from my_data_project.common import pg_rows
    from my_data_project.flows import ingestion_flow

    url = os.environ[WAREHOUSE]
    insert, calls = pg_rows.insert, [0]

    def fail(*given: Any) -> int:
        calls[0] += 1
        done = insert(*given)
        if calls[0] == 2:
            if way == "restart":
                subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            else:
                with psycopg.connect(url, autocommit=True) as connection:
                    connection.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
        return done

    pg_rows.insert = fail
    result = ingestion_flow.FLOWS["flights"](return_state=True)
    print(f"{result.name}: {result.message or ''} calls {calls[0]}")
    with psycopg.connect(url) as connection:
        print(
            connection.execute(
                "SELECT COUNT(*), COUNT(DISTINCT (time_hour, carrier, flight)) FROM flights"
            ).fetchone()
        )


if __name__ == "__main__":
    {"together": together, "full_disk": full_disk, "interrupted": interrupted}[sys.argv[1]](
        *sys.argv[2:]
    )
