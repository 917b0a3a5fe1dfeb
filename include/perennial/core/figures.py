"""A metric with its sampling error, and what a window of some size would show if nothing had changed since the holdout."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata  # type: ignore[import-untyped]

from perennial.core.bootstrap import resample, weigh
from perennial.core.calibration_noise import compute_bins, expected_at, own_error, scale_to
from perennial.core.metrics import Labels, Scores, compute_metric, has_both_classes, row_losses
from perennial.core.samples import Scored

_RANKINGS = frozenset({"roc_auc", "average_precision"})
# For a metric without a formula for its error: so many resamples, of so many rows at most.
_RESAMPLES = 100
_MOST_ROWS = 5_000


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
    """Measure rows. The error is by a formula; that of the average precision by a bootstrap.

    Where rows come in clusters, it is as large as the clusters differ.

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
    influences = _influences(metric, rows.labels, rows.scores)
    excess = _excess(influences, rows.clusters)
    match metric:
        case "calibration_error":
            error = own_error(compute_bins(rows.labels, rows.scores))
        case "average_precision":
            error = _resampled_error(metric, rows, n=len(rows.labels), seed=seed)
        case _:
            error = math.sqrt(float((influences**2).sum()))
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
    influences = _influences(metric, rows.labels, rows.scores)
    excess = max(excess, _excess(influences, rows.clusters))
    match metric:
        case "calibration_error":
            value, error = expected_at(compute_bins(rows.labels, rows.scores), size.n)
        case "average_precision":
            # Both samples vary: as much as one alone of this size would.
            error = _resampled_error(metric, rows, n=1 / (1 / len(rows.labels) + 1 / size.n), seed=seed)
        case _:
            error = math.sqrt(sum(_variance(influences, rows.labels, each) for each in (size_of(rows.labels), size)))
    return Figure(value=value, error=error * excess, excess=excess)


def compute_floor(metric: str, floor: float, holdout: Scored, current: Scored, *, seed: int) -> Figure:
    """What a model whose true metric is just `floor` would show on rows like the window's, and the error of that.

    A calibration error is larger on few rows, by chance alone: the holdout's bins, scaled so that their error is the floor, tell
    by how much. Any other metric would show the floor, with the window's own error.

    Parameters
    ----------
    current
        The window, on which the metric is defined.
    """
    if metric == "calibration_error":
        value, error = expected_at(scale_to(compute_bins(holdout.labels, holdout.scores), floor), len(current.labels))
        excess = _excess(_influences(metric, current.labels, current.scores), current.clusters)
        return Figure(value=value, error=error * excess, excess=excess)
    figure = compute_figure(metric, current, seed=seed)
    return Figure(value=floor, error=figure.error if figure else math.inf, excess=figure.excess if figure else 1.0)


def compute_mean_error(rows: Scored) -> Figure:
    """The mean prediction minus the share of positives, with its standard error; there must be rows."""
    errors = rows.scores - rows.labels
    influences = (errors - errors.mean()) / len(errors)
    excess = _excess(influences, rows.clusters)
    return Figure(value=float(errors.mean()), error=math.sqrt(float((influences**2).sum())) * excess, excess=excess)


def _influences(metric: str, labels: Labels, scores: Scores) -> NDArray[np.float64]:
    """How far each row moves the figure; their squares sum up to its variance.

    For the average precision they are those of the ROC AUC, for the calibration error those of the Brier score: near enough
    to tell how much clusters differ.
    """
    if metric not in _RANKINGS:
        losses = row_losses("brier" if metric == "calibration_error" else metric, labels, scores)
        of_losses: NDArray[np.float64] = (losses - losses.mean()) / len(losses)
        return of_losses
    placements = _placements(labels, scores)
    is_positive, n_positive = labels == 1, int(labels.sum())
    n_alike = np.where(is_positive, n_positive, len(labels) - n_positive)
    of_places: NDArray[np.float64] = (placements - placements[is_positive].mean()) / n_alike
    return of_places


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


def _resampled_error(metric: str, rows: Scored, *, n: float, seed: int) -> float:
    """Of `n` rows of this kind, by a bootstrap of no more than a few thousand; NaN where one class was never drawn."""
    kept = np.random.default_rng(seed).permutation(len(rows.labels))[:_MOST_ROWS]
    n_drawn = min(max(1, round(n)), len(kept))
    measure = weigh(metric, rows.labels[kept], rows.scores[kept])
    values = resample(measure, len(kept), n_drawn=n_drawn, resamples=_RESAMPLES, seed=seed)
    return float(values.std()) * math.sqrt(n_drawn / n) if len(values) else math.nan
