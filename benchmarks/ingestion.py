"""Compare the ingestion of a generated pipeline with the bare drivers doing the same copy.

    uv run benchmarks/ingestion.py [--rows 100000] [--times 5]

Renders a pipeline with all extras into a temporary folder and runs this file with its Python.
The bare driver reads, writes into a new table and makes its key unique: nothing is staged,
checked or remembered. DuckDB has no key there, as in the product. Every measurement is a
process of its own, so that its peak of memory is its own; the sides take turns. Prints the
median and the spread of the ratio, rows a second and the peak, for the given rows and ten times
as many. Says how it is; asserts nothing. PostgreSQL is left out where there is no server.
"""

from __future__ import annotations

import argparse
import json
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BATCH = 20_000
COLUMNS = (
    ("id", "BIGINT"),
    ("carrier", "TEXT"),
    ("tailnum", "TEXT"),
    ("dep_delay", "INTEGER"),
    ("distance", "INTEGER"),
    ("temperature", "DOUBLE PRECISION"),
    ("origin", "TEXT"),
    ("time_hour", "TIMESTAMP"),
)
NAMES = ", ".join(name for name, _ in COLUMNS)
MARKS = ", ".join("?" for _ in COLUMNS)
PAIRS = (
    ("sqlite", "sqlite"),
    ("sqlite", "postgres"),
    ("postgres", "postgres"),
    ("sqlite", "duckdb"),
    ("duckdb", "duckdb"),
)
GENERATED = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
SELECT i, 'C' || (i % 16), CASE WHEN i % 50 = 0 THEN NULL ELSE 'N' || (i % 4000) END,
       CASE WHEN i % 40 = 0 THEN NULL ELSE i % 300 - 20 END, i % 5000, i * 0.37,
       'JFK', datetime('2013-01-01', '+' || (i / 40) || ' minutes') || '.000000' FROM n
