"""Clean and type a table by a schema.

Run it with `uv run python examples/tidy_penguins.py`, after `download_penguins.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandera.pandas as pa
from prefect import flow

from my_task_library import data

if TYPE_CHECKING:
    import pandas as pd


def enough(table: pd.DataFrame) -> bool:
    """Check that enough rows are left to learn from."""
    return len(table) >= 300


PENGUINS = pa.DataFrameSchema(
    {
        "Species": pa.Column(str),
        "Individual ID": pa.Column(str),
        "Date Egg": pa.Column("datetime64[ns]"),
        "Culmen Length (mm)": pa.Column(float, pa.Check.gt(0)),
        "Culmen Depth (mm)": pa.Column(float, pa.Check.gt(0)),
        "Flipper Length (mm)": pa.Column(int, pa.Check.gt(0)),
        "Body Mass (g)": pa.Column(int, pa.Check.in_range(1_000, 10_000)),
        "Sex": pa.Column("category", pa.Check.isin(["FEMALE", "MALE"])),
    },
    checks=pa.Check(enough, error="fewer than 300 rows"),
    unique=["Species", "Individual ID", "Date Egg"],
    strict="filter",  # drop other columns
    drop_invalid_rows=True,  # report them; without this, the task fails
)


@flow
def tidy_penguins(source: Path, target: Path) -> data.Cleaned:
    """Clean the penguins.

    Args:
        source: The CSV file.
        target: Where to write the table.

    Returns:
        The table, and what was dropped.
    """
    return data.transform_data(source, PENGUINS, target=target, null_values=("", "NA"))


if __name__ == "__main__":
    cleaned = tidy_penguins(Path("data/penguins.csv"), Path("data/penguins.parquet"))
    print(f"{cleaned.kept} of {cleaned.read} rows kept")
