"""Expectations are held against labels that are drawn again and again by the same probabilities."""

import numpy as np
import pandas as pd
import pytest

from perennial.contracts.monitoring import Finding
from perennial.core.estimates import compare_estimate, estimate_metric, fit_calibration, judge_estimate
from perennial.core.metrics import SIGN, compute_metric
from perennial.core.samples import Scored

GENERATOR = np.random.default_rng(0)


def rows(n: int, *, a: float = 1.5, b: float = 3.0, seed: int = 1) -> Scored:
    """Scores that say half of the log-odds, and labels that follow the truth."""
    generator = np.random.default_rng(seed)
    truth = generator.beta(a, b, n)
    odds = np.log(truth / (1 - truth))
    labels = (generator.random(n) < truth).astype(np.int8)
    return Scored(features=pd.DataFrame(index=range(n)), labels=labels, scores=1 / (1 + np.exp(-odds / 2)))


HOLDOUT = rows(20_000)


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "log_loss", "brier"])
def test_an_estimate_is_the_mean_over_labels_that_might_come(metric: str) -> None:
    probabilities = GENERATOR.beta(1.5, 3, 2000)
    scores = np.clip(probabilities + GENERATOR.normal(0, 0.1, 2000), 0.01, 0.99).round(2)
    drawn = [(GENERATOR.random(2000) < probabilities).astype(np.int8) for _ in range(300)]
    values = [compute_metric(metric, labels, scores) for labels in drawn]
    assert estimate_metric(metric, scores, probabilities) == pytest.approx(np.mean(values), abs=0.003)


def test_scores_that_are_right_have_no_calibration_error_to_expect() -> None:
    scores = GENERATOR.beta(1.5, 3, 2000)
    assert estimate_metric("calibration_error", scores, scores) == 0
    assert estimate_metric("calibration_error", scores, np.clip(scores + 0.1, 0, 1)) == pytest.approx(0.1, abs=0.01)


def test_a_pair_of_two_rows_by_hand() -> None:
    # Of the two orders of one positive and one negative, the right one has 0.8 * 0.7 of 0.8 * 0.7 + 0.2 * 0.3.
    estimate = estimate_metric("roc_auc", np.array([0.9, 0.1]), np.array([0.8, 0.3]))
    assert estimate == pytest.approx(0.56 / 0.62)


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision"])
@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_rows_that_are_surely_of_one_class_have_no_ranking(metric: str, probability: float) -> None:
    assert estimate_metric(metric, np.array([0.2, 0.8]), np.full(2, probability)) is None


@pytest.mark.parametrize("metric", SIGN)
def test_no_rows_are_undefined(metric: str) -> None:
    assert estimate_metric(metric, np.array([]), np.array([])) is None


def test_calibration_says_what_came_with_such_scores() -> None:
    calibration = fit_calibration(HOLDOUT.labels, HOLDOUT.scores)
    assert calibration is not None
    scores = np.array([0.3, 0.5, 0.7])
    odds = 2 * np.log(scores / (1 - scores))
    assert calibration.apply(scores) == pytest.approx(1 / (1 + np.exp(-odds)), abs=0.04)
    assert np.all(np.diff(calibration.apply(np.linspace(-1, 2, 50))) >= 0)


@pytest.mark.parametrize("labels", [[], [0, 0], [1, 1]])
def test_one_class_cannot_be_calibrated_on(labels: list[int]) -> None:
    assert fit_calibration(np.array(labels, np.int8), np.linspace(0.2, 0.8, len(labels))) is None


@pytest.mark.parametrize("metric", ["roc_auc", "brier", "log_loss"])
@pytest.mark.parametrize(("a", "b"), [(1.5, 3.0), (4.0, 4.0), (6.0, 1.5)], ids=["same", "narrower", "other"])
def test_other_inputs_are_seen_before_the_labels_come(metric: str, a: float, b: float) -> None:
    current = rows(20_000, a=a, b=b, seed=2)
    found = judge_estimate(metric, HOLDOUT, current.scores)
    truth = compute_metric(metric, current.labels, current.scores)
    assert (found.aspect, found.measure, found.breached) == ("estimate", metric, False)
    assert found.value == pytest.approx(truth, abs=0.015)
    assert found.low is not None and found.high is not None and found.low < truth < found.high


def test_flipped_labels_are_not_seen() -> None:
    current = rows(5000, seed=2)
    found = judge_estimate("roc_auc", HOLDOUT, current.scores)
    assert found.value == pytest.approx(found.reference, abs=0.02)
    assert found.reason.startswith("roc_auc is estimated to be 0.7")


def test_what_cannot_be_estimated_says_why() -> None:
    one_class = Scored(features=HOLDOUT.features, labels=np.zeros(20_000, np.int8), scores=HOLDOUT.scores)
    found = [judge_estimate("roc_auc", one_class, HOLDOUT.scores), judge_estimate("roc_auc", HOLDOUT, np.array([]))]
    assert [each.value for each in found] == [None, None]
    assert [each.reason.removeprefix("roc_auc cannot be estimated: ") for each in found] == [
        "the holdout's labels are all the same",
        "there are no rows",
    ]


def test_rows_of_one_sure_class_cannot_be_estimated() -> None:
    separable = Scored(
        features=pd.DataFrame(index=range(100)), labels=np.repeat([0, 1], 50).astype(np.int8), scores=np.repeat([0.1, 0.9], 50)
    )
    found = judge_estimate("roc_auc", separable, np.full(10, 0.1))
    assert found.reason == "roc_auc cannot be estimated: all rows are surely of one class"


def known(value: float | None, *, margin: float = 0.01) -> Finding:
    bounds = (None, None) if value is None else (value - margin, value + margin)
    return Finding(aspect="performance", measure="roc_auc", reason="", value=value, low=bounds[0], high=bounds[1])


@pytest.mark.parametrize(
    ("estimated", "error", "said"),
    [
        (0.725, 0.025, "0.0250 too high, outside of the interval of what the labels say: 0.7250 against 0.7000"),
        (0.695, -0.005, "0.0050 too low, within the interval of what the labels say: 0.6950 against 0.7000"),
    ],
)
def test_an_estimate_is_held_against_the_truth(estimated: float, error: float, said: str) -> None:
    found = compare_estimate(known(estimated), known(0.7))
    assert (found.aspect, found.measure, found.breached) == ("estimate", "roc_auc_error", False)
    assert (found.value, found.low, found.high) == pytest.approx((error, error - 0.01, error + 0.01))
    assert found.reason == f"roc_auc was estimated {said}"


@pytest.mark.parametrize(("estimated", "came"), [(None, 0.7), (0.7, None)])
def test_what_is_not_known_is_not_compared(estimated: float | None, came: float | None) -> None:
    assert compare_estimate(known(estimated), known(came)).value is None
