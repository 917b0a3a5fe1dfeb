"""How sure we are that one model is better than another: a paired bootstrap over the rows both were judged on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perennial.core.metrics import N_BINS, SIGN, Labels, Scores, calibration_bins, row_losses

Weights = NDArray[np.float64]
"""How often each row was drawn, shape (resamples, n)."""

_CELLS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Improvement:
    """By how much the challenger is better, more being better for every metric, with a one-sided bound at each end."""

    estimate: float
    lower: float
    upper: float
    n_resamples: int


def compute_improvement(
    metric: str,
    labels: Labels,
    *,
    challenger: Scores,
    reference: Scores,
    resamples: int,
    confidence: float,
    seed: int,
) -> Improvement | None:
    """Bootstrap metric(challenger) − metric(reference), with the sign turned for losses.

    Each resample draws n rows with replacement, the same for both models, so that what is hard for both cancels out.
    Resamples in which the metric is undefined are left out.

    Returns
    -------
    The difference on the rows themselves and the percentiles 1 − confidence and confidence of the resamples'
    differences. None when the metric is undefined on the rows or on every resample.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13 (percentile intervals).
    """
    n_rows = len(labels)
    if not n_rows:
        return None
    measures = [_weighted(metric, labels, scores) for scores in (challenger, reference)]

    def difference(weights: Weights) -> NDArray[np.float64]:
        return SIGN[metric] * (measures[0](weights) - measures[1](weights))

    generator = np.random.default_rng(seed)
    chunk = max(1, _CELLS // n_rows)
    sizes = [min(chunk, resamples - start) for start in range(0, resamples, chunk)]
    differences = np.concatenate([difference(_draw(generator, n_rows, size)) for size in sizes])
    defined = differences[~np.isnan(differences)]
    estimate = float(difference(np.ones((1, n_rows)))[0])
    if np.isnan(estimate) or not len(defined):
        return None
    lower, upper = np.quantile(defined, [1 - confidence, confidence])
    return Improvement(estimate=estimate, lower=float(lower), upper=float(upper), n_resamples=len(defined))


def _draw(generator: np.random.Generator, n_rows: int, size: int) -> Weights:
    drawn = [np.bincount(generator.integers(0, n_rows, n_rows), minlength=n_rows) for _ in range(size)]
    return np.asarray(drawn, dtype=np.float64)


def _weighted(metric: str, labels: Labels, scores: Scores) -> Callable[[Weights], NDArray[np.float64]]:
    """The metric as a function of row weights; NaN where it is undefined. What does not depend on them is done once."""
    match metric:
        case "roc_auc" | "average_precision":
            return _ranking(metric, labels, scores)
        case "calibration_error":
            distances = scores - labels
            in_bin = calibration_bins(scores)[:, None] == np.arange(N_BINS)
            return lambda weights: np.abs((weights * distances) @ in_bin).sum(axis=1) / weights.sum(axis=1)
        case _:
            losses = row_losses(metric, labels, scores)
            return lambda weights: weights @ losses / weights.sum(axis=1)


def _ranking(metric: str, labels: Labels, scores: Scores) -> Callable[[Weights], NDArray[np.float64]]:
    order = np.argsort(-scores, kind="stable")
    ranked, is_positive = scores[order], labels[order] == 1
    # Rows with the same score count at once: a tie says nothing about their order.
    group_starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])

    def measure(weights: Weights) -> NDArray[np.float64]:
        drawn = weights[:, order]
        positives = np.add.reduceat(drawn * is_positive, group_starts, axis=1)
        negatives = np.add.reduceat(drawn * ~is_positive, group_starts, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return _roc_auc(positives, negatives) if metric == "roc_auc" else _average_precision(positives, negatives)

    return measure


def _roc_auc(positives: Weights, negatives: Weights) -> NDArray[np.float64]:
    beaten = negatives.sum(axis=1, keepdims=True) - np.cumsum(negatives, axis=1) + negatives / 2
    result: NDArray[np.float64] = (positives * beaten).sum(axis=1) / (positives.sum(axis=1) * negatives.sum(axis=1))
    return result


def _average_precision(positives: Weights, negatives: Weights) -> NDArray[np.float64]:
    found = np.cumsum(positives, axis=1)
    precision = np.nan_to_num(found / (found + np.cumsum(negatives, axis=1)))
    defined = (positives.sum(axis=1) > 0) & (negatives.sum(axis=1) > 0)
    result: NDArray[np.float64] = np.where(defined, (positives * precision).sum(axis=1) / positives.sum(axis=1), np.nan)
    return result
