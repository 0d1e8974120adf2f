"""How a model is trained and measured; needs scikit-learn, not Prefect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pandas as pd
from sklearn import metrics
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GroupShuffleSplit, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from ..common import errors
from .results import Metric, Problem, Training

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_VALUE = "(no value)"


def train(
    table: pd.DataFrame,
    *,
    name: str,
    problem: Problem,
    target: str,
    unit: str,
    features: Sequence[str],
    group: Sequence[str],
    holdout: float,
    seed: int,
    estimator: Any,
) -> Training:
    """Split a table and train on one part; see `train_model` for the arguments.

    Returns:
        The model, with the rows kept apart.

    Raises:
        PermanentError: An argument is wrong, or there is too little data to split.
    """
    if problem not in get_args(Problem):
        raise errors.PermanentError(f"problem must be one of {', '.join(get_args(Problem))}.")
    if not 0 < holdout < 1:
        raise errors.PermanentError(f"holdout is {holdout:g}: it must be between 0 and 1.")
    if not features or target in features:
        raise errors.PermanentError("features must name columns, and not the target.")
    if missing := [c for c in (target, *features, *group) if c not in table.columns]:
        raise errors.PermanentError(f"Model {name!r}: no column {', '.join(missing)}.")
    known = table.dropna(subset=[target, *group]).reset_index(drop=True)
    labels = known[target].astype("str" if problem == "classification" else "float64")
    _require_enough(labels, name, problem, holdout)
    train_rows, test_rows = _split(known, labels, name, problem, group, holdout, seed)
    inputs, outputs = known.loc[train_rows, list(features)], labels.loc[train_rows]
    _require_classes(labels, outputs, name, problem)
    if empty := [c for c in features if inputs[c].isna().all()]:
        raise errors.PermanentError(f"Model {name!r}: no value in column {', '.join(empty)}.")
    forest, dummy = (
        (RandomForestClassifier, DummyClassifier(strategy="prior"))
        if problem == "classification"
        else (RandomForestRegressor, DummyRegressor(strategy="mean"))
    )
    final = clone(estimator) if estimator is not None else forest(n_estimators=200)
    if "random_state" in final.get_params():
        final.set_params(random_state=seed)
    kept = known.loc[test_rows, list(features)].assign(**{target: labels.loc[test_rows]})
    return Training(
        name=name,
        problem=problem,
        target=target,
        unit=(unit or f"as {target}") if problem == "regression" else "",
        features=tuple(features),
        group=tuple(group),
        seed=seed,
        train_rows=len(train_rows),
        skipped_rows=len(table) - len(known),
        model=make_pipeline(_preparation(inputs), final).fit(inputs, outputs),
        baseline=dummy.fit(inputs, outputs),
        holdout=kept.reset_index(drop=True),
    )


def _require_enough(labels: pd.Series, name: str, problem: Problem, holdout: float) -> None:
    if problem == "regression":
        if min(len(labels) * holdout, len(labels) * (1 - holdout)) < 2:
            message = f"Model {name!r}: {len(labels):,} rows are too few to hold some out."
            raise errors.PermanentError(message)
        return
    counts = labels.value_counts()
    if len(counts) < 2:
        found = ", ".join(counts.index) or "none"
        message = f"Model {name!r}: it needs two classes at least, found: {found}."
        raise errors.PermanentError(message)
    sides = (int(len(labels) * holdout), int(len(labels) * (1 - holdout)))
    if counts.min() < 2 or min(sides) < len(counts):
        raise errors.PermanentError(
            f"Model {name!r}: {len(labels):,} rows, {counts.min():,} of them of class"
            f" {counts.idxmin()!r}, are too few to hold some of every class out."
        )


def _split(
    known: pd.DataFrame,
    labels: pd.Series,
    name: str,
    problem: Problem,
    group: Sequence[str],
    holdout: float,
    seed: int,
) -> tuple[pd.Index, pd.Index]:
    if not group:
        stratify = labels if problem == "classification" else None
        split = train_test_split(
            known.index, test_size=holdout, random_state=seed, stratify=stratify
        )
        return pd.Index(split[0]), pd.Index(split[1])
    groups = known.groupby(list(group), observed=True).ngroup()
    if groups.nunique() < 2:
        raise errors.PermanentError(f"Model {name!r}: one group cannot be on both sides.")
    splitter = GroupShuffleSplit(n_splits=1, test_size=holdout, random_state=seed)
    train_part, test_part = next(splitter.split(known, labels, groups))
    return known.index[train_part], known.index[test_part]


def _require_classes(labels: pd.Series, trained: pd.Series, name: str, problem: Problem) -> None:
    if problem == "classification" and (lost := sorted(set(labels) - set(trained))):
        message = f"Model {name!r}: too few groups to train on {', '.join(lost)}."
        raise errors.PermanentError(message)


def _preparation(inputs: pd.DataFrame) -> ColumnTransformer:
    """Make what turns a table into numbers; what it learns, it learns in `fit` alone."""
    numeric = [c for c in inputs.columns if pd.api.types.is_numeric_dtype(inputs[c])]
    other = [c for c in inputs.columns if c not in numeric]
    # Medians and classes come from the rows trained on, never from those held out.
    numbers = make_pipeline(FunctionTransformer(_floats), SimpleImputer(strategy="median"))
    texts = make_pipeline(FunctionTransformer(_texts), OneHotEncoder(handle_unknown="ignore"))
    return ColumnTransformer([("numbers", numbers, numeric), ("texts", texts, other)])


def _floats(table: pd.DataFrame) -> pd.DataFrame:
    return table.astype("Float64").astype("float64")


def _texts(table: pd.DataFrame) -> pd.DataFrame:
    return table.astype("string").fillna(NO_VALUE).astype("object")


def measure(training: Training) -> tuple[Metric, ...]:
    """Measure a model on the rows that were kept apart.

    Args:
        training: The model with these rows.

    Returns:
        The metrics, the most important first.
    """
    inputs = training.holdout[list(training.features)]
    truth = training.holdout[training.target]
    found = training.model.predict(inputs)
    naive = training.baseline.predict(inputs)
    scores: list[tuple[str, Any, str, Any]] = (
        [
            ("balanced accuracy", metrics.balanced_accuracy_score, "fraction", "higher"),
            ("accuracy", metrics.accuracy_score, "fraction", "higher"),
        ]
        if training.problem == "classification"
        else [
            ("mean absolute error", metrics.mean_absolute_error, training.unit, "lower"),
            ("root mean squared error", metrics.root_mean_squared_error, training.unit, "lower"),
            ("R²", metrics.r2_score, "fraction of variance", "higher"),
        ]
    )
    return tuple(
        Metric(
            name=name,
            value=float(score(truth, found)),
            baseline=float(score(truth, naive)),
            unit=unit,
            better=better,
        )
        for name, score, unit, better in scores
    )
