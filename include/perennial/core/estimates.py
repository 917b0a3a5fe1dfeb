"""What a model's performance should be on rows whose labels have not come: an estimate, and to be called one.

References
----------
CBPE, confidence-based performance estimation: NannyML's documentation, "Confidence-based Performance Estimation (CBPE)", and
Białek, J., Kuberski, W., Perrakis, N. and Bifet, A. (2024), Estimating Model Performance Under Covariate Shift Without
Labels, arXiv:2401.08348. It holds while labels follow the scores as they did on the holdout: it sees other inputs, and is
blind to concept drift.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm  # type: ignore[import-untyped]
from sklearn.isotonic import IsotonicRegression

from perennial.contracts.monitoring import Finding
from perennial.core.figures import Size, compute_expected
from perennial.core.metrics import N_BINS, Labels, Scores, calibration_bins, has_both_classes, row_losses
from perennial.core.rankings import average_precision, count_ordered, group_starts
from perennial.core.samples import Scored


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """From scores to the share of positives that came with them: corners of an isotonic fit, both of shape (corners,)."""

    scores: NDArray[np.float64]
    ratios: NDArray[np.float64]

    def apply(self, scores: Scores) -> Scores:
        """Probability that each row is positive, by what the holdout's labels said of such scores."""
        return np.interp(scores, self.scores, self.ratios)


def fit_calibration(labels: Labels, scores: Scores) -> Calibration | None:
    """Fit on the holdout. None where it has one class only or no rows.

    References
    ----------
    Zadrozny, B. and Elkan, C. (2002), Transforming classifier scores into accurate multiclass probability estimates, KDD.
    """
    if not has_both_classes(labels):
        return None
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, labels)
    return Calibration(scores=fitted.X_thresholds_, ratios=fitted.y_thresholds_)


def estimate_metric(name: str, scores: Scores, probabilities: Scores) -> float | None:
    """Expected value of a metric of `metrics.SIGN`, if each row is positive with its probability.

    The losses are exact expectations. The ROC AUC is the expected number of ordered pairs over the expected number of pairs,
    the average precision is of rows that count as positives by their probability; both come near the expectation as rows grow
    many.

    Parameters
    ----------
    scores
        What the model said, shape (n,).
    probabilities
        What that means, calibrated, shape (n,).

    Returns
    -------
    None where there are no rows, or the metric ranks and no row, or every row, is surely positive.

    Examples
    --------
    >>> estimate_metric("brier", np.array([0.5, 0.5]), np.array([0.5, 1.0]))
    0.25
    >>> estimate_metric("roc_auc", np.array([0.9, 0.1]), np.array([1.0, 0.0]))
    1.0
    """
    if not len(scores):
        return None
    value = _EXPECTATIONS[name](scores, probabilities)
    return None if np.isnan(value) else float(value)


def _expected_roc_auc(scores: Scores, probabilities: Scores) -> float:
    positives, negatives = _ranked(scores, probabilities)
    # No row makes a pair with itself, and each would count as a tie.
    with_itself = float((probabilities * (1 - probabilities)).sum())
    n_pairs = float(positives.sum() * negatives.sum()) - with_itself
    return (float(count_ordered(positives, negatives)[0]) - with_itself / 2) / n_pairs if n_pairs > 0 else np.nan


def _expected_average_precision(scores: Scores, probabilities: Scores) -> float:
    return float(average_precision(*_ranked(scores, probabilities))[0])


def _ranked(scores: Scores, probabilities: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Expected positives and negatives of each score, the highest first, shape (1, scores)."""
    order = np.argsort(-scores, kind="stable")
    starts, chances = group_starts(scores[order]), probabilities[order]
    return np.add.reduceat(chances, starts)[None], np.add.reduceat(1 - chances, starts)[None]


def _expected_loss(name: str) -> Callable[[Scores, Scores], float]:
    def expect(scores: Scores, probabilities: Scores) -> float:
        if_positive, if_negative = (row_losses(name, np.full(len(scores), label, np.int8), scores) for label in (1, 0))
        return float((probabilities * if_positive + (1 - probabilities) * if_negative).mean())

    return expect


def _expected_calibration_error(scores: Scores, probabilities: Scores) -> float:
    distances = np.bincount(calibration_bins(scores), weights=scores - probabilities, minlength=N_BINS)
    return float(np.abs(distances).sum() / len(scores))


_EXPECTATIONS: Mapping[str, Callable[[Scores, Scores], float]] = MappingProxyType(
    {
        "roc_auc": _expected_roc_auc,
        "average_precision": _expected_average_precision,
        "log_loss": _expected_loss("log_loss"),
        "brier": _expected_loss("brier"),
        "calibration_error": _expected_calibration_error,
    }
)


def judge_estimate(metric: str, holdout: Scored, current: Scores, *, confidence: float = 0.95, seed: int = 0) -> Finding:
    """Estimate `metric` on rows without labels, beside the holdout's figure. Aspect `estimate`, measure the metric; never
    breached.

    Parameters
    ----------
    holdout
        The champion's, which the scores are calibrated on.
    current
        Scores of the rows that are to be estimated, shape (n,).
    confidence
        Of the interval that as many labels would be expected to fall in, if they follow the scores as before.
    """
    finding = Finding(aspect="estimate", measure=metric, reason="")
    calibration = fit_calibration(holdout.labels, holdout.scores)
    if calibration is None:
        return replace(finding, reason=f"{metric} cannot be estimated: the holdout's labels are all the same")
    probabilities = calibration.apply(current)
    value = estimate_metric(metric, current, probabilities)
    n_positive = float(probabilities.sum())
    size = Size(n_positive=n_positive, n_negative=len(current) - n_positive)
    expected = compute_expected(metric, holdout, size=size, seed=seed)
    if value is None or expected is None:
        why = "all rows are surely of one class" if len(current) else "there are no rows"
        return replace(finding, reason=f"{metric} cannot be estimated: {why}")
    margin = float(norm.isf((1 - confidence) / 2)) * expected.error
    reason = (
        f"{metric} is estimated to be {value:.4f} on {len(current)} rows whose labels are not needed for it, against "
        f"{expected.value:.4f} on the holdout; as many labels would give {value - margin:.4f} to {value + margin:.4f}"
    )
    return replace(finding, reason=reason, value=value, reference=expected.value, low=value - margin, high=value + margin)


def compare_estimate(estimate: Finding, realised: Finding) -> Finding:
    """How far an estimate was off when the labels had come: aspect `estimate`, measure `<metric>_error`, value estimate − truth.

    Parameters
    ----------
    realised
        What `judge_performance` found of the same metric on the same rows; its interval tells whether the estimate was wrong.
    """
    metric = realised.measure
    finding = Finding(aspect="estimate", measure=f"{metric}_error", reason="")
    if estimate.value is None or realised.value is None or realised.low is None or realised.high is None:
        return replace(finding, reason=f"the estimate of {metric} cannot be compared: one of the two is not known")
    error = estimate.value - realised.value
    is_within = realised.low <= estimate.value <= realised.high
    where = "within" if is_within else "outside of"
    reason = (
        f"{metric} was estimated {abs(error):.4f} too {'high' if error > 0 else 'low'}, {where} the interval of what the labels "
        f"say: {estimate.value:.4f} against {realised.value:.4f}"
    )
    return replace(finding, reason=reason, value=error, low=estimate.value - realised.high, high=estimate.value - realised.low)
