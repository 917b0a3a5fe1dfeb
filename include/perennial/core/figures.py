"""A metric with its sampling error, and what a window of some size would show if nothing had changed since the holdout."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata  # type: ignore[import-untyped]

from perennial.core.bootstrap import resample, weigh
from perennial.core.metrics import Labels, Scores, compute_metric, has_both_classes, row_losses

# Of metrics without a formula for their error: so many resamples, of so many rows at most.
_RESAMPLES = 100
_MOST_ROWS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A metric and its standard error."""

    value: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many rows of each class there are."""

    n_positive: float
    n_negative: float

    @property
    def n(self) -> float:
        return self.n_positive + self.n_negative


def size_of(labels: Labels) -> Size:
    """Rows of each class among some labels."""
    n_positive = int(labels.sum())
    return Size(n_positive=n_positive, n_negative=len(labels) - n_positive)


def compute_figure(metric: str, labels: Labels, scores: Scores, *, seed: int) -> Figure | None:
    """Measure rows. The error is by a formula for the ROC AUC and for losses of single rows, else by a bootstrap.

    Returns
    -------
    None where the metric is undefined: no rows, one class only.

    References
    ----------
    DeLong, E. R., DeLong, D. M. and Clarke-Pearson, D. L. (1988), Comparing the areas under two or more correlated receiver
    operating characteristic curves, Biometrics 44, 837-845; as fast as sorting after Sun, X. and Xu, W. (2014), IEEE Signal
    Processing Letters 21, 1389-1393.
    """
    value = compute_metric(metric, labels, scores)
    if value is None or not has_both_classes(labels):
        return None
    match metric:
        case "roc_auc":
            error = _delong_error(labels, scores, size_of(labels))
        case "log_loss" | "brier":
            error = _loss_error(metric, labels, scores, n=len(labels))
        case _:
            error = _resampled(metric, labels, scores, n=len(labels), seed=seed).error
    return Figure(value=value, error=error)


def compute_expected(metric: str, labels: Labels, scores: Scores, *, size: Size, seed: int) -> Figure | None:
    """What other rows of the same kind, so many of them, would show: the figure and its error, that of these rows included.

    A calibration error is larger on fewer rows, by chance alone; so it is not the rows' own figure that is to be expected.

    Parameters
    ----------
    labels, scores
        Of the holdout.
    size
        Of the window.

    Returns
    -------
    None where the metric is undefined on the holdout, or the window lacks a class.
    """
    value = compute_metric(metric, labels, scores)
    if value is None or not (has_both_classes(labels) and size.n_positive > 0 and size.n_negative > 0):
        return None
    # Both samples vary: as much as one alone of this size would.
    n = 1 / (1 / len(labels) + 1 / size.n)
    match metric:
        case "roc_auc":
            errors = [_delong_error(labels, scores, each) for each in (size_of(labels), size)]
            return Figure(value=value, error=math.hypot(*errors))
        case "log_loss" | "brier":
            return Figure(value=value, error=_loss_error(metric, labels, scores, n=n))
        case _:
            return _resampled(metric, labels, scores, n=max(1, round(n)), seed=seed)


def _delong_error(labels: Labels, scores: Scores, size: Size) -> float:
    """Of the ROC AUC on rows of this kind and that size."""
    of_positives, of_negatives = _placements(labels, scores)
    return math.sqrt(of_positives.var() / size.n_positive + of_negatives.var() / size.n_negative)


def _placements(labels: Labels, scores: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per positive the share of negatives under it, per negative the share of positives over it; ties half."""
    is_positive = labels == 1
    positives, negatives = scores[is_positive], scores[~is_positive]
    overall = rankdata(np.concatenate([positives, negatives]))
    n_positive, n_negative = len(positives), len(negatives)
    under = (overall[:n_positive] - rankdata(positives)) / n_negative
    over = 1 - (overall[n_positive:] - rankdata(negatives)) / n_positive
    return under, over


def _loss_error(metric: str, labels: Labels, scores: Scores, *, n: float) -> float:
    return float(row_losses(metric, labels, scores).std()) / math.sqrt(n)


def _resampled(metric: str, labels: Labels, scores: Scores, *, n: int, seed: int) -> Figure:
    """What `n` rows of this kind show, by a bootstrap."""
    if len(labels) > _MOST_ROWS:
        kept = np.random.default_rng(seed).permutation(len(labels))[:_MOST_ROWS]
        labels, scores = labels[kept], scores[kept]
    n_drawn = min(n, _MOST_ROWS)
    values = resample(weigh(metric, labels, scores), len(labels), n_drawn=n_drawn, resamples=_RESAMPLES, seed=seed)
    if not len(values):
        return Figure(value=math.nan, error=math.nan)
    return Figure(value=float(values.mean()), error=float(values.std()) * math.sqrt(n_drawn / n))
