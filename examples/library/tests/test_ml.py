from __future__ import annotations

import importlib.util
import json
import logging
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prefect import flow
from server_side import artifacts_of

from my_task_library import ml
from my_task_library.common import errors, extras

# Tests import scikit-learn where they use it: otherwise each test run, even of a single test, would
# take about twice as long to start.
FEATURES = ("Species", "Flipper Length (mm)", "Culmen Length (mm)")
BIRD = ("Species", "Individual ID")
MASS: dict[str, Any] = {
    "name": "Body mass",
    "problem": "regression",
    "target": "Body Mass (g)",
    "features": FEATURES,
    "group": BIRD,
}
SEX: dict[str, Any] = {
    "name": "sex",
    "problem": "classification",
    "target": "Sex",
    "features": (*FEATURES, "Body Mass (g)"),
}

train = ml.train_model.fn
evaluate = ml.evaluate_model.fn


@pytest.fixture(scope="module")
def penguins() -> pd.DataFrame:
    spec = importlib.util.find_spec("palmerpenguins")
    assert spec is not None
    assert spec.origin is not None
    return pd.read_csv(Path(spec.origin).parent / "data" / "penguins-raw.csv")


def test_regression(penguins: pd.DataFrame) -> None:
    training = train(penguins, **MASS)
    evaluation = evaluate(training)
    assert training.skipped_rows == 2
    assert training.train_rows + len(training.holdout) + training.skipped_rows == len(penguins)
    assert evaluation.rows == len(training.holdout)
    error = "mean absolute error"
    # Female and male birds of one species differ by some 700 g.
    assert 150 < evaluation.metrics[error] < 400 < evaluation.baseline[error]
    assert evaluation.metrics["R²"] > 0.6
    assert evaluation.metrics["root mean squared error"] > evaluation.metrics[error]


def test_classification(penguins: pd.DataFrame) -> None:
    training = train(penguins, **SEX)
    evaluation = evaluate(training)
    assert training.skipped_rows == 11
    assert len(training.holdout) == 84
    shares = training.holdout["Sex"].value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx({"MALE": 0.5, "FEMALE": 0.5}, abs=0.02)
    assert evaluation.baseline["balanced accuracy"] == 0.5
    assert 0.8 < evaluation.metrics["balanced accuracy"] <= 1


