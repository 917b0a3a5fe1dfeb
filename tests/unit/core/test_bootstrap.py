import numpy as np
import pytest

from perennial.core.bootstrap import Improvement, compute_improvement
from perennial.core.metrics import SIGN, compute_metric

GENERATOR = np.random.default_rng(0)
LABELS = (GENERATOR.random(2000) < 0.25).astype(np.int8)
GOOD = np.clip(GENERATOR.normal(0.25 + 0.2 * LABELS, 0.15), 0.01, 0.99)
TIED = np.clip(GENERATOR.normal(0.25 + 0.1 * LABELS, 0.2), 0.01, 0.99).round(1)
CONSTANT = np.full(2000, 0.25)


def improve(metric: str, challenger: np.ndarray, reference: np.ndarray, *, labels: np.ndarray = LABELS) -> Improvement | None:
    return compute_improvement(metric, labels, challenger=challenger, reference=reference, resamples=200, confidence=0.95, seed=1)


@pytest.mark.parametrize("metric", SIGN)
@pytest.mark.parametrize("reference", [TIED, CONSTANT], ids=["tied", "constant"])
def test_the_estimate_is_the_difference_of_the_metrics(metric: str, reference: np.ndarray) -> None:
    found = improve(metric, GOOD, reference)
    ours, theirs = compute_metric(metric, LABELS, GOOD), compute_metric(metric, LABELS, reference)
    assert found is not None and ours is not None and theirs is not None
    assert found.estimate == pytest.approx(SIGN[metric] * (ours - theirs), abs=1e-12)
    assert found.lower <= found.estimate <= found.upper or metric == "calibration_error"


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "log_loss", "brier"])
def test_better_is_up_for_every_metric(metric: str) -> None:
    better, worse = improve(metric, GOOD, TIED), improve(metric, TIED, GOOD)
    assert better is not None and worse is not None
    assert better.lower > 0 > worse.upper


def test_the_bounds_agree_with_a_bootstrap_done_the_slow_way() -> None:
    generator = np.random.default_rng(7)
    slow = []
    for _ in range(400):
        drawn = generator.integers(0, len(LABELS), len(LABELS))
        pair = [compute_metric("roc_auc", LABELS[drawn], each[drawn]) for each in (GOOD, TIED)]
        slow.append(pair[0] - pair[1])
    found = improve("roc_auc", GOOD, TIED)
    assert found is not None
    assert (found.lower, found.upper) == pytest.approx(np.quantile(slow, [0.05, 0.95]), abs=0.004)


def test_pairing_cancels_what_is_hard_for_both() -> None:
    found = improve("roc_auc", GOOD, GOOD - 0.001)
    assert found is not None
    assert (found.estimate, found.lower, found.upper) == (0.0, 0.0, 0.0)


def test_the_seed_decides_and_nothing_else() -> None:
    assert improve("roc_auc", GOOD, TIED) == improve("roc_auc", GOOD, TIED)


def test_large_inputs_are_resampled_in_pieces() -> None:
    labels, good, tied = (np.tile(each, 300) for each in (LABELS, GOOD, TIED))
    found = compute_improvement("brier", labels, challenger=good, reference=tied, resamples=3, confidence=0.95, seed=1)
    assert found is not None and found.n_resamples == 3


@pytest.mark.parametrize(
    "labels",
    [np.array([], dtype=np.int8), np.zeros(10, dtype=np.int8), np.ones(10, dtype=np.int8)],
    ids=["no rows", "no positives", "no negatives"],
)
def test_undefined_without_both_classes(labels: np.ndarray) -> None:
    for metric in ("roc_auc", "average_precision"):
        assert improve(metric, GOOD[: len(labels)], TIED[: len(labels)], labels=labels) is None


def test_resamples_without_both_classes_are_left_out() -> None:
    labels = np.zeros(50, dtype=np.int8)
    labels[:2] = 1
    found = improve("roc_auc", GOOD[:50], TIED[:50], labels=labels)
    assert found is not None and 100 < found.n_resamples < 200


def test_a_single_row_has_a_defined_loss_and_no_ranking() -> None:
    one = np.array([1], dtype=np.int8)
    assert improve("brier", np.array([0.9]), np.array([0.5]), labels=one) == Improvement(
        estimate=pytest.approx(0.24), lower=pytest.approx(0.24), upper=pytest.approx(0.24), n_resamples=200
    )
    assert improve("roc_auc", np.array([0.9]), np.array([0.5]), labels=one) is None
