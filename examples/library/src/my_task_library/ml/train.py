"""The task that trains a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..common import errors, extras, files, reporting

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd

Problem = Literal["classification", "regression"]


class Model(Protocol):
    """A fitted pipeline or estimator with scikit-learn's interface."""

    def predict(self, table: pd.DataFrame, /) -> np.ndarray[Any, np.dtype[Any]]:
        """Return a prediction for each row of a table with the features."""
        ...


@dataclass(frozen=True, kw_only=True)
class Training:
    """A trained model, a baseline that ignores the features, and test rows unseen by both."""

    name: str
    problem: Problem
    target: str
    features: tuple[str, ...]
    train_rows: int
    skipped_rows: int
    model: Model = field(repr=False)
    baseline: Model = field(repr=False)
    holdout: pd.DataFrame = field(repr=False)


# Not cached: a newer scikit-learn may train another model from the same rows. Not retried: a
# failure would occur again.
@task(task_run_name="train-{name}", tags={"ml"}, cache_policy=NO_CACHE)
def train_model(
    table: pd.DataFrame,
    *,
    name: str,
    problem: Problem,
    target: str,
    features: Sequence[str],
    group: Sequence[str] = (),
    holdout: float = 0.25,
    seed: int = 0,
    estimator: Any = None,
    save_to: str | Path | None = None,
) -> Training:
    """Train a model on part of a table and hold out the other rows for `evaluate_model`.

    Needs the extra `ml`. The same table, seed and versions give the same model. The rows are
    split before anything is learned from them, including the medians for null values. Predictions
    have the type of the target: classes can be integers, booleans or text.

    Args:
        table: The table; rows without a target or group are skipped.
        name: Name of the model, for the log and the artifact.
        problem: `classification` predicts a class, `regression` a number.
        target: Column to predict.
        features: Columns to predict from, numbers or text; nulls are allowed.
        group: Columns that identify rows that belong together, such as those of one customer:
            they are all used for training or all held out.
        holdout: Share of the rows, or groups, to hold out, between 0 and 1.
        seed: Seed of the split and of the model.
        estimator: Unfitted estimator of scikit-learn; None takes a random forest.
        save_to: Path of a file for the model, in the format of skops. Unlike pickle, skops runs no
            code when it loads: check `skops.io.get_untrusted_types(file=path)`, then call
            `skops.io.load(path, trusted=...)`.

    Raises:
        MissingExtraError: The extra is not installed.
        PermanentError: A column is missing or has unusable values, or there is too little data
            to split.
    """
    with extras.required("ml"):
        import skops

        from . import modelling

        if save_to is not None:  # slow: imports as much as scikit-learn
            import skops.io
    try:
        training = modelling.train(
            table, name, problem, target, features, group, holdout, seed, estimator
        )
    except errors.PermanentError as error:
        raise errors.PermanentError(f"Model {name!r}: {error}") from error.__cause__
    if save_to is not None:
        with files.replacing(Path(save_to)) as partial:
            skops.io.dump(training.model, partial)
    reporting.logger(__name__).info(
        "%s: trained on %s rows, %s kept apart, %s skipped without a target or group",
        name,
        f"{training.train_rows:,}",
        f"{len(training.holdout):,}",
        f"{training.skipped_rows:,}",
    )
    return training
