import math

import numpy as np
import pytest

from perennial.core.metrics import SIGN, compute_calibration_error, compute_metric, compute_metrics

LABELS = np.array([0, 0, 1, 1], dtype=np.int8)


def scores(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


@pytest.mark.parametrize(
    ("metric", "given", "expected"),
    [
        ("roc_auc", scores(0.1, 0.4, 0.35, 0.8), 0.75),
        ("roc_auc", scores(0.5, 0.5, 0.5, 0.5), 0.5),
        ("average_precision", scores(0.1, 0.4, 0.35, 0.8), 0.5 * 1 + 0.5 * 2 / 3),
        ("brier", scores(0.0, 0.5, 0.5, 1.0), 0.125),
        ("log_loss", scores(0.5, 0.5, 0.5, 0.5), math.log(2)),
        ("calibration_error", scores(0.5, 0.5, 0.5, 0.5), 0.0),
        ("calibration_error", scores(0.25, 0.25, 0.25, 0.25), 0.25),
        ("calibration_error", scores(0.1, 0.2, 0.9, 1.0), 0.1),
    ],
)
def test_known_values(metric: str, given: np.ndarray, expected: float) -> None:
    assert compute_metric(metric, LABELS, given) == pytest.approx(expected)


def test_all_metrics_are_computed() -> None:
    assert compute_metrics(LABELS, scores(0.1, 0.4, 0.35, 0.8)).keys() == SIGN.keys()


def test_one_class_only_leaves_the_ranking_metrics_undefined() -> None:
    for label in (0, 1):
        found = compute_metrics(np.full(3, label, dtype=np.int8), scores(0.1, 0.5, 0.9))
        assert found.keys() == {"log_loss", "brier", "calibration_error"}


def test_no_rows_leave_every_metric_undefined() -> None:
    assert compute_metrics(np.array([], dtype=np.int8), scores()) == {}


def test_log_loss_of_a_certain_mistake_is_finite() -> None:
    assert compute_metric("log_loss", np.array([1], dtype=np.int8), scores(0.0)) == pytest.approx(-math.log(1e-15))


def test_calibration_error_does_not_depend_on_the_order_of_rows() -> None:
    generator = np.random.default_rng(0)
    given, labels = generator.random(1000).round(2), generator.integers(0, 2, 1000).astype(np.int8)
    order = generator.permutation(1000)
    assert compute_calibration_error(labels, given) == pytest.approx(compute_calibration_error(labels[order], given[order]))


def test_calibration_error_of_the_true_probabilities_is_small() -> None:
    generator = np.random.default_rng(0)
    given = generator.random(100_000)
    labels = (generator.random(100_000) < given).astype(np.int8)
    assert compute_calibration_error(labels, given) < 0.01
    assert compute_calibration_error(labels, given**2) > 0.1
