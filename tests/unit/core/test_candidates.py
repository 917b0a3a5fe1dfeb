import numpy as np
import pandas as pd
import pytest

from perennial.core.candidates import allowed_params, build_pipeline, check_params, fit, predict
from perennial.core.fast_forms import build_fast_form
from perennial.core.frames import features_frame, to_rows
from perennial.core.importances import compute_importances
from perennial.core.metrics import compute_metric
from perennial.errors import ConfigurationError

ALGORITHMS = ["prior", "logistic_regression", "random_forest", "extra_trees", "hist_gradient_boosting", "lightgbm"]
LEARNERS = ALGORITHMS[1:]
# Where the number of trees proves nothing.
SMALL = {"random_forest": {"n_estimators": 10}, "extra_trees": {"n_estimators": 10}, "lightgbm": {"n_estimators": 10}}
FEATURES = {
    "carrier": ("category", True),
    "hour": ("integer", False),
    "wind": ("float", True),
    "is_holiday": ("boolean", False),
    "is_full": ("boolean", True),
    "noise": ("float", False),
}


def make_rows(n_rows: int, *, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "carrier": generator.choice(["AA", "UA", "B6", None], n_rows),
            "hour": generator.integers(0, 24, n_rows),
            "wind": np.where(generator.random(n_rows) < 0.1, np.nan, generator.gamma(2, 5, n_rows)),
            "is_holiday": generator.random(n_rows) < 0.1,
            "is_full": generator.choice([0.0, 1.0, np.nan], n_rows),
            "noise": generator.random(n_rows),
        }
    )
    risk = 0.1 + 0.6 * (frame["carrier"] == "UA") + 0.008 * frame["hour"]
    return features_frame(frame, FEATURES), (generator.random(n_rows) < risk).astype(np.int8)


TRAINING = make_rows(1500)
TESTING = make_rows(500, seed=1)


@pytest.mark.parametrize("algorithm", LEARNERS)
def test_a_learner_finds_what_there_is_to_find(algorithm: str) -> None:
    pipeline = fit(build_pipeline(algorithm, features=FEATURES, params={}, seed=1), *TRAINING)
    auc = compute_metric("roc_auc", TESTING[1], predict(pipeline, TESTING[0]))
    assert auc is not None and auc > 0.65


def test_the_prior_is_the_share_of_positives() -> None:
    pipeline = fit(build_pipeline("prior", features=FEATURES, params={}, seed=1), *TRAINING)
    assert predict(pipeline, TESTING[0]) == pytest.approx(np.full(500, TRAINING[1].mean()))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_seed_makes_it_repeatable(algorithm: str) -> None:
    params = SMALL.get(algorithm, {})
    first, second = (fit(build_pipeline(algorithm, features=FEATURES, params=params, seed=3), *TRAINING) for _ in range(2))
    assert (predict(first, TESTING[0]) == predict(second, TESTING[0])).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_unknown_categories_and_missing_values_are_tolerated(algorithm: str) -> None:
    frame, labels = TRAINING
    seen = frame["carrier"].notna() & (frame["carrier"] != "B6")
    pipeline = build_pipeline(algorithm, features=FEATURES, params=SMALL.get(algorithm, {}), seed=1)
    fit(pipeline, frame[seen], labels[seen.to_numpy()])
    rows = [
        {"carrier": value, "hour": 6, "wind": None, "is_holiday": False, "is_full": None, "noise": 0.5} for value in ("B6", None)
    ]
    scores = predict(pipeline, features_frame(rows, FEATURES))
    assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", ["category", "float"])
def test_features_of_one_kind_only_will_do(algorithm: str, kind: str) -> None:
    features = {name: types for name, types in FEATURES.items() if types[0] == kind}
    pipeline = build_pipeline(algorithm, features=features, params=SMALL.get(algorithm, {}), seed=1)
    frame = TRAINING[0][list(features)]
    assert len(predict(fit(pipeline, frame, TRAINING[1]), frame)) == len(frame)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_column_without_any_value_will_do(algorithm: str) -> None:
    frame = TRAINING[0].assign(wind=np.nan)
    pipeline = fit(build_pipeline(algorithm, features=FEATURES, params=SMALL.get(algorithm, {}), seed=1), frame, TRAINING[1])
    assert not np.isnan(predict(pipeline, TESTING[0])).any()


