"""What a model's performance should be on rows whose labels have not come: an estimate, and to be called one.

References
----------
CBPE, confidence-based performance estimation: Białek, J., Kuberski, W., Perrakis, N. and Bifet, A. (2024), Estimating model performance
under covariate shift without labels, arXiv:2401.08348, section 4; and NannyML's documentation, "Confidence-based Performance Estimation".
It holds while the labels follow the inputs as they did on the holdout: it sees covariate shift and is blind to concept drift.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perennial.contracts.monitoring import Finding
from perennial.core.metrics import Labels, Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """From scores to the share of positives that came with them: steps of an isotonic fit, both of shape (steps,)."""

    scores: NDArray[np.float64]
    ratios: NDArray[np.float64]

    def apply(self, scores: Scores) -> Scores:
        """Probability that each row is positive, as the holdout would have it."""
        raise NotImplementedError


def fit_calibration(labels: Labels, scores: Scores) -> Calibration | None:
    """Fit on the holdout. None where it has one class only or no rows."""
    raise NotImplementedError


def estimate_metrics(scores: Scores, probabilities: Scores) -> dict[str, float]:
    """Expected value of every metric of `metrics.SIGN`, if each row is positive with its probability.

    Parameters
    ----------
    scores
        What the model said, shape (n,).
    probabilities
        What that means, calibrated, shape (n,).
    """
    raise NotImplementedError


def judge_estimate(metric: str, labels: Labels, scores: Scores, *, current: Scores) -> Finding:
    """Estimate `metric` on rows without labels, beside the holdout's figure. Aspect `estimate`, measure the metric; never breached.

    Parameters
    ----------
    labels, scores
        Of the champion's holdout, which it is calibrated on.
    current
        Scores of the rows that are to be estimated.
    """
    raise NotImplementedError


def compare_estimate(metric: str, estimate: Finding, realised: Finding) -> Finding:
    """How far an estimate was off when the labels had come: aspect `estimate`, measure `<metric>_error`, value estimate − truth."""
    raise NotImplementedError
