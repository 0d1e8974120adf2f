"""The task that evaluates a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..common import artifact_keys, extras, reporting

if TYPE_CHECKING:
    from .train import Training


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Metrics of a model on unseen rows, compared with a baseline that ignores the features.

    Errors are in the target's unit; the best accuracy and R² are 1.
    """

    name: str
    rows: int
    metrics: dict[str, float]
    baseline: dict[str, float]


# Not cached: predicting costs less than computing the key. Not retried: a failure would occur
# again.
@task(task_run_name="evaluate-{training.name}", tags={"ml"}, cache_policy=NO_CACHE)
def evaluate_model(training: Training) -> Evaluation:
    """Measure a model on the test rows; the metrics are also in the log and an artifact.

    Raises:
        MissingExtraError: The extra `ml` is not installed.
    """
    with extras.required("ml"):
        from . import modelling
    found = Evaluation(
        name=training.name,
        rows=len(training.holdout),
        metrics=modelling.measure(training, training.model),
        baseline=modelling.measure(training, training.baseline),
    )
    logger = reporting.logger(__name__)
    for metric, value in found.metrics.items():
        logger.info("%s: %s %.4g", found.name, metric, value)
        sign = -1 if metric.endswith("error") else 1
        if sign * value <= sign * found.baseline[metric]:
            logger.warning("%s: no better than without features by %s", found.name, metric)
    reporting.table_artifact(
        artifact_keys.of_step("metrics", found.name),
        [
            {"metric": metric, "value": value, "without features": found.baseline[metric]}
            for metric, value in found.metrics.items()
        ],
        f"`{found.name}` predicts `{training.target}`: {found.rows:,} rows that it has not seen",
    )
    return found