@pytest.mark.parametrize("algorithm", ["hist_gradient_boosting", "lightgbm"])
def test_more_categories_than_boosting_has_bins_will_do(algorithm: str) -> None:
    frame = TRAINING[0].assign(carrier=pd.Series([f"c{n % 700}" for n in range(1500)], dtype=object))
    pipeline = fit(build_pipeline(algorithm, features=FEATURES, params=SMALL.get(algorithm, {}), seed=1), frame, TRAINING[1])
    assert not np.isnan(predict(pipeline, frame)).any()


def test_training_without_a_positive_predicts_none() -> None:
    pipeline = fit(build_pipeline("prior", features=FEATURES, params={}, seed=1), TRAINING[0], np.zeros(1500, dtype=np.int8))
    assert (predict(pipeline, TESTING[0]) == 0).all()


def test_params_reach_the_model_and_it_serves_in_one_thread() -> None:
    pipeline = build_pipeline("extra_trees", features=FEATURES, params={"n_estimators": 7}, seed=1, n_jobs=2)
    model = fit(pipeline, *TRAINING).named_steps["model"]
    assert (len(model.estimators_), model.n_jobs) == (7, 1)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_unknown_parameter_is_refused_with_the_alternatives(algorithm: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_params(algorithm, ["n_tree"])
    assert "'n_tree'" in caught.value.what
    assert all(name in caught.value.next_step for name in allowed_params(algorithm))


def test_parameters_that_we_set_ourselves_are_not_allowed() -> None:
    reserved = {"random_state", "n_jobs", "verbose", "categorical_features"}
    assert not any(reserved & set(allowed_params(algorithm)) for algorithm in ALGORITHMS)


def test_an_unknown_algorithm_is_refused_with_the_alternatives() -> None:
    with pytest.raises(ConfigurationError, match="lightgbm"):
        allowed_params("xgboost")


def test_importances_name_what_matters_and_not_the_noise() -> None:
    pipeline = fit(build_pipeline("logistic_regression", features=FEATURES, params={}, seed=1), *TRAINING)
    found = compute_importances(pipeline, *TESTING, metric="roc_auc", seed=1)
    assert next(iter(found)) == "carrier" and found.keys() == FEATURES.keys()
    assert found["carrier"] > 0.05 > abs(found["noise"])


def test_of_a_constant_column_no_importance_is_known() -> None:
    (before, labels), (after, true) = TRAINING, TESTING
    pipeline = fit(build_pipeline("prior", features=FEATURES, params={}, seed=1), before, labels)
    hardly = (np.arange(500) < 4).astype(float)
    found = compute_importances(pipeline, after.assign(wind=np.nan, is_full=hardly), true, metric="brier", seed=1)
    assert set(found) == set(FEATURES) - {"wind", "is_full"}


def test_importances_are_empty_where_the_metric_is_undefined() -> None:
    pipeline = fit(build_pipeline("prior", features=FEATURES, params={}, seed=1), *TRAINING)
    assert compute_importances(pipeline, TESTING[0], np.zeros(500, dtype=np.int8), metric="roc_auc", seed=1) == {}


@pytest.mark.parametrize("kind", ["integer", "float"])
@pytest.mark.parametrize("algorithm", ["logistic_regression", "hist_gradient_boosting", "lightgbm"])
def test_whole_numbers_beyond_what_float32_tells_apart_are_told_apart(algorithm: str, kind: str) -> None:
    account = 1_700_000_000 + np.arange(2000) % 60
    features = {"account": (kind, False), "self": ("integer", False)}
    frame = features_frame(pd.DataFrame({"account": account, "self": np.arange(2000) % 7}), features)
    labels = (account % 100 >= 30).astype(np.int8)
    pipeline = fit(build_pipeline(algorithm, features=features, params={}, seed=1), frame, labels)
    assert compute_metric("roc_auc", labels, predict(pipeline, frame)) == pytest.approx(1.0, abs=0.001)
    form = build_fast_form(pipeline)
    assert form is not None
    scores = form.score(form.encode(to_rows(frame, features)))
    np.testing.assert_allclose(scores, predict(pipeline, frame), rtol=0, atol=1e-9)
    assert compute_importances(pipeline, frame, labels, metric="roc_auc", seed=1)["account"] > 0.3
