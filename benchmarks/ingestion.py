"""Compare the ingestion of a generated pipeline with plain dlt, and with bare drivers.

    uv run benchmarks/ingestion.py [--rows 300000] [--times 5]

Renders a pipeline into a temporary folder and runs this file with its Python. Each side copies
the same random flights, first into an empty warehouse, then again with nothing new:

- `ours` does the same as the flow of a table, without Prefect: incremental by a key and a cursor.
- `dlt` follows its documentation: `sql_database` with the backend `pyarrow`, merged by the key,
  with the cursor; into PostgreSQL as Parquet by ADBC. Nothing is checked or locked.
- `bare` reads with the fastest driver and writes into a new table. It stages, merges and remembers
  nothing, so it has no second run.

Each measurement runs in its own process, for its peak of memory; the sides alternate. Prints
medians and the spread of the CPU ratios. Asserts nothing. Without a server, PostgreSQL is left out.
"""

from __future__ import annotations

import argparse
import json
import os
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
NAMES = [name for name, _ in COLUMNS]
DECLARED = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS)
PAIRS = (("sqlite", "duckdb"), ("postgresql", "duckdb"), ("postgresql", "postgresql"))
SIDES = ("bare", "dlt", "ours")
GENERATED = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
SELECT i, 'C' || (i % 16), CASE WHEN i % 50 = 0 THEN NULL ELSE 'N' || (i % 4000) END,
       CASE WHEN i % 40 = 0 THEN NULL ELSE i % 300 - 20 END, i % 5000, i * 0.37,
       'JFK', datetime('2013-01-01', '+' || (i / 40) || ' minutes') FROM n
"""


# -- Inside the generated project ------------------------------------------------------


def make_source(kind: str, url: str, rows: int) -> None:
    """Fill a source with random flights."""
    sqlite = sqlite3.connect(url.removeprefix("sqlite:///") if kind == "sqlite" else ":memory:")
    sqlite.execute(f"CREATE TABLE flights ({DECLARED})")
    sqlite.execute(f"INSERT INTO flights {GENERATED.format(rows=rows)}")
    sqlite.commit()
    if kind == "postgresql":
        import io

        import psycopg2

        text = "\n".join(
            "\t".join("\\N" if value is None else str(value) for value in row)
            for row in sqlite.execute("SELECT * FROM flights")
        )
        with psycopg2.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE flights ({DECLARED})")
            cursor.copy_expert("COPY flights FROM STDIN", io.StringIO(text))
        connection.close()
    sqlite.close()


def bare(pair: tuple[str, str], source: str, target: str) -> None:
    """Copy with the drivers only."""
    import duckdb
    import pyarrow as pa

    path = target.removeprefix("duckdb:///")
    match pair:
        case "sqlite", "duckdb":
            cursor = sqlite3.connect(source.removeprefix("sqlite:///")).execute(
                f"SELECT {', '.join(NAMES)} FROM flights"
            )
            with duckdb.connect(path) as connection:
                connection.execute(f"CREATE TABLE flights ({DECLARED})")
                connection.begin()
                while rows := cursor.fetchmany(BATCH):
                    arrays = [pa.array(values) for values in zip(*rows, strict=True)]
                    batch = pa.table(arrays, names=NAMES)
                    connection.register("batch", batch)
                    connection.execute("INSERT INTO flights SELECT * FROM batch")
                    connection.unregister("batch")
                connection.commit()
        case "postgresql", "duckdb":
            from adbc_driver_postgresql import dbapi

            with (
                dbapi.connect(source) as read,
                read.cursor() as cursor,
                duckdb.connect(path) as connection,
            ):
                cursor.execute("SELECT * FROM flights")
                connection.register("batches", cursor.fetch_record_batch())
                connection.execute("CREATE TABLE flights AS SELECT * FROM batches")
        case _:
            import io

            import psycopg2

            buffer = io.BytesIO()
            with psycopg2.connect(source) as read, read.cursor() as cursor:
                cursor.copy_expert("COPY flights TO STDOUT (FORMAT BINARY)", buffer)
            buffer.seek(0)
            with psycopg2.connect(target) as write, write.cursor() as cursor:
                cursor.execute(f"CREATE TABLE flights ({DECLARED})")
                cursor.copy_expert("COPY flights FROM STDIN (FORMAT BINARY)", buffer)


def plain_dlt(pair: tuple[str, str], source: str, target: str) -> None:
    """Copy as in dlt's documentation."""
    import dlt
    from dlt.sources.sql_database import sql_table

    url = source.replace("postgresql://", "postgresql+psycopg2://")
    table = sql_table(
        url,
        "flights",
        incremental=dlt.sources.incremental("time_hour", primary_key=()),
        backend="pyarrow",
        chunk_size=BATCH,
    )
    table.apply_hints(primary_key="id", write_disposition="merge")
    if pair[1] == "duckdb":
        destination: Any = dlt.destinations.duckdb(target.removeprefix("duckdb:///"))
    else:
        destination = dlt.destinations.postgres(with_host(target))
    with tempfile.TemporaryDirectory() as folder:
        made = dlt.pipeline(
            "plain", pipelines_dir=folder, destination=destination, dataset_name="raw"
        )
        made.run(table, loader_file_format="parquet")


