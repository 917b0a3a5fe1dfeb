"""Fast forms give the numbers of the pipeline they were made of."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from perennial.core import fast_forms
from perennial.core.candidates import build_pipeline, fit
from perennial.core.fast_forms import ORIGINAL, OriginalForm, build_fast_form, build_form
from perennial.core.frames import Rows, features_frame, to_rows
from perennial.core.parity import choose_form, synthetic_rows
from perennial.errors import PermanentError

FORMS = {
    "prior": "constant",
    "logistic_regression": "linear",
    "random_forest": "forest",
    "extra_trees": "forest",
    "hist_gradient_boosting": "histogram_trees",
    "lightgbm": "booster",
}
FEATURES = {
    "hour": ("integer", False),
    "carrier": ("category", True),
    "wind": ("float", True),
    "origin": ("category", False),
    "is_holiday": ("boolean", False),
    "seats": ("integer", True),
    "is_full": ("boolean", True),
}
SMALL = {"random_forest": {"n_estimators": 15}, "extra_trees": {"n_estimators": 15}, "lightgbm": {"n_estimators": 40}}
# Sums of a linear model are taken in another order; trees give the same bits.
TOLERANCE = 1e-12


def make_frame(n_rows: int, *, seed: int, n_carriers: int = 6) -> pd.DataFrame:
    random = np.random.default_rng(seed)

    def missing(values: np.ndarray) -> np.ndarray:
        return np.where(random.random(n_rows) < 0.2, None, values.astype(object))

    return features_frame(
        pd.DataFrame(
            {
                "hour": random.integers(0, 24, n_rows),
                "carrier": missing(np.array([f"c{number}" for number in random.integers(0, n_carriers, n_rows)])),
                "wind": missing(random.gamma(2, 5, n_rows)),
                "origin": random.choice(["EWR", "JFK", "LGA"], n_rows),
                "is_holiday": random.random(n_rows) < 0.1,
                "seats": missing(random.integers(20, 400, n_rows)),
                "is_full": missing(random.random(n_rows) < 0.5),
            }
        ),
        FEATURES,
    )


def train(algorithm: str, frame: pd.DataFrame) -> Pipeline:
    random = np.random.default_rng(7)
    risk = 0.1 + 0.5 * frame["carrier"].isin(["c1", "c3"]) + 0.01 * frame["hour"]
    labels = (random.random(len(frame)) < risk).to_numpy().astype(np.int8)
    features = {name: FEATURES[name] for name in frame.columns}
    return fit(build_pipeline(algorithm, features=features, params=SMALL.get(algorithm, {}), seed=1), frame, labels)


@pytest.fixture(scope="module")
def trained() -> Callable[[str], Pipeline]:
    frame, known = make_frame(600, seed=0), {}

    def get(algorithm: str) -> Pipeline:
        if algorithm not in known:
            known[algorithm] = train(algorithm, frame)
        return known[algorithm]

    return get


def hard_rows(n_rows: int = 200) -> Rows:
    """Rows of another sample, with carriers that training never saw, and rows made to be hard."""
    rows = to_rows(make_frame(n_rows, seed=1, n_carriers=9), FEATURES)
    return [*rows, *synthetic_rows(rows, FEATURES, n_rows=n_rows, seed=2)]


def original_scores(pipeline: Pipeline, rows: Rows, features: dict = FEATURES) -> np.ndarray:
    form = OriginalForm(pipeline=pipeline, features=features)
    with np.errstate(over="ignore", invalid="ignore"):
        return form.score(form.encode(rows))


@pytest.mark.parametrize("algorithm", FORMS)
def test_every_algorithm_has_a_fast_form_that_agrees(algorithm, trained):
    rows, form = hard_rows(), build_form(FORMS[algorithm], trained(algorithm), FEATURES)
    expected = original_scores(trained(algorithm), rows)
    assert form.score(form.encode(rows)) == pytest.approx(expected, abs=TOLERANCE)
    assert algorithm == "prior" or len(set(expected.tolist())) > 10


@pytest.mark.parametrize("algorithm", FORMS)
def test_a_row_alone_gets_what_it_gets_among_others(algorithm, trained):
    rows, form = hard_rows(20), build_form(FORMS[algorithm], trained(algorithm), FEATURES)
    together = form.score(form.encode(rows)).tolist()
    assert [form.score(form.encode([row]))[0] for row in rows] == pytest.approx(together, abs=1e-15)


@pytest.mark.parametrize("algorithm", [name for name in FORMS if name != "prior"])
@pytest.mark.parametrize("kinds", [{"category"}, {"float", "integer", "boolean"}])
def test_features_of_one_kind_only_agree(algorithm, kinds):
    features = {name: types for name, types in FEATURES.items() if types[0] in kinds}
    frame = make_frame(300, seed=0)[list(features)]
    labels = np.random.default_rng(3).integers(0, 2, 300)
    pipeline = fit(build_pipeline(algorithm, features=features, params=SMALL.get(algorithm, {}), seed=1), frame, labels)
    form, rows = build_form(FORMS[algorithm], pipeline, features), hard_rows(60)
    assert form.score(form.encode(rows)) == pytest.approx(original_scores(pipeline, rows, features), abs=TOLERANCE)


@pytest.mark.parametrize("algorithm", ["logistic_regression", "hist_gradient_boosting", "lightgbm"])
def test_rare_categories_and_more_than_there_are_bins_agree(algorithm):
    pipeline = train(algorithm, make_frame(900, seed=0, n_carriers=600))
    form, rows = build_form(FORMS[algorithm], pipeline, FEATURES), to_rows(make_frame(300, seed=1, n_carriers=700), FEATURES)
    assert form.score(form.encode(rows)) == pytest.approx(original_scores(pipeline, rows), abs=TOLERANCE)


def test_a_column_that_training_never_saw_filled_is_not_looked_at():
    pipeline = train("extra_trees", make_frame(300, seed=0).assign(wind=np.nan))
    form, rows = build_form("forest", pipeline, FEATURES), hard_rows(60)
    assert "wind" not in form.columns
    assert form.score(form.encode(rows)) == pytest.approx(original_scores(pipeline, rows), abs=TOLERANCE)


def test_a_model_of_one_class_has_no_fast_form():
    frame = make_frame(100, seed=0)
    pipeline = fit(build_pipeline("extra_trees", features=FEATURES, params={}, seed=1), frame, np.zeros(100, dtype=np.int8))
    assert build_fast_form(pipeline) is None
    choice = choose_form(pipeline, FEATURES, to_rows(frame[:5], FEATURES), tolerance=1e-6)
    assert (choice.form, choice.largest_difference) == (ORIGINAL, None)


def test_a_form_that_the_model_does_not_have_is_refused(trained):
    with pytest.raises(PermanentError, match="no form 'booster', only 'linear'"):
        build_form("booster", trained("logistic_regression"), FEATURES)


@pytest.mark.parametrize("algorithm", FORMS)
def test_the_fast_form_is_chosen_where_it_agrees(algorithm, trained):
    choice = choose_form(trained(algorithm), FEATURES, hard_rows(20), tolerance=1e-9)
    assert choice.form == FORMS[algorithm]
    assert choice.largest_difference is not None and choice.largest_difference <= TOLERANCE
    assert choice.n_rows == 440 and "440 rows agree" in choice.reason


def test_the_original_serves_where_the_fast_form_differs_by_more_than_allowed(trained):
    choice = choose_form(trained("logistic_regression"), FEATURES, hard_rows(20), tolerance=0.0)
    assert choice.form == ORIGINAL
    assert choice.largest_difference is not None and choice.largest_difference > 0
    assert "differs" in choice.reason


def test_a_fast_form_that_gives_no_numbers_is_not_chosen(trained, monkeypatch):
    pipeline = trained("hist_gradient_boosting")
    monkeypatch.setattr(fast_forms, "score_histogram_trees", lambda _: lambda values: np.full(len(values), np.nan))
    choice = choose_form(pipeline, FEATURES, hard_rows(20), tolerance=1e-6)
    assert (choice.form, choice.largest_difference) == (ORIGINAL, 1.0)


def test_where_a_library_changed_its_internals_the_original_serves(trained, monkeypatch):
    pipeline = trained("hist_gradient_boosting")
    monkeypatch.delattr(pipeline.named_steps["model"], "_preprocessor")
    choice = choose_form(pipeline, FEATURES, hard_rows(20), tolerance=1e-6)
    assert choice.form == ORIGINAL and "_preprocessor" in choice.reason


def test_synthetic_rows_are_repeatable_and_hard():
    golden = to_rows(make_frame(20, seed=0), FEATURES)
    rows = synthetic_rows(golden, FEATURES)
    assert rows == synthetic_rows(golden, FEATURES)
    assert {"never seen", None} <= {row["carrier"] for row in rows}
    assert 2**53 - 1 in {row["hour"] for row in rows} and -3.4e38 in {row["wind"] for row in rows}
    assert all(row["origin"] is not None for row in rows)


def test_single_rows_of_lightgbm_are_right_from_several_threads_at_once(trained):
    """Predictions and explanations each have a thread and share LightGBM's set-up for one row."""
    form = build_fast_form(trained("lightgbm"))
    values = form.encode(to_rows(make_frame(200, seed=3), FEATURES))
    expected = np.concatenate([form.score(row[np.newaxis]) for row in values])
    assert len(set(expected.tolist())) > 50

    def score_all(seed: int) -> bool:
        order = np.random.default_rng(seed).permutation(len(values))
        return all(form.score(values[[number]])[0] == expected[number] for number in order)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(score_all, range(40)))
