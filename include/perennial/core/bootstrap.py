"""How sure we are that one model is better than another: a paired bootstrap over the rows both were judged on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perennial.core.metrics import N_BINS, SIGN, Labels, Scores, calibration_bins, row_losses
from perennial.core.rankings import average_precision, group_starts, roc_auc

Weights = NDArray[np.float64]
"""How often each row was drawn, shape (resamples, n)."""

Measure = Callable[[Weights], NDArray[np.float64]]
"""From row weights to one value per resample."""

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
    measures = [weigh(metric, labels, scores) for scores in (challenger, reference)]

    def difference(weights: Weights) -> NDArray[np.float64]:
        return SIGN[metric] * (measures[0](weights) - measures[1](weights))

    defined = resample(difference, n_rows, n_drawn=n_rows, resamples=resamples, seed=seed)
    estimate = float(difference(np.ones((1, n_rows)))[0])
    if np.isnan(estimate) or not len(defined):
        return None
    lower, upper = np.quantile(defined, [1 - confidence, confidence])
    return Improvement(estimate=estimate, lower=float(lower), upper=float(upper), n_resamples=len(defined))


def resample(measure: Measure, n_rows: int, *, n_drawn: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """Values of a measure on samples drawn with replacement, without those it is undefined on.

    Parameters
    ----------
    n_rows, n_drawn
        Rows there are, and rows that each sample has.
    """
    generator = np.random.default_rng(seed)
    chunk = max(1, _CELLS // n_rows)
    sizes = [min(chunk, resamples - start) for start in range(0, resamples, chunk)]
    values = np.concatenate([measure(_draw(generator, n_rows, n_drawn, size)) for size in sizes])
    defined: NDArray[np.float64] = values[~np.isnan(values)]
    return defined


def _draw(generator: np.random.Generator, n_rows: int, n_drawn: int, size: int) -> Weights:
    drawn = [np.bincount(generator.integers(0, n_rows, n_drawn), minlength=n_rows) for _ in range(size)]
    return np.asarray(drawn, dtype=np.float64)


def weigh(metric: str, labels: Labels, scores: Scores) -> Measure:
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


def _ranking(metric: str, labels: Labels, scores: Scores) -> Measure:
    order = np.argsort(-scores, kind="stable")
    starts, is_positive = group_starts(scores[order]), labels[order] == 1
    compute = roc_auc if metric == "roc_auc" else average_precision

    def measure(weights: Weights) -> NDArray[np.float64]:
        drawn = weights[:, order]
        return compute(
            np.add.reduceat(drawn * is_positive, starts, axis=1), np.add.reduceat(drawn * ~is_positive, starts, axis=1)
        )

    return measure
