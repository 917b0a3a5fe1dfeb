"""How far one column of a window is from the reference's: a population stability index that means the same at every size."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2  # type: ignore[import-untyped]

from perennial.core.bins import Column, Counts, count_bins, count_windows

# Fewer rows say nothing about a distribution.
MIN_ROWS = 30
# Of fewer, the index of a window is noise.
_WINDOW_ROWS = 200
# Fewer say little of what all but a twentieth do.
_LEAST_WINDOWS = 10
# Added to every count, so that an empty bin is far away instead of infinitely far.
_PSEUDO_COUNT = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Psi:
    """Distance of two samples of one column. `value` and `p_value` are None where `undefined` says why.

    Parameters
    ----------
    value
        The index, debiased: 0 where nothing changed, whatever the sizes.
    p_value
        Chance of so different counts where nothing changed.
    n_bins
        Bins that were compared, missing values among them.
    """

    value: float | None
    p_value: float | None
    n_bins: int
    undefined: str = ""


def compute_psi(reference: Column, current: Column, *, n_bins: int = 10) -> Psi:
    """Compare a column of the window with the reference's.

    Numbers are cut at the reference's quantiles; a value that alone fills a bin has one of its own. Of categories each level is
    a bin. Missing values are a bin too. Bins that would hold fewer than five rows of the smaller sample are pooled, so that
    a hundred levels do not drift by chance. From the index its own expectation under no change, (B − 1)(1/n + 1/m), is taken
    away, and what is left is never under 0.

    Parameters
    ----------
    reference, current
        Of any length, in any order. Numbers and booleans are cut, infinite ones as the largest and smallest there are; all else
        is categories. Where one column is numbers and the other is not, both are taken as categories.
    n_bins
        Bins of about equal size that the reference's numbers are cut into.

    Returns
    -------
    Undefined where either has fewer than 30 rows. 0 with p-value 1 where both hold the same constant, or only missing values. Two
    different constants, only new categories, or all missing on one side, are as far apart as the sizes can show.

    References
    ----------
    Yurdakul, B. and Naranjo, J. (2020), Statistical properties of the population stability index, Journal of Risk Model
    Validation 14(4): PSI is about (1/n + 1/m) times a chi-square of B − 1 degrees where nothing changed, hence the debiasing.
    The p-value: Pearson's chi-square test of homogeneity on the same bins.

    Examples
    --------
    >>> compute_psi(np.arange(1000), np.arange(1000)).value
    0.0
    >>> round(compute_psi(np.arange(1000), np.arange(500, 1500)).value, 1)
    3.4
    """
    least = min(len(reference), len(current))
    if least < MIN_ROWS:
        return Psi(value=None, p_value=None, n_bins=0, undefined=f"{least} rows are too few to compare; {MIN_ROWS} are needed")
    counts = count_bins(reference, current, n_bins=n_bins)
    return Psi(value=_debiased_index(counts), p_value=_p_value(counts), n_bins=len(counts.reference))


def number_windows(times: NDArray[np.datetime64], width: timedelta) -> NDArray[np.intp]:
    """Number of the window of each row, counted back from the last row: 0 is the latest; -1 before the first whole one.

    Examples
    --------
    >>> days = np.arange("2013-01-01", "2013-01-06", dtype="datetime64[D]")
    >>> number_windows(days.astype("datetime64[ns]"), timedelta(days=2)).tolist()
    [-1, 1, 1, 0, 0]
    """
    if not len(times):
        return np.empty(0, dtype=np.intp)
    ages = (times.max() - times) / np.timedelta64(width)
    # The first hours of a window may have had no rows.
    n_whole = int(ages.max() + 0.1)
    return np.where(ages < n_whole, ages.astype(np.intp), -1)


def usual_psi(
    values: Column, windows: NDArray[np.intp], *, n_rows: int, n_reference: int | None = None, n_bins: int = 10
) -> float:
    """How far windows of a time that nobody complained of lie from each other: what 19 of 20 do not exceed.

    A week differs from its year, whatever the model learned; only what is further away than that is news.

    Parameters
    ----------
    values, windows
        A column and the number of each row's window, as `number_windows` gives it; both of shape (n,).
    n_rows
        Of the window that is to be held against it: an empty bin lies further off in a large one.
    n_reference
        How many windows in a row each is compared with, wherever they are; None: with all others.

    Returns
    -------
    About 0 where all are alike; 0 with fewer than ten windows. Where they have fewer than 200 rows, some in a row are one.

    Examples
    --------
    >>> weeks = np.repeat(np.arange(12), 1000)
    >>> usual_psi(np.tile(np.arange(1000), 12), weeks, n_rows=1000)
    0.0
    >>> round(usual_psi(np.repeat([0, 1] * 6, 1000), weeks, n_rows=1000), 1)
    4.2
    """
    n_windows = int(windows.max(initial=-1)) + 1
    n_joined = max(1, math.ceil(n_windows * _WINDOW_ROWS / max(1, (windows >= 0).sum())))
    if n_windows < n_joined * _LEAST_WINDOWS:
        return 0.0
    counts = count_windows(values, windows // n_joined, n_bins=n_bins)
    counts = counts[counts.any(axis=1)]
    pairs = _pair(counts, len(counts) if n_reference is None else max(1, n_reference // n_joined))
    return float(np.quantile([_debiased_index(pair, n_rows=n_rows) for pair in pairs], 0.95))


def _pair(counts: NDArray[np.float64], n_reference: int) -> Iterator[Counts]:
    """Each window with so many others in a row, or with all others where there are no more."""
    n, total = len(counts), counts.sum(axis=0)
    for number, current in enumerate(counts):
        if n_reference >= n - 1:
            yield Counts(reference=total - current, current=current)
            continue
        for first in range(n - n_reference + 1):
            if not first <= number < first + n_reference:
                yield Counts(reference=counts[first : first + n_reference].sum(axis=0), current=current)


def adjust_p_values(p_values: Sequence[float]) -> tuple[float, ...]:
    """Correct p-values for how many there are, after Holm: the chance that any of them is that small by accident.

    References
    ----------
    Holm, S. (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 65-70.

    Examples
    --------
    >>> adjust_p_values([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.asarray(p_values, dtype=np.float64)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return tuple(adjusted.tolist())


def _debiased_index(counts: Counts, *, n_rows: int | None = None) -> float:
    """The index, as if the current sample had so many rows with the same shares."""
    scale = 1.0 if n_rows is None else n_rows / counts.current.sum()
    scaled = [each + _PSEUDO_COUNT for each in (counts.reference, counts.current * scale)]
    shares = [each / each.sum() for each in scaled]
    index = float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
    by_chance = (len(counts.reference) - 1) * (1 / counts.reference.sum() + 1 / counts.current.sum())
    return max(0.0, index - float(by_chance))


def _p_value(counts: Counts) -> float:
    if len(counts.reference) < 2:
        return 1.0
    observed = np.stack([counts.reference, counts.current])
    expected = observed.sum(axis=1, keepdims=True) * observed.sum(axis=0) / observed.sum()
    statistic = ((observed - expected) ** 2 / expected).sum()
    return float(chi2.sf(statistic, len(counts.reference) - 1))
