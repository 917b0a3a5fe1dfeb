"""How far figures of a few requests can be trusted: bounds of shares, quantiles, and the shift between two samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Two-sided 99 %: a stage is looked at every second, and every look is another chance to be wrong.
_Z_CLEAR = 2.576
# One-sided 99.9 %, for the same reason.
_Z_NOISE = 3.090
_N_BINS = 10


def bounds(n_hits: int, n: int) -> tuple[float, float]:
    """Least and most share that is believable after `n_hits` of `n`; anything where nothing was seen.

    References
    ----------
    The score interval: Wilson, E. B. (1927), Probable Inference, the Law of Succession, and Statistical Inference, JASA 22(158),
    209-212.

    Examples
    --------
    >>> [round(bound, 3) for bound in bounds(5, 100)]
    [0.017, 0.139]
    >>> bounds(0, 0)
    (0.0, 1.0)
    """
    if n == 0:
        return 0.0, 1.0
    share, z = n_hits / n, _Z_CLEAR
    middle, scale = share + z * z / (2 * n), 1 + z * z / n
    margin = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return min(share, max(0.0, (middle - margin) / scale)), max(share, min(1.0, (middle + margin) / scale))


def least_difference(ours: tuple[int, int], theirs: tuple[int, int]) -> float:
    """By how much, at least, our share is believably over theirs; each is so many of so many.

    References
    ----------
    Method 10 of Newcombe, R. G. (1998), Interval estimation for the difference between independent proportions, Statistics in
    Medicine 17, 873-890.

    Examples
    --------
    >>> round(least_difference((30, 300), (3, 300)), 3)
    0.044
    """
    our_share, their_share = (n_hits / n if n else 0.0 for n_hits, n in (ours, theirs))
    below, above = our_share - bounds(*ours)[0], bounds(*theirs)[1] - their_share
    return our_share - their_share - math.hypot(below, above)


def percentile_95(values: Sequence[float]) -> float:
    """The 95th percentile, as a value that was seen. Undefined for nothing: the caller asks for a minimum before.

    Examples
    --------
    >>> percentile_95([3.0, 1.0, 2.0])
    3.0
    """
    return float(np.quantile(np.asarray(values), 0.95, method="higher"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """A population stability index, and what of it two samples of one population could show by chance."""

    index: float
    noise: float

    @property
    def beyond_noise(self) -> float:
        return max(0.0, self.index - self.noise)


def compute_shift(
    reference: Sequence[float], current: Sequence[float], *, n_reference: int | None = None, n_current: int | None = None
) -> Shift:
    """Population stability index of `current` against `reference`, over the reference's deciles.

    Parameters
    ----------
    n_reference, n_current
        How many of the values were drawn independently, where they are fewer than there are: the rows of one request are alike.

    Notes
    -----
    Half a value is added to each bin, so that an empty one is no infinity. Deciles that fall together make fewer bins.

    References
    ----------
    Yurdakul, B. (2018), Statistical Properties of Population Stability Index, Western Michigan University: between samples of one
    population the index is (1/n + 1/m) times a chi-square variable with (bins - 1) degrees of freedom. `noise` is its 99.9 %
    quantile, by the approximation of Wilson and Hilferty (1931), PNAS 17(12), 684-688.

    Examples
    --------
    >>> compute_shift([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4]).index
    0.0
    """
    edges = np.unique(np.quantile(np.asarray(reference), np.linspace(0, 1, _N_BINS + 1)[1:-1]))
    before, after = _count(reference, edges), _count(current, edges)
    is_used = (before + after) > 0
    n_bins = int(is_used.sum())
    expected, found = (_smooth(counts[is_used]) for counts in (before, after))
    index = float(np.sum((found - expected) * np.log(found / expected)))
    scale = 1 / min(len(reference), n_reference or len(reference)) + 1 / min(len(current), n_current or len(current))
    return Shift(index=index, noise=scale * _chi_square_quantile(n_bins - 1))


def _count(values: Sequence[float], edges: np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted(edges, np.asarray(values)), minlength=len(edges) + 1)


def _smooth(counts: np.ndarray) -> np.ndarray:
    shares: np.ndarray = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    return shares


def _chi_square_quantile(degrees: int) -> float:
    if degrees < 1:
        return 0.0
    part = 2 / (9 * degrees)
    return float(degrees * (1 - part + _Z_NOISE * math.sqrt(part)) ** 3)
