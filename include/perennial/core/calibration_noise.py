"""How large a calibration error is by chance alone. It is a mean of distances, so on few rows it is large without any fault."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm  # type: ignore[import-untyped]

from perennial.core.metrics import N_BINS, Labels, Scores, calibration_bins


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """Per bin of the scores: its share of the rows, how far predicted is from observed, and the variance of a single row's.

    `n_rows` is infinite where the distances are not estimated.
    """

    shares: NDArray[np.float64]
    distances: NDArray[np.float64]
    variances: NDArray[np.float64]
    n_rows: float


def compute_bins(labels: Labels, scores: Scores) -> Bins:
    """Cut rows as the calibration error does; there must be some."""
    bins, distances = calibration_bins(scores), scores - labels
    counts = np.bincount(bins, minlength=N_BINS)
    used = counts > 0
    means = np.bincount(bins, weights=distances, minlength=N_BINS)[used] / counts[used]
    squares = np.bincount(bins, weights=distances**2, minlength=N_BINS)[used] / counts[used]
    return Bins(shares=counts[used] / len(labels), distances=means, variances=squares - means**2, n_rows=len(labels))


def own_error(bins: Bins) -> float:
    """Standard error of the rows' own calibration error."""
    return _error(bins, 1 / bins.n_rows)


def expected_at(bins: Bins, n: float) -> tuple[float, float]:
    """Calibration error that `n` other rows of this kind would show, and how much it would vary, with what these rows vary.

    What is seen of each bin is its true distance and a normal error, so the distance that counts is folded normal. These
    rows' own error is in what was seen already; only the rest is added.

    References
    ----------
    Leone, F. C., Nelson, L. S. and Nottingham, R. B. (1961), The folded normal distribution, Technometrics 3, 543-550.
    """
    rest = max(0.0, 1 / n - 1 / bins.n_rows)
    mean = float((bins.shares * _folded_mean(bins.distances, _spread(bins, rest))).sum())
    return mean, _error(bins, 1 / n + 1 / bins.n_rows)


def scale_to(bins: Bins, error: float) -> Bins:
    """Bins of the same kind whose true calibration error is `error`; distances that are all 0 become alike."""
    own = float((bins.shares * np.abs(bins.distances)).sum())
    distances = bins.distances * (error / own) if own else np.full_like(bins.distances, error)
    return replace(bins, distances=distances, n_rows=math.inf)


def _error(bins: Bins, per_row: float) -> float:
    spread = _spread(bins, per_row)
    variances = bins.distances**2 + spread**2 - _folded_mean(bins.distances, spread) ** 2
    return math.sqrt(max(0.0, float((bins.shares**2 * variances).sum())))


def _spread(bins: Bins, per_row: float) -> NDArray[np.float64]:
    """Standard error of each bin's distance; `per_row` is one over how many rows all bins have."""
    spread: NDArray[np.float64] = np.sqrt(np.maximum(bins.variances, 0.0) * per_row / bins.shares)
    return spread


def _folded_mean(mean: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.divide(mean, spread, out=np.full_like(mean, np.inf), where=spread > 0)
    folded: NDArray[np.float64] = 2 * spread * norm.pdf(ratio) + np.abs(mean) * (1 - 2 * norm.cdf(-np.abs(ratio)))
    return folded
