"""Save blocks, load them in a flow, and write a summary of the records back to the system.

Run it with `uv run python examples/report_penguins.py`. The system is a small local server, so
this works offline.
"""

from __future__ import annotations

import csv
import statistics
import tempfile
from pathlib import Path
from typing import Any, cast

import _system
from prefect import flow, task

from prefect_my_system import blocks, tasks

Client = blocks.MySystemClient
NAME = "demo"


@task
def summarize(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each species the number of weighed penguins and their mean body mass in grams."""
    masses: dict[str, list[float]] = {}
    for record in records:
        if record["Body Mass (g)"]:
            masses.setdefault(record["Species"], []).append(float(record["Body Mass (g)"]))
    return [
        {"species": species, "weighed": len(values), "mean_grams": round(statistics.mean(values))}
        for species, values in sorted(masses.items())
    ]


@flow
def report_penguins(folder: Path) -> list[dict[str, Any]]:
    """Upload a summary of the penguins as a file, and create a record about it."""
    # The type is a block or a coroutine; in synchronous code it is the block.
    client = cast("Client", Client.load(NAME))
    summary = summarize(tasks.fetch_records(client, "penguins"))
    file = folder / "summary.csv"
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, fieldnames=summary[0])
        writer.writeheader()
        writer.writerows(summary)
    tasks.upload_file(client, "files/summary.csv", file)
    tasks.create_record(client, "reports", {"file": "files/summary.csv"})
    return summary


if __name__ == "__main__":
    with (
        _system.running(penguins=_system.penguins()) as system,
        tempfile.TemporaryDirectory() as name,
    ):
        credentials = system.credentials
        credentials.save(NAME, overwrite=True)
        Client(credentials=credentials).save(NAME, overwrite=True)
        summary = report_penguins(Path(name))
    print(f"{'species':45} {'weighed':>7} {'mean, g':>7}")
    for row in summary:
        print(f"{row['species']:45} {row['weighed']:7} {row['mean_grams']:7,}")
    [report] = system.collections["reports"]
    print(f"{report['file']}: {len(system.files[report['file']])} bytes")
