"""How far figures of a few requests can be trusted: bounds of shares, quantiles, and the shift between two samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Two-sided 99 %: a stage is looked at every second, and every look is another chance to be wrong.
Z_CLEAR = 2.576
# One-sided 95 %, for the one judgement at a stage's end.
Z_LIKELY = 1.645
# One-sided 99.9 %, for the same reason.
_Z_NOISE = 3.090
_N_BINS = 10


def bounds(n_hits: int, n: int, *, z: float = Z_CLEAR) -> tuple[float, float]:
    """Least and most share that is believable after `n_hits` of `n`; anything where nothing was seen.

    Parameters
    ----------
    z
        How sure to be, in standard deviations of the normal distribution.

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
    share = n_hits / n
    middle, scale = share + z * z / (2 * n), 1 + z * z / n
    margin = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return min(share, max(0.0, (middle - margin) / scale)), max(share, min(1.0, (middle + margin) / scale))


def least_difference(ours: tuple[int, int], theirs: tuple[int, int], *, z: float = Z_CLEAR) -> float:
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
    below, above = our_share - bounds(*ours, z=z)[0], bounds(*theirs, z=z)[1] - their_share
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
    """A population stability index, and what of it chance alone shows where nothing is shifted.

    `expected` is the mean of that, `noise` is exceeded once in a thousand times.
    """

    index: float
    expected: float
    noise: float

    @property
    def corrected(self) -> float:
        """The index without what is to be expected of chance: with few values it is large though nothing is shifted."""
        return max(0.0, self.index - self.expected)

    def is_clearly_over(self, limit: float) -> bool:
        return self.corrected > limit and self.index > self.noise


def compute_shift(
    reference: Sequence[float], current: Sequence[float], *, n_reference: int | None = None, n_current: int | None = None
) -> Shift:
    """Population stability index of `current` against `reference`, two samples, over the reference's deciles.

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
    edges = _edges(reference)
    before, after = (_count(_bins(values, edges), edges) for values in (reference, current))
    scale = 1 / min(len(reference), n_reference or len(reference)) + 1 / min(len(current), n_current or len(current))
    return _to_shift(before, after, scale=scale)


def compute_paired_shift(reference: Sequence[float], current: Sequence[float]) -> Shift:
    """The same where both hold predictions for the same rows, in the same order.

    Chance shows much less then: a row whose prediction stays in its bin adds nothing. If rows leave a bin as often as they enter
    it, the square of the difference in a bin is, in the mean, the number of rows that did either. For predictions that have
    nothing to do with each other that is what two samples show.

    Examples
    --------
    >>> compute_paired_shift([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4]).noise
    0.0
    """
    edges = _edges(reference)
    ours, theirs = _bins(current, edges), _bins(reference, edges)
    before, after, stayed = (_count(each, edges) for each in (theirs, ours, ours[ours == theirs]))
    both = before + after
    is_used = both > 0
    n_bins = int(is_used.sum())
    n_moved = both - 2 * stayed
    expected = float(np.sum(n_moved[is_used] / both[is_used])) * 2 / len(reference)
    return _to_shift(before, after, scale=expected / max(1, n_bins - 1))


def _to_shift(before: np.ndarray, after: np.ndarray, *, scale: float) -> Shift:
    """The index of two histograms; `scale` is that of the chi-square variable that it is by chance."""
    is_used = (before + after) > 0
    degrees = int(is_used.sum()) - 1
    expected, found = (_smooth(counts[is_used]) for counts in (before, after))
    index = float(np.sum((found - expected) * np.log(found / expected)))
    return Shift(index=index, expected=scale * degrees, noise=scale * _chi_square_quantile(degrees))


def _edges(reference: Sequence[float]) -> np.ndarray:
    return np.unique(np.quantile(np.asarray(reference), np.linspace(0, 1, _N_BINS + 1)[1:-1]))


def _bins(values: Sequence[float], edges: np.ndarray) -> np.ndarray:
    return np.searchsorted(edges, np.asarray(values))


def _count(bins: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.bincount(bins, minlength=len(edges) + 1)


def _smooth(counts: np.ndarray) -> np.ndarray:
    shares: np.ndarray = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    return shares


def _chi_square_quantile(degrees: int) -> float:
    if degrees < 1:
        return 0.0
    part = 2 / (9 * degrees)
    return float(degrees * (1 - part + _Z_NOISE * math.sqrt(part)) ** 3)
