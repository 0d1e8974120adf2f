"""The task that trains a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..common import extras, reporting

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from .results import Problem, Training


# Not cached, because a newer scikit-learn may train another model from the same rows. Not
# retried: what fails here fails again.
@task(task_run_name="train-{name}", tags={"ml"}, cache_policy=NO_CACHE)
def train_model(
    table: pd.DataFrame,
    *,
    name: str,
    problem: Problem,
    target: str,
    features: Sequence[str],
    unit: str = "",
    group: Sequence[str] = (),
    holdout: float = 0.25,
    seed: int = 0,
    estimator: Any = None,
) -> Training:
    """Train a model on a part of a table and keep the rest apart for `evaluate_model`.

    Needs the extra `ml`. The same table, seed and versions give the same model. The rows are
    split before anything is learned from them, medians for null values included. Classes are
    spread evenly over both parts, unless `group` decides where a row goes.

    Args:
        table: The table, of shape (rows, columns); rows without a target are skipped.
        name: Name of the model, for the log and the keys of artifacts.
        problem: `classification` predicts a class, `regression` a number.
        target: Column to predict.
        features: Columns to predict from, numbers or text; nulls are allowed.
        unit: Unit of a numeric target, such as `g`, for the report.
        group: Columns that tell which rows belong together, such as those of one customer:
            they are trained on or held out together, so that no row is known beforehand.
        holdout: Part of the rows, or groups, to keep apart, between 0 and 1.
        seed: Seed of the split and of the model.
        estimator: Unfitted scikit-learn estimator; none takes a random forest.

    Returns:
        The model, with the rows kept apart.

    Raises:
        MissingExtraError: The extra is not installed.
        PermanentError: A column is missing, or there is too little data to split.
    """
    with extras.required("ml"):
        from . import modelling
    training = modelling.train(
        table,
        name=name,
        problem=problem,
        target=target,
        unit=unit,
        features=features,
        group=group,
        holdout=holdout,
        seed=seed,
        estimator=estimator,
    )
    reporting.logger(__name__).info(
        "%s: trained on %s rows, %s kept apart, %s skipped without a target or group",
        name,
        f"{training.train_rows:,}",
        f"{len(training.holdout):,}",
        f"{training.skipped_rows:,}",
    )
    return training
