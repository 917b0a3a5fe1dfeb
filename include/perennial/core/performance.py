"""Whether a champion does worse on a window than it did on its holdout, and why it may be so."""

from collections.abc import Sequence
from dataclasses import dataclass

from perennial.contracts.monitoring import Diagnosis, Finding
from perennial.core.samples import Scored


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceLimits:
    """The spec's `monitoring.performance`."""

    drop_ratio: float
    confidence: float
    min_labels: int


def judge_performance(
    metric: str,
    holdout: Scored,
    current: Scored,
    limits: PerformanceLimits,
    *,
    slice_columns: Sequence[str] = (),
    min_slice_rows: int = 500,
    seed: int = 0,
) -> tuple[Finding, ...]:
    """Compare a window whose labels have come with the champion's own holdout.

    Findings, all of aspect `performance`, measure the metric's name:

    - `metric`, subject empty, first. `value` with its interval (`low`, `high`), `reference` the holdout's figure, `threshold` where it
      would be too bad. Breached: at the threshold or beyond, and no accident given the sampling error of both.
    - the other metrics, subject empty; never breached, they are for the reader.
    - `metric` per slice (`carrier=UA`), against the same slice of the holdout. Breached as above, corrected for how many there are.

    A metric is undefined (`value` None) with fewer than `min_labels` labels or one class only.
    """
    raise NotImplementedError


def diagnose(
    metric: str, performance: Sequence[Finding], drift: Sequence[Finding], estimate: Finding | None, *, confidence: float
) -> Diagnosis:
    """Tell other inputs from other laws, where performance is known.

    Parameters
    ----------
    performance, drift
        What `judge_performance` and `judge_drift` found.
    estimate
        What `judge_estimate` gave for the rows of the performance window: what the calibrated scores expect given those inputs.

    Returns
    -------
    `concept` where performance fell and neither the inputs nor the estimate explain it; `covariate` where the estimate explains the
    fall; `both` where inputs moved, and it fell by more than the estimate explains; `harmless` where inputs moved and it did not
    fall; empty else.
    """
    raise NotImplementedError
