"""How far figures of a few requests can be trusted: bounds of shares, quantiles, and the shift between predictions."""

import math
from collections.abc import Sequence

import numpy as np

# Two-sided 99 %: a stage is looked at every second, and every look is another chance to be wrong.
Z_CLEAR = 2.576
# One-sided 95 %, for the one judgement at a stage's end.
Z_LIKELY = 1.645
# One-sided 99.9 %, for what is looked at as often and asks for the same proof at the end.
Z_SURE = 3.090


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


def compute_shift(ours: Sequence[float], theirs: Sequence[float], *, sizes: tuple[int, int] | None = None) -> tuple[float, float]:
    """By how much the mean of our log-odds is over that of theirs, and the standard error of that.

    Parameters
    ----------
    ours, theirs
        Probabilities, two or more of each.
    sizes
        How many of ours and of theirs were drawn independently, where they are fewer than there are: the rows of one request
        are alike. None: both are of the same rows, in the same order.

    Examples
    --------
    >>> [round(each, 2) for each in compute_shift([0.5, 0.8], [0.2, 0.5])]
    [1.39, 0.0]
    """
    before, after = _log_odds(theirs), _log_odds(ours)
    if sizes is None:
        variance = np.var(after - before, ddof=1) / len(after)
    else:
        both = zip((after, before), sizes, strict=True)
        variance = sum(np.var(values, ddof=1) / min(len(values), n) for values, n in both)
    return float(after.mean() - before.mean()), math.sqrt(variance)


def _log_odds(probabilities: Sequence[float]) -> np.ndarray:
    """Clipped: forests say 0 and 1, whose log-odds are infinite, and hardly a model tells apart what is under 1 %."""
    clipped = np.clip(np.asarray(probabilities), 0.01, 0.99)
    odds: np.ndarray = np.log(clipped / (1 - clipped))
    return odds
