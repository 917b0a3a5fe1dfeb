"""What a column looks like in two windows, for people to look at. How far apart they are is measured elsewhere."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perennial.contracts.pictures import Distribution

_N_BINS = 24
# A number of fewer values, such as the day of the week, is shown value by value.
_FEW_VALUES = 12
_N_LEVELS = 8
# What is rarer on either side would stretch the axis until nothing can be seen.
_TAIL = 0.005


def compute_distribution(subject: str, reference: pd.Series, current: pd.Series) -> Distribution:
    """Summarise a column of both windows.

    Numbers have bins of equal width over the middle 99 % of both windows. Categories, booleans and numbers of few values have
    levels: the eight that are most frequent in either window, numbers in their order.

    Returns
    -------
    Shares are all 0 in a window without known values; without any in both, there are neither bins nor levels.

    Examples
    --------
    >>> compute_distribution("origin", pd.Series(["EWR", "JFK", None, "JFK"]), pd.Series(["EWR"])).reference
    (0.3333333333333333, 0.6666666666666666)
    """
    windows = (reference, current)
    missing = [float(each.isna().mean()) if len(each) else 0.0 for each in windows]
    if not all(_is_number(each) for each in windows):
        return _of_levels(subject, [each.dropna().astype(str) for each in windows], missing, n=_N_LEVELS)
    numbers = [_finite(each) for each in windows]
    means = [float(each.mean()) if len(each) else None for each in numbers]
    if len(np.unique(np.concatenate(numbers))) <= _FEW_VALUES:
        named = [pd.Series(each, dtype=np.float64) for each in numbers]
        return _of_levels(subject, named, missing, n=_FEW_VALUES, means=means)
    low, high = np.quantile(np.concatenate(numbers), [_TAIL, 1 - _TAIL])
    edges = np.linspace(low, high if high > low else low + 1, _N_BINS + 1)
    shares = [_histogram(each, edges) for each in numbers]
    return Distribution(
        subject=subject,
        edges=tuple(edges.tolist()),
        reference=shares[0],
        current=shares[1],
        means=(means[0], means[1]),
        missing=(missing[0], missing[1]),
    )


def _is_number(column: pd.Series) -> bool:
    return isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf"


def _finite(column: pd.Series) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.to_numpy(dtype=np.float64)
    return values[np.isfinite(values)]


def _histogram(values: NDArray[np.float64], edges: NDArray[np.float64]) -> tuple[float, ...]:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), bins=edges)
    return tuple((counts / max(1, len(values))).tolist())


def _of_levels(
    subject: str,
    windows: Sequence[pd.Series],
    missing: Sequence[float],
    *,
    n: int,
    means: Sequence[float | None] = (None, None),
) -> Distribution:
    shares = [each.value_counts(normalize=True) for each in windows]
    both = pd.concat(shares, axis=1).fillna(0.0)
    # The most frequent in either window: a level that is new belongs here as much as one that is gone.
    kept = both.max(axis=1).sort_values(ascending=False, kind="stable").index[:n].sort_values()
    return Distribution(
        subject=subject,
        levels=tuple(_name(level) for level in kept),
        reference=tuple(float(shares[0].get(level, 0.0)) for level in kept),
        current=tuple(float(shares[1].get(level, 0.0)) for level in kept),
        means=(means[0], means[1]),
        missing=(missing[0], missing[1]),
    )


def _name(level: object) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)
