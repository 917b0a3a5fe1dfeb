import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from perennial.core.rankings import average_precision, group_starts, roc_auc

SCORES = np.array([0.9, 0.9, 0.5, 0.4, 0.4, 0.4, 0.1])
LABELS = np.array([1, 0, 1, 0, 1, 0, 0])
STARTS = group_starts(SCORES)


def test_rows_of_one_score_are_one_group() -> None:
    assert STARTS.tolist() == [0, 2, 3, 6]


@pytest.mark.parametrize("weights", [np.ones(7), np.array([2.0, 1, 0.5, 3, 1, 0, 1])])
def test_they_are_the_metrics_of_weighted_rows(weights: np.ndarray) -> None:
    sums = [np.add.reduceat(weights * is_class, STARTS)[None] for is_class in (LABELS == 1, LABELS == 0)]
    assert roc_auc(*sums)[0] == pytest.approx(roc_auc_score(LABELS, SCORES, sample_weight=weights))
    assert average_precision(*sums)[0] == pytest.approx(average_precision_score(LABELS, SCORES, sample_weight=weights))


def test_one_class_is_undefined() -> None:
    nobody, somebody = np.zeros((1, 3)), np.ones((1, 3))
    for positives, negatives in ((nobody, somebody), (somebody, nobody)):
        assert np.isnan(roc_auc(positives, negatives)[0]) and np.isnan(average_precision(positives, negatives)[0])
