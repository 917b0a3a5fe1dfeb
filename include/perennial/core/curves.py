"""Curves for people to look at, thinned to what a plot can show."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from perennial.core.metrics import N_BINS, Labels, Scores, calibration_bins, has_both_classes

Points = list[list[float]]
"""Pairs (x, y)."""

_MOST_POINTS = 200


def compute_curves(labels: Labels, scores: Scores) -> Mapping[str, Points]:
    """ROC (false against true positive rate), precision against recall, calibration (predicted against observed ratio).

    Returns
    -------
    At most 200 points per curve, ends included. The ranking curves are empty where there is one class only, all are
    where there are no rows.
    """
    if not len(labels):
        return {"roc": [], "precision_recall": [], "calibration": []}
    calibration = _calibration(labels, scores)
    if not has_both_classes(labels):
        return {"roc": [], "precision_recall": [], "calibration": calibration}
    false_positive, true_positive, _ = roc_curve(labels, scores)
    precision, recall, _ = precision_recall_curve(labels, scores)
    return {
        "roc": _thin(false_positive, true_positive),
        "precision_recall": _thin(recall, precision),
        "calibration": calibration,
    }


def _calibration(labels: Labels, scores: Scores) -> Points:
    bins = calibration_bins(scores)
    counts = np.bincount(bins, minlength=N_BINS)
    used = counts > 0
    predicted = np.bincount(bins, weights=scores, minlength=N_BINS)[used] / counts[used]
    observed = np.bincount(bins, weights=labels, minlength=N_BINS)[used] / counts[used]
    return _thin(predicted, observed)


def _thin(x: NDArray[np.float64], y: NDArray[np.float64]) -> Points:
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).round().astype(int))
    return [[round(float(a), 5), round(float(b), 5)] for a, b in zip(x[kept], y[kept], strict=True)]
