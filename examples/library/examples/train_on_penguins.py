"""Train a model that estimates a penguin's body mass, and measure it honestly.

Run it with `uv run python examples/train_on_penguins.py`, after `download_penguins.py`.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from prefect import flow

from my_task_library import ml


@flow
def train_on_penguins(source: Path) -> ml.Evaluation:
    """Train and evaluate.

    Args:
        source: The CSV file.

    Returns:
        How well the model does on birds that it has not seen.
    """
    training = ml.train_model(
        pd.read_csv(source),
        name="body-mass",
        problem="regression",
        target="Body Mass (g)",
        features=("Species", "Flipper Length (mm)", "Culmen Length (mm)", "Culmen Depth (mm)"),
        # Some birds were measured in two years: keep each on one side of the split.
        group=("Species", "Individual ID"),
        save_to=source.with_name("body-mass.skops"),
    )
    return ml.evaluate_model(training)


if __name__ == "__main__":
    evaluation = train_on_penguins(Path("data/penguins.csv"))
    print(f"{evaluation.name}, measured on {evaluation.rows} rows:")
    for metric, value in evaluation.metrics.items():
        unit = " g" if metric.endswith("error") else ""
        print(f"  {metric}: {value:.3g}{unit}, baseline {evaluation.baseline[metric]:.3g}")