"""


# -- Inside the generated project ------------------------------------------------------


def make_source(kind: str, url: str, rows: int) -> None:
    """Fill a source with made-up flights."""
    sqlite = sqlite3.connect(url.removeprefix("sqlite:///") if kind == "sqlite" else ":memory:")
    declared = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS)
    sqlite.execute(f"CREATE TABLE flights ({declared})")
    sqlite.execute(f"INSERT INTO flights {GENERATED.format(rows=rows)}")
    sqlite.commit()
    cursor = sqlite.execute("SELECT * FROM flights")
    if kind == "postgres":
        import psycopg

        with psycopg.connect(url) as connection:
            connection.execute(f"CREATE TABLE flights ({declared})")
            with connection.cursor().copy("COPY flights FROM STDIN") as copy:
                for row in cursor:
                    copy.write_row(row)
    if kind == "duckdb":
        raw_duckdb_insert(url, declared, iter(lambda: cursor.fetchmany(BATCH), []))


def raw_duckdb_insert(url: str, declared: str, batches: Any) -> None:
    """Append batches of rows as Arrow tables."""
    import duckdb
    import pyarrow as pa

    names = [name for name, _ in COLUMNS]
    with duckdb.connect(url.removeprefix("duckdb:///")) as connection:
        connection.execute(f"CREATE TABLE flights ({declared})")
        connection.begin()
        for rows in batches:
            arrays = [pa.array(values) for values in zip(*rows, strict=True)]
            connection.register("b", pa.table(arrays, names=names))
            connection.execute("INSERT INTO flights SELECT * FROM b")
            connection.unregister("b")
        connection.commit()


def raw(pair: tuple[str, str], source: str, target: str) -> None:
    """Copy with the drivers alone."""
    declared = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS)
    path = source.removeprefix("sqlite:///")
    match pair:
        case "sqlite", "sqlite":
            read = sqlite3.connect(path)
            write = sqlite3.connect(target.removeprefix("sqlite:///"))
            write.execute("PRAGMA journal_mode = WAL")
            write.execute("PRAGMA synchronous = NORMAL")
            write.execute(f"CREATE TABLE flights ({declared})")
            cursor = read.execute(f"SELECT {NAMES} FROM flights")
            while rows := cursor.fetchmany(BATCH):
                write.executemany(f"INSERT INTO flights VALUES ({MARKS})", rows)
            write.execute("CREATE UNIQUE INDEX key ON flights (id)")
            write.commit()
            write.close()
        case "sqlite", "postgres":
            import psycopg

            cursor = sqlite3.connect(path).execute(f"SELECT {NAMES} FROM flights")
            with psycopg.connect(target) as connection:
                connection.execute(f"CREATE TABLE flights ({declared})")
                with connection.cursor().copy("COPY flights FROM STDIN") as copy:
                    while rows := cursor.fetchmany(BATCH):
                        for row in rows:
                            copy.write_row(row)
                connection.execute("CREATE UNIQUE INDEX key ON flights (id)")
        case "postgres", "postgres":
            import psycopg

            with psycopg.connect(source) as read, psycopg.connect(target) as write:
                write.execute(f"CREATE TABLE flights ({declared})")
                with (
                    read.cursor().copy("COPY flights TO STDOUT (FORMAT BINARY)") as blocks,
                    write.cursor().copy("COPY flights FROM STDIN (FORMAT BINARY)") as copy,
                ):
                    for block in blocks:
                        copy.write(block)
                write.execute("CREATE UNIQUE INDEX key ON flights (id)")
        case "sqlite", "duckdb":
            cursor = sqlite3.connect(path).execute(f"SELECT {NAMES} FROM flights")
            raw_duckdb_insert(target, declared, iter(lambda: cursor.fetchmany(BATCH), []))
        case "duckdb", "duckdb":
            import duckdb

            read = duckdb.connect(source.removeprefix("duckdb:///"), read_only=True)
            with duckdb.connect(target.removeprefix("duckdb:///")) as write:
                write.execute(f"CREATE TABLE flights ({declared})")
                write.begin()
                for batch in read.sql("SELECT * FROM flights").to_arrow_reader(BATCH):
                    import pyarrow as pa

                    write.register("b", pa.Table.from_batches([batch]))
                    write.execute("INSERT INTO flights SELECT * FROM b")
                    write.unregister("b")
                write.commit()


def product(source: str, target: str) -> None:
    """Copy as a generated pipeline does."""
    from my_data_project.common import locks, merge, staging, state
    from my_data_project.common.table import Table

    table = Table(name="flights", key=("id",), mode="incremental", cursor="time_hour")
    state.prepare(target)
    with locks.table_lock(target, "flights", 10):
        extraction = staging.extract(source, target, table, batch_size=BATCH)
        merge.publish(target, table, extraction)


def measure(side: str, pair: tuple[str, str], source: str, target: str) -> None:
    """Copy once in this process; print seconds of wall and of CPU, and the peak in MiB."""
    import duckdb  # noqa: F401 - imports are not what is measured
    import psycopg  # noqa: F401
    import pyarrow  # noqa: F401
    from my_data_project.common import merge  # noqa: F401

    start = time.perf_counter(), time.process_time()
    if side == "raw":
        raw(pair, source, target)
    else:
        product(source, target)
    print(
        json.dumps(
            [
                time.perf_counter() - start[0],
                time.process_time() - start[1],
                resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            ]
        )
    )


def compare(rows: int, times: int, folder: Path) -> None:
    """Measure every pair and print a table."""
    import postgres_server

    print("| pair | rows | product/raw (median, spread) | rows/s product | rows/s raw |", end="")
    print(" CPU product/raw | peak MiB product | peak MiB raw |")
    print("|---|---|---|---|---|---|---|---|")
    for pair in PAIRS:
        if "postgres" in pair and (missing := postgres_server.missing()):
            print(f"| {pair[0]} to {pair[1]} | {missing} |")
            continue
        for count in (rows, rows * 10):
            line(pair, count, times, folder)


def line(pair: tuple[str, str], rows: int, times: int, folder: Path) -> None:
    """Measure one pair with so many rows."""

    def new(kind: str, name: str) -> str:
        import postgres_server

        if kind == "postgres":
            return postgres_server.create_database()
        return f"{kind}:///{folder / name}"

    source = new(pair[0], f"source-{pair[0]}-{rows}-{time.time_ns()}.db")
    make_source(pair[0], source, rows)
    found: dict[str, list[list[float]]] = {"raw": [], "product": []}
    for attempt in range(times):
        for side, results in found.items():
            target = new(pair[1], f"{side}-{attempt}-{time.time_ns()}.db")
            words = [sys.executable, __file__, "--measure", side, *pair, source, target]
            done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
            results.append(json.loads(done.stdout))
            for path in folder.glob(f"{side}-*"):
                path.unlink()
    ratios = [slow[0] / fast[0] for slow, fast in zip(found["raw"], found["product"], strict=True)]
    middle = {
        side: [statistics.median(column) for column in zip(*results, strict=True)]
        for side, results in found.items()
    }
    mine, bare = middle["product"], middle["raw"]
    print(
        f"| {pair[0]} to {pair[1]} | {rows:,} | {statistics.median(ratios):.2f}"
        f" ({min(ratios):.2f} to {max(ratios):.2f}) | {rows / mine[0]:,.0f} |"
        f" {rows / bare[0]:,.0f} | {bare[1] / mine[1]:.2f} | {mine[2]:.0f} | {bare[2]:.0f} |",
        flush=True,
    )


# -- Outside of it ---------------------------------------------------------------------


def main() -> None:
    """Render a project and measure in it."""
    parser = argparse.ArgumentParser(description="Ingestion against the bare drivers.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        side, first, second, source, target = chosen.measure
        measure(side, (first, second), source, target)
        return
    with tempfile.TemporaryDirectory(prefix="ingestion-") as folder:
        if chosen.inside:
            sys.path.insert(0, str(chosen.inside / "tests"))
            compare(chosen.rows, chosen.times, Path(folder))
            return
        root = Path(__file__).parents[1]
        sys.path.insert(0, str(root / "tests"))
        import projects

        template = projects.copy_content(Path(folder) / "copier-prefect")
        project = projects.render(template, Path(folder) / "project", projects.EVERYTHING)
        projects.run("git", "init", "-q", cwd=project)
        projects.run("uv", "sync", "-q", cwd=project)
        python = project / ".venv" / "bin" / "python"
        words = [python, __file__, "--rows", str(chosen.rows), "--times", str(chosen.times)]
        subprocess.run([*words, "--inside", project], check=True)


if __name__ == "__main__":
    main()
