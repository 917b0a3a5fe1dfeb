"""Metrics that rank, of rows that count more or less than once. Groups are rows with the same score, the highest first."""

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
"""How much the positives, or the negatives, of each group count, shape (resamples, groups)."""


def group_starts(ranked: NDArray[np.float64]) -> NDArray[np.intp]:
    """Where each score begins among sorted ones. Rows with the same score count at once: a tie says nothing about their order."""
    return np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])


def roc_auc(positives: Weights, negatives: Weights) -> NDArray[np.float64]:
    """Share of the pairs of a positive and a negative that are in the right order, ties half; NaN without both classes."""
    with np.errstate(invalid="ignore", divide="ignore"):
        result: NDArray[np.float64] = count_ordered(positives, negatives) / (positives.sum(axis=1) * negatives.sum(axis=1))
    return result


def count_ordered(positives: Weights, negatives: Weights) -> NDArray[np.float64]:
    """Pairs of a positive and a negative that are in the right order; ties count half."""
    beaten = negatives.sum(axis=1, keepdims=True) - np.cumsum(negatives, axis=1) + negatives / 2
    result: NDArray[np.float64] = (positives * beaten).sum(axis=1)
    return result


def average_precision(positives: Weights, negatives: Weights) -> NDArray[np.float64]:
    """Mean precision over the positives; NaN without both classes."""
    found = np.cumsum(positives, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.nan_to_num(found / (found + np.cumsum(negatives, axis=1)))
        defined = (positives.sum(axis=1) > 0) & (negatives.sum(axis=1) > 0)
        result: NDArray[np.float64] = np.where(defined, (positives * precision).sum(axis=1) / positives.sum(axis=1), np.nan)
    return result