def test_same_seed_gives_the_same_model(penguins: pd.DataFrame) -> None:
    one, two, other = (train(penguins, **MASS, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one.holdout, two.holdout)
    assert evaluate(one) == evaluate(two)
    assert not one.holdout.equals(other.holdout)


def test_rows_that_belong_together_are_on_one_side(penguins: pd.DataFrame) -> None:
    table = penguins.assign(row=range(len(penguins)))
    training = train(table, **MASS | {"features": ("row", "Individual ID", "Species")})
    held = training.holdout[["Species", "Individual ID"]].drop_duplicates()
    known = table.dropna(subset=["Body Mass (g)"])
    rest = known[~known["row"].isin(training.holdout["row"])]
    assert len(rest) == training.train_rows
    assert rest.merge(held, on=list(BIRD)).empty


def test_nothing_is_learned_from_rows_held_out(penguins: pd.DataFrame) -> None:
    table = penguins.dropna(subset=["Body Mass (g)"]).assign(row=lambda t: range(len(t)))
    options = MASS | {"features": ("row", "Flipper Length (mm)"), "group": ()}
    first = train(table, **options)
    spoiled = table.copy()
    held = spoiled["row"].isin(first.holdout["row"])
    spoiled.loc[held, ["Flipper Length (mm)", "Body Mass (g)"]] = [1e6, 1e6]
    second = train(spoiled, **options)
    assert second.holdout["row"].tolist() == first.holdout["row"].tolist()
    inputs = first.holdout[["row", "Flipper Length (mm)"]]
    assert (first.model.predict(inputs) == second.model.predict(inputs)).all()


def test_nulls_and_unseen_values_are_no_obstacle() -> None:
    table = pd.DataFrame(
        {
            "x": pd.array([1, None, 3, 4, 5, 6, 7, 8], dtype="Int64"),
            "kind": pd.array(["a", None, "a", "b", "b", "a", "b", "a"], dtype="string"),
            "flag": pd.array([True, False, None] * 2 + [True, True], dtype="boolean"),
            "y": pd.array([1.0, 2, 3, 4, 5, 6, 7, None], dtype="Float64"),
        }
    )
    table = pd.concat([table] * 3)
    training = train(
        table, name="t", problem="regression", target="y", features=("x", "kind", "flag")
    )
    assert training.skipped_rows == 3
    new = pd.DataFrame({"x": [None], "kind": ["new"], "flag": [None]})
    assert 1 <= training.model.predict(new)[0] <= 7


def test_own_estimator(penguins: pd.DataFrame) -> None:
    from sklearn.linear_model import LinearRegression

    mine = LinearRegression()
    training = train(penguins, **MASS, estimator=mine)
    final: Any = training.model
    assert isinstance(final[-1], LinearRegression)
    assert not hasattr(mine, "coef_")


def test_target_without_a_pattern_is_reported(
    penguins: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    noise = penguins.assign(Sex=["a", "b"] * (len(penguins) // 2), Species="one")
    with caplog.at_level(logging.WARNING):
        evaluate(train(noise, **SEX | {"features": ("Species",)}))
    assert "no better than without features by balanced accuracy" in caplog.text


SIGNS = [-3, -2, -1, 1, 2, 3] * 6


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("int64", 0, 1),
        ("int8", -1, 1),
        ("Int64", 1790000000000000001, 1790000000000000003),
        ("bool", False, True),
        ("boolean", False, True),
        ("object", False, True),
        ("object", "no", "yes"),
        ("string", "no", "yes"),
        ("category", "no", "yes"),
        ("category", 0, 1),
        ("float64", 0.0, 1.0),
    ],
)
def test_what_is_predicted_has_the_type_of_the_target(dtype: Any, low: Any, high: Any) -> None:
    target = pd.Series([low if sign < 0 else high for sign in SIGNS], dtype=dtype)
    table = pd.DataFrame({"sign": SIGNS, "y": target}).set_index(pd.Index([7] * len(SIGNS)))
    training = train(table, name="t", problem="classification", target="y", features=["sign"])
    found = training.model.predict(pd.DataFrame({"sign": [-9, 9]}))
    assert found.tolist() == [low, high]
    assert [type(value) for value in found.tolist()] == [type(low), type(high)]
    assert evaluate(training).metrics["accuracy"] == 1


def test_model_is_saved_so_that_reading_runs_no_code(
    penguins: pd.DataFrame, tmp_path: Path
) -> None:
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    path = tmp_path / "new" / "model.skops"
    model = train(penguins, **SEX, save_to=path).model
    with pytest.raises(UntrustedTypesFoundException):
        skops.io.load(path)
    types = skops.io.get_untrusted_types(file=path)
    own = f"{ml.__name__}.modelling.texts"
    # Which of scikit-learn's types need trust depends on its version.
    assert {name for name in types if not name.startswith("sklearn.")} == {own, "numpy.dtype"}
    again = skops.io.load(path, trusted=types)
    assert (again.predict(penguins) == model.predict(penguins)).all()
    assert [entry.name for entry in path.parent.iterdir()] == ["model.skops"]


GOOD: dict[str, Any] = {"x": SIGNS, "k": ["a", "b"] * 18, "y": [0.5 * sign for sign in SIGNS]}
INFINITE = [*SIGNS[:9], float("inf"), *SIGNS[10:]]
CLASSES = {"problem": "classification"}


@pytest.mark.parametrize(
    ("table", "changes", "message"),
    [
        ({}, {"features": ["z"]}, "has no columns called 'z'. Its columns: x, k, y"),
        ({}, {"target": "z"}, "has no columns called 'z'"),
        ({}, {"group": ["z"]}, "has no columns called 'z'"),
        ({}, {"features": []}, "features must be a list"),
        ({}, {"features": "x"}, "features must be a list"),
        ({}, {"features": ["y"]}, "without the target"),
        ({}, {"problem": "foo"}, "problem must be one of classification, regression"),
        ({}, {"holdout": 1.0}, "holdout is 1.0: it must be between 0 and 1"),
        ({}, {"holdout": "0.2"}, "holdout is '0.2': it must be between 0 and 1"),
        ({}, {"holdout": float("nan")}, "holdout is nan"),
        ({}, {"estimator": "forest"}, "cannot be trained: Cannot clone"),
        ({"x": INFINITE}, {}, "'x' is infinite in row 9. Leave it out"),
        ({"y": INFINITE}, {}, "'y' is infinite in row 9. Leave it out"),
        ({"y": ["1", "two"] * 18}, {}, "'y' holds no numbers: convert it, or use classification"),
        ({"y": [1.0] * 36}, {}, "the target is the same in all rows"),
        ({"y": [None] * 36}, {}, "0 rows are too few"),
        ({"y": [1, 2, 3, *[None] * 33]}, {}, "3 rows are too few"),
        ({"x": [None] * 36}, {}, "no value in column x. Leave it out"),
        ({"k": ["a"] * 36}, {"group": ["k"]}, "one group cannot be on both sides"),
        ({"y": [None] * 36}, CLASSES, "0 rows are too few"),
        ({}, {"features": ["x", "x"]}, "a list of columns, once"),
        ({}, {"seed": -1}, "seed is -1: it must be whole, from 0 to 4,294,967,295"),
        ({"y": ["f"] * 36}, CLASSES, "the same in all rows"),
        ({"y": ["f"] * 35 + ["m"]}, CLASSES, "class 'm' has one row: too few"),
        ({"y": list(map(str, range(36)))}, CLASSES, "36 rows are too few to hold some of each"),
        (
            {"y": ["a"] * 30 + ["b"] * 6, "k": [1, 2] * 15 + [3] * 6},
            CLASSES | {"group": ["k"]},
            "too few groups to train on b",
        ),
    ],
)
def test_what_cannot_be_learned_is_told_in_one_sentence(
    table: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {"problem": "regression", "target": "y", "features": ["x"]}
    with pytest.raises(errors.PermanentError, match=message) as caught:
        train(pd.DataFrame(GOOD | table), name="t", **given | changes)
    assert str(caught.value).startswith("Model 't': ")
    assert "\n" not in str(caught.value)


def test_an_estimator_for_the_other_problem() -> None:
    from sklearn.linear_model import LinearRegression, LogisticRegression

    given: dict[str, Any] = {"name": "t", "features": ["x"]}
    with pytest.raises(errors.PermanentError, match="LogisticRegression is not for regression"):
        train(
            pd.DataFrame(GOOD),
            problem="regression",
            target="y",
            estimator=LogisticRegression(),
            **given,
        )
    with pytest.raises(errors.PermanentError, match="LinearRegression is not for classification"):
        train(
            pd.DataFrame(GOOD),
            problem="classification",
            target="k",
            estimator=LinearRegression(),
            **given,
        )


def test_seed_reaches_the_estimators_in_a_pipeline() -> None:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.pipeline import make_pipeline

    given: dict[str, Any] = {"problem": "regression", "target": "y", "features": ["x"]}
    mine = make_pipeline(RandomForestRegressor(2))
    model: Any = train(pd.DataFrame(GOOD), name="t", seed=7, estimator=mine, **given).model
    assert model[-1][-1].random_state == 7
    assert mine[-1].random_state is None


def test_doubled_column() -> None:
    table = pd.DataFrame(GOOD)
    doubled = pd.concat([table, table[["x"]]], axis="columns")
    with pytest.raises(errors.PermanentError, match="2 columns called 'x'"):
        train(doubled, name="t", problem="regression", target="y", features=["x"])


@pytest.mark.parametrize("module", ["sklearn", "skops"])
def test_missing_extra(
    module: str, penguins: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = train(penguins, **MASS)
    for name in (module, "skops.io" if module == "skops" else module):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"{ml.__name__}.modelling", raising=False)
    monkeypatch.delattr(ml, "modelling", raising=False)
    command = rf"extra 'ml': pip install '{extras.DISTRIBUTION}\[ml\]'"
    with pytest.raises(extras.MissingExtraError, match=f"needs {module}.* {command}"):
        train(penguins, **MASS)
    if module == "sklearn":
        with pytest.raises(extras.MissingExtraError, match=command):
            evaluate(training)


@pytest.mark.usefixtures("prefect_server")
class TestRuns:
    def test_each_model_of_a_flow_has_an_artifact_of_its_own(self, penguins: pd.DataFrame) -> None:
        from sklearn.linear_model import LinearRegression

        quick = MASS | {"estimator": LinearRegression()}

        @flow(name="two-models")  # other flows have other keys
        def use() -> list[ml.Evaluation]:
            trainings = [ml.train_model(penguins, **quick, seed=seed) for seed in (1, 2)]
            return [future.result() for future in ml.evaluate_model.map(trainings)]

        before = artifacts_of("metrics-body-mass-").keys()
        evaluations = use()
        after = artifacts_of("metrics-body-mass-")
        found = [versions for key, versions in after.items() if key not in before]
        assert [len(versions) for versions in found] == [1, 1]
        written = [json.loads(versions[0].data) for versions in found]
        kept = [{row["metric"]: row["value"] for row in rows} for rows in written]
        made = [evaluation.metrics for evaluation in evaluations]
        assert sorted(kept, key=str) == sorted(made, key=str)

    @pytest.mark.filterwarnings("ignore:.*without a flow run id:UserWarning")
    def test_tasks_without_flow(self, penguins: pd.DataFrame) -> None:
        training = ml.train_model(penguins, **MASS)
        assert ml.evaluate_model(training).rows == len(training.holdout)
