"""From verdicts, this one and those before, to what the pictures of its mail show. Pure."""

from collections.abc import Sequence

from perennial.config.spec import ModelSpec
from perennial.contracts.monitoring import Finding, Verdict
from perennial.contracts.pictures import SeasonPoint, WindowPoint
from perennial.steps.verdict_words import find_score

# As findings of the aspect `drift` name them: mean of the predictions, and share of positive labels.
PREDICTED, OBSERVED = "mean_prediction", "positive_ratio"


def build_history(spec: ModelSpec, verdicts: Sequence[Verdict]) -> list[WindowPoint]:
    """How the model did, oldest first: a point for each window itself, and one for the rows that its labels are of.

    What was measured is about rows that are older by the label's delay, and stands there. An estimate is about the window's own
    rows; it is left out where what came true is known.
    """
    measured = [point for verdict in verdicts if (point := _measured(spec, verdict))]
    windows = [_window(spec, verdict, measured) for verdict in verdicts]
    return sorted([*windows, *measured], key=lambda each: each.start)


def _measured(spec: ModelSpec, verdict: Verdict) -> WindowPoint | None:
    found = find_score(spec, verdict)
    if found is None or found.value is None or verdict.labels_waiting:
        return None
    return WindowPoint(
        start=verdict.window_start - spec.label.delay,
        end=verdict.window_end - spec.label.delay,
        value=found.value,
        low=found.low,
        high=found.high,
        holdout=found.reference,
    )


def _window(spec: ModelSpec, verdict: Verdict, measured: Sequence[WindowPoint]) -> WindowPoint:
    found = find_score(spec, verdict, estimated=True)
    middle = verdict.window_start + (verdict.window_end - verdict.window_start) / 2
    is_known = any(each.start <= middle < each.end for each in measured)
    shown = None if is_known else found
    return WindowPoint(
        start=verdict.window_start,
        end=verdict.window_end,
        estimate=shown.value if shown else None,
        holdout=shown.reference if shown else None,
        model_version=verdict.model_version,
        is_alarm=verdict.is_alarm,
    )


def build_season(spec: ModelSpec, verdicts: Sequence[Verdict]) -> list[SeasonPoint]:
    """Share of positives over the windows, oldest first: as predicted, and as it came true, which is of older rows."""
    points = []
    for verdict in verdicts:
        predicted, observed = _value(verdict, PREDICTED), _value(verdict, OBSERVED)
        if predicted is not None:
            points.append(SeasonPoint(start=verdict.window_start, end=verdict.window_end, predicted=predicted))
        if observed is not None:
            start, end = verdict.window_start - spec.label.delay, verdict.window_end - spec.label.delay
            points.append(SeasonPoint(start=start, end=end, observed=observed))
    return sorted(points, key=lambda each: each.start)


def _value(verdict: Verdict, measure: str) -> float | None:
    found: Finding | None = next((each for each in verdict.findings if each.measure == measure), None)
    return found.value if found else None
