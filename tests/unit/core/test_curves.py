import numpy as np
import pytest

from perennial.core.curves import compute_curves

LABELS = np.array([0, 0, 1, 1], dtype=np.int8)
SCORES = np.array([0.1, 0.4, 0.35, 0.8])


def test_curves_reach_both_ends() -> None:
    curves = compute_curves(LABELS, SCORES)
    assert (curves["roc"][0], curves["roc"][-1]) == ([0.0, 0.0], [1.0, 1.0])
    assert [point[0] for point in curves["precision_recall"]] == sorted((p[0] for p in curves["precision_recall"]), reverse=True)


def test_calibration_is_predicted_against_observed() -> None:
    curves = compute_curves(LABELS, np.full(4, 0.3))
    assert curves["calibration"] == [[0.3, 0.5]]


def test_curves_are_thinned_and_keep_their_ends() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 20_000).astype(np.int8)
    curves = compute_curves(labels, generator.random(20_000))
    assert all(len(points) <= 200 for points in curves.values())
    assert (curves["roc"][0], curves["roc"][-1]) == ([0.0, 0.0], [1.0, 1.0])


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only_has_no_ranking_curves(label: int) -> None:
    curves = compute_curves(np.full(4, label, dtype=np.int8), SCORES)
    assert curves["roc"] == curves["precision_recall"] == []
    assert curves["calibration"]


def test_no_rows_have_no_curves() -> None:
    assert compute_curves(np.array([], dtype=np.int8), np.array([])) == {"roc": [], "precision_recall": [], "calibration": []}
