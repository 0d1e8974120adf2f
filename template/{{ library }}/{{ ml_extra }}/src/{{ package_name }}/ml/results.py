"""What the tasks of this namespace return; needs neither Prefect nor scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Problem = Literal["classification", "regression"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """A trained model, and the rows that it has not seen.

    Attributes:
        name: Name of the model.
        problem: `classification` or `regression`.
        target: Column that the model predicts.
        unit: Unit of the target, or `as <column>` if none was given; empty for classes.
        features: Columns that it predicts from.
        group: Columns whose combinations were kept on one side of the split.
        seed: Seed of the split and of the model.
        train_rows: Rows that the model was trained on.
        skipped_rows: Rows left out, because their target or group is null.
        model: Fitted scikit-learn pipeline: `model.predict(table)` takes a table with the
            features and gives one value a row.
        baseline: Fitted model that ignores the features: the most frequent class, or the mean.
        holdout: Rows kept apart, of shape (rows, features and target), indexed from 0.
    """

    name: str
    problem: Problem
    target: str
    unit: str
    features: tuple[str, ...]
    group: tuple[str, ...]
    seed: int
    train_rows: int
    skipped_rows: int
    model: Any = field(repr=False)
    baseline: Any = field(repr=False)
    holdout: pd.DataFrame = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number about a model, measured on rows that it has not seen.

    Attributes:
        name: What it is.
        value: Of the model.
        baseline: Of a model that ignores the features.
        unit: Unit of both; a fraction is 1 at the most.
        better: Which way is better: `higher` or `lower`.
    """

    name: str
    value: float
    baseline: float
    unit: str
    better: Literal["higher", "lower"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How well a model does on rows that it has not seen.

    Attributes:
        name: Name of the model.
        rows: Rows it was measured on.
        metrics: The metrics, the most important first.
    """

    name: str
    rows: int
    metrics: tuple[Metric, ...]

    def value(self, metric: str) -> float:
        """Return the model's value of a metric.

        Args:
            metric: Name of the metric.

        Returns:
            Its value, in the metric's unit.

        Raises:
            KeyError: There is no such metric.
        """
        return {entry.name: entry.value for entry in self.metrics}[metric]
