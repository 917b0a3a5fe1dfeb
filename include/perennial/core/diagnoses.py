"""Why a champion does worse: other inputs, or inputs that mean something else."""

from collections.abc import Sequence

from perennial.contracts.monitoring import Diagnosis, Finding
from perennial.core.metrics import SIGN
from perennial.core.performance import find_standing

# Least part of a fall that the estimate must foresee to explain it, and to have a part in it.
_MOST = 0.5
_SOME = 0.25


def diagnose(performance: Sequence[Finding], drift: Sequence[Finding], estimate: Finding | None) -> Diagnosis:
    """Tell covariate drift from concept drift, where performance is known.

    The calibrated estimate sees what other inputs do to a metric, and nothing of what other labels do. A fall that it foresees
    comes from the inputs; one that it does not, from the labels that no longer follow them.

    Parameters
    ----------
    performance, drift
        What `judge_performance` and `judge_drift` found, the metric that decides coming first.
    estimate
        What `judge_estimate` gave for the rows that `performance` is about. None where there is no estimate.

    Returns
    -------
    `harmless` where inputs moved and performance holds, `unclear` where the window cannot tell whether it does. Where it fell:
    `covariate` where the estimate foresees half of the
    fall or more, and what it leaves is chance or would not be too much by itself (an estimate is a little wrong too);
    `both` where inputs moved and it foresees a part; `concept` else. Where only other figures than the metric are past their
    limits there is no estimate of them: `both` where inputs moved, `concept` else. Empty where nothing moved, performance is not
    known, or inputs moved and there is no estimate.
    """
    is_moved = any(each.breached and _is_of_inputs(each) for each in drift)
    match find_standing(performance):
        case "unknown":
            return ""
        case "holds":
            return "harmless" if is_moved else ""
        case "unclear":
            return "unclear" if is_moved else ""
    fall = performance[0]
    if not fall.breached:
        return "both" if is_moved else "concept"
    if estimate is None or estimate.value is None:
        return "" if is_moved else "concept"
    return _explain(fall, estimate.value, is_moved=is_moved)


def _is_of_inputs(finding: Finding) -> bool:
    return finding.measure in {"importance", "unseen"} or finding.is_of_predictions


def _explain(fall: Finding, estimate: float, *, is_moved: bool) -> Diagnosis:
    sign = SIGN[fall.measure]
    value, reference = fall.value or 0.0, fall.reference or 0.0
    allowed = 0.0 if fall.threshold is None else sign * (reference - fall.threshold)
    best = (fall.high if sign > 0 else fall.low) or value
    foreseen, left = (reference - estimate) / (reference - value), sign * (estimate - value)
    if foreseen >= _MOST and (left <= sign * (best - value) or left < allowed):
        return "covariate"
    return "both" if is_moved and foreseen >= _SOME else "concept"
