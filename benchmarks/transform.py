"""Compare `transform_data` of a library with `pandas.read_csv` with the same types.

    uv run benchmarks/transform.py [--times 5] [--rows 1000000]

Renders a library, and reads a CSV file of numbers, texts and times in one process, so that imports
do not count; then a file with a bad value in the middle, where `read_csv` would fail.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import measure

CODE = """
import csv, json, logging, random, sys, time
import pandas as pd
import pandera.pandas as pa
from my_task_library.data import transform_data

logging.disable()
rows, times = map(int, sys.argv[1:])
for name in ("good", "bad"):
    random.seed(0)
    with open(f"{name}.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "name", "price", "made", "sold"])
        for number in range(rows):
            key = "12.5" if (name, number) == ("bad", rows // 2) else 2**60 + 1 + number
            day = f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}"
            text = f"article {number % 1000}, new" if number % 10 else ""
            table.writerow([key, text, random.random(), day, number % 2])
types = {"id": "int64", "name": "string", "price": "float64", "sold": "int64"}
columns = {
    "id": pa.Column(int, unique=True),
    "name": pa.Column("string", nullable=True),
    "price": pa.Column(float, pa.Check.ge(0)),
    "made": pa.Column("datetime64[ns]"),
    "sold": pa.Column(int, pa.Check.isin([0, 1])),
}
schema = pa.DataFrameSchema(columns, drop_invalid_rows=True)
sides = {
    "read_csv": lambda: len(
        pd.read_csv("good.csv", dtype=types, parse_dates=["made"], date_format="ISO8601")
    ),
    "transform_data": lambda: transform_data.fn("good.csv", schema).kept,
    "transform_data, one bad value": lambda: transform_data.fn("bad.csv", schema).kept + 1,
}
costs = {side: [] for side in sides}
for round_ in range(times + 1):
    for side, read in sides.items():
        cpu, wall = time.process_time(), time.perf_counter()
        assert read() == rows
        if round_:
            costs[side].append((time.process_time() - cpu, time.perf_counter() - wall))
print(json.dumps(costs))
"""


def main() -> None:
    """Measure both readers, in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="rounds that count")
    parser.add_argument("--rows", type=int, default=1_000_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = folder / "library"
        options = ("-q", "--defaults", "-d", "project_kind=library")
        measure.run("copier", "copy", *options, measure.template(folder), project, cwd=folder)
        measure.run("uv", "sync", "-q", cwd=project)
        python = project / ".venv" / "bin" / "python"
        command = [python, "-Wignore", "-c", CODE, str(given.rows), str(given.times)]
        printed = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=True).stdout
        costs = {
            side: [measure.Cost(*pair) for pair in found]
            for side, found in json.loads(printed).items()
        }
        measure.tell(costs, "read_csv")


if __name__ == "__main__":
    main()
