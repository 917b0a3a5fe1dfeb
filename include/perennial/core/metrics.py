"""Metrics of binary classification. A metric that is undefined on some rows is None, or absent from a mapping."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

Labels = NDArray[np.int8]
Scores = NDArray[np.float64]

SIGN: Mapping[str, int] = MappingProxyType(
    {"roc_auc": 1, "average_precision": 1, "log_loss": -1, "brier": -1, "calibration_error": -1}
)
"""Per metric: 1 where more is better, -1 for losses."""

N_BINS = 10
_EPSILON = 1e-15
_NEEDS_BOTH_CLASSES = frozenset({"roc_auc", "average_precision"})


def compute_metrics(labels: Labels, scores: Scores) -> dict[str, float]:
    """Compute every metric that is defined on these rows.

    Parameters
    ----------
    labels
        0 or 1, shape (n,).
    scores
        Probability of class 1, shape (n,).

    Examples
    --------
    >>> compute_metrics(np.array([1, 1], np.int8), np.array([0.5, 0.5]))["brier"]
    0.25
    """
    values = {name: compute_metric(name, labels, scores) for name in SIGN}
    return {name: value for name, value in values.items() if value is not None}


def compute_metric(name: str, labels: Labels, scores: Scores) -> float | None:
    """Compute one metric.

    Returns
    -------
    None when it is undefined: there are no rows, or the metric ranks and there is one class only.
    """
    if not len(labels) or (name in _NEEDS_BOTH_CLASSES and not has_both_classes(labels)):
        return None
    match name:
        case "roc_auc":
            return float(sklearn_metrics.roc_auc_score(labels, scores))
        case "average_precision":
            return float(sklearn_metrics.average_precision_score(labels, scores))
        case "calibration_error":
            return compute_calibration_error(labels, scores)
        case _:
            return float(row_losses(name, labels, scores).mean())


def has_both_classes(labels: Labels) -> bool:
    """Whether positives and negatives both occur."""
    return 0 < int(labels.sum()) < len(labels)


def row_losses(name: str, labels: Labels, scores: Scores) -> NDArray[np.float64]:
    """Loss of each row, whose mean is the log loss or the Brier score. Probabilities of 0 and 1 are clipped for the log loss."""
    if name == "brier":
        return (scores - labels) ** 2
    clipped = np.clip(scores, _EPSILON, 1 - _EPSILON)
    return -np.log(np.where(labels == 1, clipped, 1 - clipped))


def compute_calibration_error(labels: Labels, scores: Scores) -> float:
    """Expected calibration error: mean distance of predicted from observed ratio, over bins of about equal size.

    Rows with the same score share a bin, so a constant score has one bin and as error the distance of that score from
    the observed ratio.

    References
    ----------
    Naeini, Cooper, Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015 (the error);
    Nixon et al., "Measuring calibration in deep learning", CVPR workshops 2019 (bins of equal size instead of equal width).
    """
    distances = np.bincount(calibration_bins(scores), weights=scores - labels, minlength=N_BINS)
    return float(np.abs(distances).sum() / len(labels))


def calibration_bins(scores: Scores) -> NDArray[np.intp]:
    """Bin of each row, 0 to `N_BINS` - 1, cut at the deciles of the scores."""
    edges = np.quantile(scores, np.linspace(0, 1, N_BINS + 1)[1:-1])
    return np.searchsorted(edges, scores, side="right")
