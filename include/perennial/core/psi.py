"""How far one column of a window is from the reference's: a population stability index that means the same at every size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2  # type: ignore[import-untyped]

from perennial.core.bins import Column, Counts, count_bins, count_stretches

# Fewer rows say nothing about a distribution.
MIN_ROWS = 30
# Of fewer, the index of a stretch is noise.
_STRETCH_ROWS = 200
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


def usual_psi(reference: Column, n_stretches: int, *, n_bins: int = 10) -> float:
    """How far a stretch of the reference lies from the rest of it: what 19 of 20 stretches do not exceed.

    A week differs from its year, whatever the model learned; only what is further away than that is news.

    Parameters
    ----------
    reference
        In the order of time.
    n_stretches
        How many windows long it is. Stretches get longer than a window where they would have fewer than 200 rows.

    Returns
    -------
    0 where it is less than two windows long, and about 0 where every stretch is like the others.

    Examples
    --------
    >>> usual_psi(np.tile(np.arange(1000), 4), 4)
    0.0
    >>> round(usual_psi(np.repeat([0, 1, 0, 1], 1000), 4), 1)
    5.5
    """
    n = min(n_stretches, len(reference) // _STRETCH_ROWS)
    if n < 2:
        return 0.0
    counts = count_stretches(reference, n_stretches=n, n_bins=n_bins)
    total = counts.sum(axis=0)
    return float(np.quantile([_debiased_index(Counts(reference=total - each, current=each)) for each in counts], 0.95))


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


def _debiased_index(counts: Counts) -> float:
    shares = [(each + _PSEUDO_COUNT) / (each + _PSEUDO_COUNT).sum() for each in (counts.reference, counts.current)]
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
