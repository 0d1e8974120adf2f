"""Trains and measures models; needs scikit-learn, not Prefect."""

from __future__ import annotations

import re
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
from pandas.api import types
from sklearn import metrics
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GroupShuffleSplit, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from ..common import errors
from .train import Model, Problem, Training

if TYPE_CHECKING:
    from collections.abc import Sequence


def train(
    table: pd.DataFrame,
    name: str,
    problem: Problem,
    target: str,
    features: Sequence[str],
    group: Sequence[str],
    holdout: float,
    seed: int,
    estimator: Any,
) -> Training:
    """Train a model, as described in `train_model`."""
    if problem not in get_args(Problem):
        raise errors.PermanentError(f"problem must be one of {', '.join(get_args(Problem))}.")
    if not (isinstance(holdout, Real) and 0 < holdout < 1):
        raise errors.PermanentError(f"holdout is {holdout!r}: it must be between 0 and 1.")
    if not (isinstance(seed, Integral) and 0 <= seed < 1 << 32):
        message = f"seed is {seed!r}: it must be whole, from 0 to {(1 << 32) - 1:,}."
        raise errors.PermanentError(message)
    if isinstance(features, str) or not features or len({target, *features}) <= len(features):
        raise errors.PermanentError("features must be a list of columns, once, without the target.")
    columns = list(table.columns)
    for column in {target, *features, *group}:
        if columns.count(column) != 1:
            message = f"the table has {columns.count(column) or 'no'} columns called {column!r}."
            raise errors.PermanentError(f"{message} Its columns: {', '.join(map(str, columns))}.")
    known = table.dropna(subset=[target, *group])
    classes = problem == "classification"
    if not classes and len(known) and not types.is_numeric_dtype(known[target].infer_objects()):
        message = f"column {target!r} holds no numbers: convert it, or use classification."
        raise errors.PermanentError(message)
    for column in (target, *features):
        values = known[column]
        if types.is_numeric_dtype(values) and (endless := values.abs() == np.inf).any():
            message = f"column {column!r} is infinite in row {endless.idxmax()}. Leave it out."
            raise errors.PermanentError(message)
    labels = _plain(known[target])
    kept = _held_out(known, labels, group, holdout, seed, classes=classes)
    learned = known.loc[~kept, list(features)]
    if classes and (lost := set(labels) - set(labels[~kept])):
        names = ", ".join(sorted(map(str, lost)))
        raise errors.PermanentError(f"too few groups to train on {names}. Give more rows.")
    if empty := [column for column in features if learned[column].isna().all()]:
        raise errors.PermanentError(f"no value in column {', '.join(empty)}. Leave it out.")
    numeric = [column for column in features if types.is_numeric_dtype(learned[column])]
    forest = RandomForestClassifier if classes else RandomForestRegressor
    dummy: Any = DummyClassifier(strategy="prior") if classes else DummyRegressor()
    # Medians and classes come from the training rows, never from those held out.
    prepared = make_column_transformer(
        (SimpleImputer(strategy="median"), numeric),
        (
            make_pipeline(FunctionTransformer(texts), OneHotEncoder(handle_unknown="ignore")),
            [column for column in features if column not in numeric],
        ),
    )
    try:
        final = forest(n_estimators=200) if estimator is None else clone(estimator)
        if (is_regressor if classes else is_classifier)(final):
            raise TypeError(f"{type(final).__name__} is not for {problem}.")  # noqa: TRY301 - as fit does
        seeds = [key for key in final.get_params() if re.search("(^|__)random_state$", key)]
        final.set_params(**dict.fromkeys(seeds, seed))
        model: Any = make_pipeline(prepared, final).fit(learned, labels[~kept])
    except (TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        message = f"it cannot be trained: {reason} Check the columns and the estimator."
        raise errors.PermanentError(message) from error
    held = known.loc[kept, list(features)].assign(**{target: labels[kept]})
    return Training(
        name=name,
        problem=problem,
        target=target,
        features=tuple(features),
        train_rows=len(learned),
        skipped_rows=len(table) - len(known),
        model=model,
        baseline=dummy.fit(learned, labels[~kept]),
        holdout=held.reset_index(drop=True),
    )


def texts(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of text; a null becomes a text too."""
    return table.astype("object").where(table.notna(), "(no value)").astype("str")


def _plain(column: pd.Series[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the values with a NumPy type: scikit-learn predicts the type that it was given."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    column = column.infer_objects()
    if types.is_bool_dtype(column):
        return column.to_numpy(dtype="bool")
    if types.is_numeric_dtype(column):
        dtype: Any = getattr(column.dtype, "numpy_dtype", column.dtype)
        return column.to_numpy(dtype=dtype)
    return column.to_numpy(dtype="object")


def _held_out(
    known: pd.DataFrame,
    labels: np.ndarray[Any, np.dtype[Any]],
    group: Sequence[str],
    holdout: float,
    seed: int,
    *,
    classes: bool,
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Choose the rows to hold out."""
    counts, rows = pd.Series(labels).value_counts(), len(labels)
    if len(counts) == 1:
        raise errors.PermanentError("the target is the same in all rows: nothing to learn.")
    fewest = max(len(counts), 2) if classes else 2
    if min(int(rows * holdout), int(rows * (1 - holdout))) < fewest:
        message = f"{rows:,} rows are too few to hold some{' of each class' * classes} out."
        raise errors.PermanentError(f"{message} Give more rows.")
    if group:
        groups = known.groupby(list(group), observed=True).ngroup()
        if groups.nunique() < 2:
            raise errors.PermanentError("one group cannot be on both sides. Give more groups.")
        splitter = GroupShuffleSplit(n_splits=1, test_size=holdout, random_state=seed)
        chosen = next(splitter.split(known, groups=groups))[1]
    else:
        if classes and counts.min() < 2:
            message = f"class {counts.idxmin()!r} has one row: too few to hold some out."
            raise errors.PermanentError(f"{message} Give more rows, or leave it out.")
        _, chosen = train_test_split(
            np.arange(rows),
            test_size=holdout,
            random_state=seed,
            stratify=labels.astype("str") if classes else None,
        )
    return np.isin(np.arange(rows), chosen)


def measure(training: Training, model: Model) -> dict[str, float]:
    """Measure a model on the test rows; the most important metric comes first."""
    truth = _plain(training.holdout[training.target])
    found = model.predict(training.holdout[list(training.features)])
    scores: dict[str, Any] = (
        {
            "balanced accuracy": metrics.balanced_accuracy_score,
            "accuracy": metrics.accuracy_score,
        }
        if training.problem == "classification"
        else {
            "mean absolute error": metrics.mean_absolute_error,
            "root mean squared error": metrics.root_mean_squared_error,
            "R²": metrics.r2_score,
        }
    )
    return {name: float(score(truth, found)) for name, score in scores.items()}