def with_host(url: str) -> dict[str, Any]:
    """Return dlt's credentials for a server on a socket."""
    import sqlalchemy as sa

    parsed = sa.make_url(url)
    return {
        "drivername": "postgresql",
        "host": parsed.host or "localhost",
        "port": parsed.port or 5432,
        "username": parsed.username,
        "password": "",
        "database": parsed.database,
        "query": dict(parsed.query),
    }


def ours(source: str, target: str) -> None:
    """Copy as a generated pipeline does."""
    os.environ["MY_DATA_PROJECT_SOURCE_URL"] = source
    os.environ["MY_DATA_PROJECT_WAREHOUSE_URL"] = target
    from my_data_project.common import extraction, loading
    from my_data_project.common.table import Table

    table = Table(name="flights", key=("id",), mode="incremental", cursor="time_hour")
    with tempfile.TemporaryDirectory() as folder:
        receipt = loading.read_receipts().get("flights")
        loading.load(extraction.extract(table, Path(folder), receipt=receipt))


def measure(side: str, pair: tuple[str, str], source: str, target: str) -> None:
    """Copy once in this process; print wall time, CPU time, and peak memory in MiB."""
    # Imported before the measurement.
    import adbc_driver_postgresql.dbapi  # noqa: F401
    import dlt.destinations.impl.duckdb.duck
    import dlt.destinations.impl.postgres.postgres
    import dlt.sources.sql_database  # noqa: F401
    import duckdb  # noqa: F401
    import pyarrow.dataset  # noqa: F401
    from my_data_project.common import extraction, loading  # noqa: F401

    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    start = time.perf_counter(), time.process_time()
    if side == "bare":
        bare(pair, source, target)
    elif side == "dlt":
        plain_dlt(pair, source, target)
    else:
        ours(source, target)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([time.perf_counter() - start[0], time.process_time() - start[1], used]))


def compare(rows: int, times: int, folder: Path) -> None:
    """Measure every pair and print a table."""
    import postgres_server

    os.environ.setdefault("TEST_POSTGRES_URL", postgres_server.url())
    print("| pair | run | CPU s: bare | dlt | ours | ours/dlt | bare/ours | rows/s ours | MiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for pair in PAIRS:
        if "postgresql" in pair and (missing := postgres_server.missing()):
            print(f"| {pair[0]} to {pair[1]} | {missing} |")
            continue
        line(pair, rows, times, folder)


def line(pair: tuple[str, str], rows: int, times: int, folder: Path) -> None:
    """Measure one pair: a first run and one with nothing new."""
    import postgres_server

    def new(kind: str, name: str) -> str:
        if kind == "postgresql":
            return str(postgres_server.create_database())
        return f"{kind}:///{folder / f'{name}-{time.time_ns()}.db'}"

    source = new(pair[0], "source")
    make_source(pair[0], source, rows)
    found: dict[tuple[str, str], list[list[float]]] = {}
    for _ in range(times):
        for side in SIDES:
            target = new(pair[1], side)
            for run in ("first",) if side == "bare" else ("first", "again"):
                words = [sys.executable, __file__, "--measure", side, *pair, source, target]
                done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
                result = json.loads(done.stdout.splitlines()[-1])
                found.setdefault((side, run), []).append(result)
    for run in ("first", "again"):
        tell(pair, run, rows, found)


def tell(
    pair: tuple[str, str], run: str, rows: int, found: dict[tuple[str, str], list[list[float]]]
) -> None:
    """Print the medians for one run of a pair, and the spread of the ratios."""

    def ratio(over: str, under: str) -> str:
        if (over, run) not in found or (under, run) not in found:
            return "-"
        pairs = zip(found[over, run], found[under, run], strict=True)
        values = [above[1] / below[1] for above, below in pairs]
        return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"

    def middle(side: str, index: int) -> float:
        return statistics.median(one[index] for one in found[side, run])

    cpu = [f"{middle(side, 1):.2f}" if (side, run) in found else "-" for side in SIDES]
    mine = found["ours", run]
    print(
        f"| {pair[0]} to {pair[1]} | {run} | {' | '.join(cpu)} | {ratio('ours', 'dlt')} |"
        f" {ratio('bare', 'ours')} | {rows / middle('ours', 0):,.0f} |"
        f" {statistics.median(one[2] for one in mine):.0f} |",
        flush=True,
    )


# -- Outside of the project -------------------------------------------------------------


def main() -> None:
    """Render a project and run the measurements in it."""
    parser = argparse.ArgumentParser(description="Ingestion against dlt and the bare drivers.")
    parser.add_argument("--rows", type=int, default=300_000)
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
        sys.path[:0] = [str(root / "tests"), str(root / "template" / "tests")]
        import projects

        template = projects.copy_content(Path(folder) / "copier-prefect")
        answers = {"extras": ["postgres"]}
        project = projects.render(template, Path(folder) / "project", answers)
        projects.run("git", "init", "-q", cwd=project)
        projects.run("uv", "sync", "-q", "--compile-bytecode", cwd=project)
        python = project / ".venv" / "bin" / "python"
        words = [python, __file__, "--rows", str(chosen.rows), "--times", str(chosen.times)]
        subprocess.run([*words, "--inside", project], check=True)


if __name__ == "__main__":
    main()
