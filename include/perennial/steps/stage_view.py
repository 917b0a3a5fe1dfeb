"""From the record of a release's stage to the words and figures that mails and approvals show. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from perennial.adapters.templates import format_number, format_ratio
from perennial.contracts import Measure, Stage

# Label and unit by the measure's name; a measure that is not listed is shown by its name.
_LABELS = {
    "parity": ("Difference on golden rows", ""),
    "ready_seconds": ("Time until ready", "s"),
    "error_ratio": ("Failed requests", "%"),
    "refusal_ratio": ("Refused requests", "%"),
    "answered_ratio": ("Answered requests", "%"),
    "latency": ("Latency, 95th percentile", "ms"),
    "p99": ("Latency, 99th percentile", "ms"),
    "disagreement": ("Rows labelled differently", "%"),
    "shift": ("Shift of predictions (log-odds)", ""),
    "memory": ("Memory", "MB"),
    "restarts": ("Restarts of its process", ""),
    "unready_seconds": ("Time not ready", "s"),
    "replayed": ("Replayed requests", ""),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureView:
    """One measure as a line of a table; `–` where there is no figure."""

    label: str
    challenger: str
    champion: str
    limit: str
    passed: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageView:
    """One stage as a table with a heading."""

    title: str
    note: str
    measures: tuple[MeasureView, ...]


def view_stages(stages: Iterable[Stage]) -> list[StageView]:
    """Stages that measured something, in their order."""
    return [view_stage(stage) for stage in stages if stage.measures]


def view_stage(stage: Stage) -> StageView:
    """A stage's heading, what it was watched on, and its measures, those over their limit first."""
    measures = sorted(stage.measures, key=lambda each: each.passed)
    return StageView(title=title_stage(stage), note=_note(stage), measures=tuple(_view(each) for each in measures))


def title_stage(stage: Stage) -> str:
    """A stage with its step and its share of the traffic."""
    match stage.stage:
        case "shadow":
            return f"Shadow: copies of {stage.traffic_percent} % of the requests"
        case "canary":
            return f"Canary, step {stage.step}: {stage.traffic_percent} % of the callers"
        case _:
            return "Check, before any caller"


def _note(stage: Stage) -> str:
    seconds = "" if stage.ended_at is None else f" in {(stage.ended_at - stage.started_at).total_seconds():,.0f} s"
    requests = f"{stage.n_requests:,} requests{seconds}" if stage.n_requests else ""
    beside = f"beside champion v{stage.champion_version}" if stage.champion_version is not None else ""
    return ", ".join(part for part in (requests, beside) if part)


def _view(measure: Measure) -> MeasureView:
    label, unit = _LABELS.get(measure.measure, (measure.measure.replace("_", " ").capitalize(), ""))
    return MeasureView(
        label=label,
        challenger=_figure(measure.value, unit),
        champion=_figure(measure.champion, unit),
        limit=_figure(measure.threshold, unit),
        passed=measure.passed,
        reason=f"{measure.reason[:1].upper()}{measure.reason[1:].rstrip('.')}.",
    )


def _figure(value: float | None, unit: str) -> str:
    if value is None or unit == "":
        return format_number(value)
    return format_ratio(value) if unit == "%" else f"{format_number(value)} {unit}"
