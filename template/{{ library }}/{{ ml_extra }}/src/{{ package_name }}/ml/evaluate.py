"""The task that evaluates a model."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..common import extras, reporting
from .results import Evaluation, Metric, Training


# Not cached: predicting costs less than making the key. Not retried: what fails here fails
# again.
@task(task_run_name="evaluate-{training.name}", tags={"ml"}, cache_policy=NO_CACHE)
def evaluate_model(training: Training) -> Evaluation:
    """Measure a model on the rows that were kept apart from its training.

    Needs the extra `ml`. Writes the table artifact `metrics-<name of the model>` and the
    markdown artifact `model-<name of the model>`.

    Args:
        training: What `train_model` returned.

    Returns:
        The metrics with their units, each beside that of a model that ignores the features.

    Raises:
        MissingExtraError: The extra is not installed.
    """
    with extras.required("ml"):
        from . import modelling
    rows = len(training.holdout)
    evaluation = Evaluation(name=training.name, rows=rows, metrics=modelling.measure(training))
    logger = reporting.logger(__name__)
    for metric in evaluation.metrics:
        logger.info("%s: %s %s", training.name, metric.name, _shown(metric.value, metric))
        better = metric.value > metric.baseline
        if better != (metric.better == "higher") or metric.value == metric.baseline:
            logger.warning(
                "%s: no better than a model without features by %s", training.name, metric.name
            )
    reporting.table_artifact(
        reporting.artifact_key("metrics", training.name),
        [
            {
                "metric": metric.name,
                "value": metric.value,
                "without features": metric.baseline,
                "unit": metric.unit,
                "better": metric.better,
            }
            for metric in evaluation.metrics
        ],
        f"`{training.name}` on {rows:,} rows that it has not seen",
    )
    reporting.markdown_artifact(
        reporting.artifact_key("model", training.name),
        _report(training, evaluation),
        f"How `{training.name}` was trained and how well it does",
    )
    return evaluation


def _shown(value: float, metric: Metric) -> str:
    if metric.unit.startswith("fraction"):
        return f"{value:.3f}"
    return f"{value:,.1f} {metric.unit}"


def _report(training: Training, evaluation: Evaluation) -> str:
    unit = f" ({training.unit})" if training.unit else ""
    groups = " and ".join(f"`{name}`" for name in training.group)
    lines = [
        f"# {training.name}",
        "",
        f"Predicts `{training.target}`{unit} by {training.problem}"
        f" from {', '.join(f'`{name}`' for name in training.features)}.",
        "",
        f"- Trained on {training.train_rows:,} rows, seed {training.seed}.",
        f"- Measured on {evaluation.rows:,} rows kept apart before anything was learned.",
        f"- Skipped {training.skipped_rows:,} rows without a target or group.",
    ]
    if groups:
        lines.append(f"- Rows with the same {groups} are on one side of the split.")
    lines += ["", "| metric | model | without features | better |", "| --- | ---: | ---: | --- |"]
    lines += [
        f"| {metric.name} | {_shown(metric.value, metric)} | {_shown(metric.baseline, metric)}"
        f" | {metric.better} |"
        for metric in evaluation.metrics
    ]
    return "\n".join(lines)
