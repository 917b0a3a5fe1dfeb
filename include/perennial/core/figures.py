"""A metric with its sampling error, and what a window of some size would show if nothing had changed since the holdout."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata  # type: ignore[import-untyped]

from perennial.core.bootstrap import resample, weigh
from perennial.core.metrics import Labels, Scores, compute_metric, has_both_classes, row_losses
from perennial.core.samples import Scored

_WITH_FORMULA = frozenset({"roc_auc", "log_loss", "brier"})
# Of metrics without a formula for their error: so many resamples, of so many rows at most.
_RESAMPLES = 100
_MOST_ROWS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A metric and its standard error. `excess` is how many times as large that is as where every row stands for itself."""

    value: float
    error: float
    excess: float = 1.0


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


def compute_figure(metric: str, rows: Scored, *, seed: int) -> Figure | None:
    """Measure rows. The error is by a formula for the ROC AUC and for losses of single rows, else by a bootstrap.

    Where rows come in clusters, it is as large as the clusters differ. For metrics without a formula, as the Brier score does.

    Returns
    -------
    None where the metric is undefined: no rows, one class only.

    References
    ----------
    DeLong, E. R., DeLong, D. M. and Clarke-Pearson, D. L. (1988), Comparing the areas under two or more correlated receiver
    operating characteristic curves, Biometrics 44, 837-845; as fast as sorting after Sun, X. and Xu, W. (2014), IEEE Signal
    Processing Letters 21, 1389-1393. Clusters: Obuchowski, N. A. (1997), Nonparametric analysis of clustered ROC curve data,
    Biometrics 53, 567-578.
    """
    value = compute_metric(metric, rows.labels, rows.scores)
    if value is None or not has_both_classes(rows.labels):
        return None
    influences = _influences(metric if metric in _WITH_FORMULA else "brier", rows.labels, rows.scores)
    excess = _excess(influences, rows.clusters)
    if metric in _WITH_FORMULA:
        error = math.sqrt(float((influences**2).sum()))
    else:
        error = _resampled(metric, rows.labels, rows.scores, n=len(rows.labels), seed=seed).error
    return Figure(value=value, error=error * excess, excess=excess)


def compute_expected(metric: str, rows: Scored, *, size: Size, seed: int, excess: float = 1.0) -> Figure | None:
    """What other rows of the same kind, so many of them, would show: the figure and its error, that of these rows included.

    A calibration error is larger on fewer rows, by chance alone; so it is not the rows' own figure that is to be expected.

    Parameters
    ----------
    rows
        The holdout.
    size, excess
        Of the window. What differs more among clusters, the holdout or the window, tells for both.

    Returns
    -------
    None where the metric is undefined on the holdout, or the window lacks a class.
    """
    value = compute_metric(metric, rows.labels, rows.scores)
    if value is None or not (has_both_classes(rows.labels) and size.n_positive > 0 and size.n_negative > 0):
        return None
    influences = _influences(metric if metric in _WITH_FORMULA else "brier", rows.labels, rows.scores)
    excess = max(excess, _excess(influences, rows.clusters))
    if metric in _WITH_FORMULA:
        error = math.sqrt(_variance(influences, rows.labels, size_of(rows.labels)) + _variance(influences, rows.labels, size))
    else:
        # Both samples vary: as much as one alone of this size would.
        n = max(1, round(1 / (1 / len(rows.labels) + 1 / size.n)))
        resampled = _resampled(metric, rows.labels, rows.scores, n=n, seed=seed)
        value, error = resampled.value, resampled.error
    return Figure(value=value, error=error * excess, excess=excess)


def _influences(metric: str, labels: Labels, scores: Scores) -> NDArray[np.float64]:
    """How far each row moves the figure; their squares sum up to its variance."""
    if metric != "roc_auc":
        losses = row_losses(metric, labels, scores)
        return (losses - losses.mean()) / len(losses)
    placements = _placements(labels, scores)
    is_positive, n_positive = labels == 1, int(labels.sum())
    return (placements - placements[is_positive].mean()) / np.where(is_positive, n_positive, len(labels) - n_positive)


def _placements(labels: Labels, scores: Scores) -> NDArray[np.float64]:
    """Of each positive the share of negatives under it, of each negative the share of positives over it; ties half."""
    is_positive, overall = labels == 1, rankdata(scores)
    placements = np.empty(len(scores))
    placements[is_positive] = (overall[is_positive] - rankdata(scores[is_positive])) / (~is_positive).sum()
    placements[~is_positive] = 1 - (overall[~is_positive] - rankdata(scores[~is_positive])) / is_positive.sum()
    return placements


def _variance(influences: NDArray[np.float64], labels: Labels, size: Size) -> float:
    """Of the figure on rows of this kind and another size."""
    squares, is_positive = influences**2, labels == 1
    own = size_of(labels)
    return float(
        squares[is_positive].sum() * own.n_positive / size.n_positive
        + squares[~is_positive].sum() * own.n_negative / size.n_negative
    )


def _excess(influences: NDArray[np.float64], clusters: NDArray[np.integer] | None) -> float:
    """Never under 1: that a few clusters are alike by chance proves nothing."""
    if clusters is None:
        return 1.0
    numbers = np.unique(clusters, return_inverse=True)[1]
    sums = np.bincount(numbers, weights=influences)
    if len(sums) < 2:
        return 1.0
    ratio = float((sums**2).sum() / (influences**2).sum()) * len(sums) / (len(sums) - 1)
    return max(1.0, math.sqrt(ratio))


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
