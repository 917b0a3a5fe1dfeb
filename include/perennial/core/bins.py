"""Counts of two samples of a column in the same bins."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Column = pd.Series | NDArray[np.generic]
"""Values of one feature, shape (n,); None and NaN are missing."""

# Least rows of the smaller sample that a bin should hold. Cochran, W. G. (1954), Some methods for strengthening the common
# chi-square tests, Biometrics 10, 417-451.
_LEAST_EXPECTED = 5.0
# So many rows in a bin of which fewer than five were expected are no chance: one time in some millions.
_SURELY_SEEN = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Rows per bin of both samples, shape (bins,); no bin is empty in both."""

    reference: NDArray[np.float64]
    current: NDArray[np.float64]


def count_bins(reference: Column, current: Column, *, n_bins: int) -> Counts:
    """Count both samples in bins that the reference decides: quantiles of numbers, levels of categories, and missing values.

    Small bins are pooled into one.
    """
    counts = _count(_codes(reference, current, n_bins=n_bins))
    return Counts(reference=counts[0], current=counts[1])


def count_windows(column: Column, windows: NDArray[np.intp], *, n_bins: int) -> NDArray[np.float64]:
    """Count the windows of one sample in the bins that all of it decides, as `count_bins` does; shape (windows, bins).

    `windows` is the number of each row's window, from 0 on, shape (n,); rows under 0 are in none.
    """
    codes, _ = _codes(column, column[:0], n_bins=n_bins)
    return _count([codes[windows == number] for number in range(int(windows.max(initial=-1)) + 1)])


def _codes(reference: Column, current: Column, *, n_bins: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    if is_numeric(reference) and is_numeric(current):
        return _numeric_codes(_numbers(reference), _numbers(current), n_bins=n_bins)
    return _level_codes(reference, current)


def _count(codes: Sequence[NDArray[np.intp]]) -> NDArray[np.float64]:
    """Rows per bin of each sample, shape (samples, bins)."""
    size = max(int(each.max(initial=0)) for each in codes) + 1
    counts = np.stack([np.bincount(each, minlength=size) for each in codes]).astype(np.float64)
    return _pool(counts[:, counts.any(axis=0)])


def is_numeric(column: Column) -> bool:
    """Whether its values are numbers or booleans, so that they have an order."""
    return isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf"


def _numbers(column: Column) -> NDArray[np.float64]:
    return np.asarray(column, dtype=np.float64)


def _numeric_codes(
    reference: NDArray[np.float64], current: NDArray[np.float64], *, n_bins: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    known = np.sort(reference[~np.isnan(reference)])
    edges = _edges(known, n_bins=n_bins)
    # A value that fills a bin by itself is a bin of its own: what lies under it is not the same.
    filled = np.searchsorted(known, edges, side="right") - np.searchsorted(known, edges, side="left") >= len(known) / n_bins
    edges = np.sort(np.concatenate([edges, np.nextafter(edges[filled], -np.inf)]))
    return _cut(reference, edges), _cut(current, edges)


def _edges(known: NDArray[np.float64], *, n_bins: int) -> NDArray[np.float64]:
    if not len(known):
        return known
    return np.unique(known[(np.arange(1, n_bins) * len(known)) // n_bins])


def _cut(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.intp]:
    """Bin of each value: 0 where it is missing, else one more than the edges that lie under it."""
    codes: NDArray[np.intp] = np.where(np.isnan(values), 0, np.searchsorted(edges, values, side="left") + 1)
    return codes


def _level_codes(reference: Column, current: Column) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    both = np.concatenate([np.asarray(each, dtype=object) for each in (reference, current)])
    codes = pd.factorize(both)[0].astype(np.intp) + 1  # missing values are 0
    return codes[: len(reference)], codes[len(reference) :]


def _pool(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make one bin of the smallest ones: all that are too small, and further ones until it is large enough itself.

    A value that a large reference hardly has, and a small window often, is not too small to be seen.
    """
    sizes = counts.sum(axis=1, keepdims=True)
    expected = counts.sum(axis=0) / counts.sum() * sizes.min()
    seen = (counts / np.maximum(sizes, 1.0) * sizes.min()).max(axis=0)
    expected = np.where(seen >= _SURELY_SEEN, seen, expected)
    order = np.argsort(expected, kind="stable")
    n_small = int((expected < _LEAST_EXPECTED).sum())
    if n_small == 0:
        return counts
    n_enough = int(np.searchsorted(np.cumsum(expected[order]), _LEAST_EXPECTED)) + 1
    n_pooled = min(max(n_small, n_enough), len(order))
    pooled = counts[:, order[:n_pooled]].sum(axis=1, keepdims=True)
    return np.concatenate([pooled, counts[:, order[n_pooled:]]], axis=1)
