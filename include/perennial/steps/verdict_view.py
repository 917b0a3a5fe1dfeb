"""From the verdict on a window to the values that its mail names. Pure: same records, same mail."""

from collections.abc import Sequence
from dataclasses import dataclass

from perennial.adapters.templates import format_instant, format_number, format_ratio
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts.monitoring import Finding, RetrainRequest, Verdict
from perennial.contracts.pictures import Distribution
from perennial.steps.report_links import Link, dag_run_link, mlflow_version_link, reports_link
from perennial.steps.report_view import METRICS, gate_in_words
from perennial.steps.verdict_words import (
    HEADLINES,
    build_headline,
    build_reasons,
    describe_decision,
    describe_period,
    find_score,
    in_words,
)

_N_CHANGES, _N_SLICES, _N_FAULTS, _N_WINDOWS = 8, 8, 10, 6
# Label and unit by measure; one that is not listed is shown by its name.
_MEASURES = {
    "volume": ("Rows, against the usual", "×"),
    "freshness": ("Age of the newest event", "h"),
    "duplicates": ("Repeated rows", "%"),
    "missing": ("Missing", "%"),
    "out_of_range": ("Out of range", "%"),
    "wrong_type": ("Of another type", "%"),
    "unseen": ("Never seen before", "%"),
    "error_ratio": ("Failed requests", "%"),
    "refused_ratio": ("Refused requests", "%"),
    "refused_row_ratio": ("Refused rows", "%"),
    "p50_ms": ("Latency, median", "ms"),
    "p95_ms": ("Latency, 95th percentile", "ms"),
    "p99_ms": ("Latency, 99th percentile", "ms"),
    "requests": ("Requests", ""),
    "rows": ("Rows", ""),
    "mean_error": ("Mean prediction, off by", "points"),
}
_WHOLE_WINDOW = frozenset({"volume", "freshness", "duplicates"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One column that moved, as a line of a table. `words` says from what to what, or why it is not known."""

    name: str
    psi: float | None
    limit: float | None
    importance: float | None
    drifted: bool
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing measured, as a line of a table; `–` where there is no figure."""

    label: str
    value: str
    interval: str
    reference: str
    limit: str
    breached: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowLine:
    """One window of the latest."""

    period: str
    version: str
    verdict: str
    score: str
    bad: bool


def build_verdict_values(
    spec: ModelSpec,
    verdict: Verdict,
    *,
    history: Sequence[Verdict],
    request: RetrainRequest | None,
    settings: Settings,
    distributions: Sequence[Distribution] = (),
) -> dict[str, object]:
    """Values for both forms of the mail; the caller adds the `pictures`.

    Parameters
    ----------
    history
        Earlier verdicts of the model, in any order.
    request
        What was asked for because of this verdict, decided or not.
    distributions
        Columns that moved, whose change can be told in words.
    """
    findings = verdict.findings
    drift = [each for each in findings if each.aspect == "drift"]
    return {
        "spec": spec,
        "verdict": verdict,
        "headline": build_headline(verdict, request),
        "tone": "bad" if verdict.is_alarm else "good" if verdict.outcome == "healthy" else "",
        "period": describe_period(verdict.window_start, verdict.window_end),
        "lead": build_reasons(verdict),
        "decision": describe_decision(spec, verdict, request),
        "checks": [gate_in_words(check) for check in request.checks] if request else [],
        "mark": find_mark(verdict),
        "changes": build_changes(drift, distributions),
        "changes_note": _note_changes(spec, verdict, drift),
        "labels_note": _reason_of(drift, "target"),
        "metric_label": METRICS[spec.metric][0],
        "performance": [
            _line(each) for each in findings if each.aspect == "performance" and each.value is not None and _is_whole(each)
        ],
        "performance_note": build_performance_note(spec, verdict),
        "performance_says": build_performance_sentences(spec, verdict),
        "slices": build_slices(findings),
        "slices_note": _note_slices(verdict),
        "quality": build_quality(findings),
        "quality_note": _note_quality(findings),
        "service": [_line(each) for each in findings if each.aspect == "service"],
        "windows": build_windows(spec, verdict, history),
        "links": build_links(spec, verdict, request, settings=settings),
        "ids": build_ids(verdict, request),
    }


def find_mark(verdict: Verdict) -> str:
    """What stands beside a figure past its limit: it is a part of an alarm, or only told."""
    return "✗" if verdict.is_alarm else "≠"


def build_changes(drift: Sequence[Finding], distributions: Sequence[Distribution]) -> list[Change]:
    """What moved: the predictions first, then features, those that drifted first and those that matter most."""
    known = {each.subject: each for each in distributions}
    moved = [each for each in drift if each.measure == "psi"]
    moved.sort(key=lambda each: (each.importance is not None, not each.breached, -(each.value or 0) * (each.importance or 0)))
    return [
        Change(
            name="the prediction" if each.is_of_predictions else each.subject,
            psi=each.value,
            limit=each.threshold,
            importance=each.importance,
            drifted=each.breached,
            words=_describe_change(known[each.subject]) if each.subject in known else "" if each.value else in_words(each.reason),
        )
        for each in moved[: _N_CHANGES + 1]
    ]


def _note_changes(spec: ModelSpec, verdict: Verdict, drift: Sequence[Finding]) -> str:
    """How much moved, where the lead does not say it, and what counts as drift."""
    is_known = any(each.measure == "psi" and each.value is not None for each in drift)
    limit = f"{spec.monitoring.drift.psi:g}, or what is usual in the reference"
    told = "" if verdict.is_alarm else ", and makes no alarm by itself"
    rule = f"{find_mark(verdict)}: drifted, which is a PSI over its limit ({limit}) that is no chance{told}." if is_known else ""
    moved = [in_words(each.reason) for each in drift if each.measure == "importance" and each.reason not in verdict.reasons]
    return " ".join([*moved, rule]).strip()


def _describe_change(shown: Distribution) -> str:
    """From what to what: the share of missing values where that moved, the mean, or the level that gained or lost most."""
    parts = []
    if abs(shown.missing[1] - shown.missing[0]) >= 0.01:
        parts.append(f"missing {format_ratio(shown.missing[0])} → {format_ratio(shown.missing[1])}")
    if shown.means != (None, None):
        parts.append(f"mean {format_number(shown.means[0])} → {format_number(shown.means[1])}")
    elif shown.levels:
        moves = [abs(now - before) for before, now in zip(shown.reference, shown.current, strict=True)]
        most = moves.index(max(moves))
        parts.append(f"{shown.levels[most]} {format_ratio(shown.reference[most])} → {format_ratio(shown.current[most])}")
    return ", ".join(parts)


def build_performance_note(spec: ModelSpec, verdict: Verdict) -> str:
    """Which rows were measured, or why none could be; empty where nobody looked."""
    measured = find_score(spec, verdict)
    if measured is None:
        return ""
    start, end = (format_instant(each - spec.label.delay) for each in (verdict.window_start, verdict.window_end))
    labels = _reason_of([each for each in verdict.findings if each.aspect == "performance"], "labels")
    if measured.value is None:
        return f"{in_words(measured.reason)} {labels}".rstrip()
    late = " Labels are late: it may look better or worse than it is." if verdict.labels_waiting else ""
    return (labels or f"On {verdict.n_labelled:,} rows from {start} to {end}, whose labels have come.") + late


def build_performance_sentences(spec: ModelSpec, verdict: Verdict) -> list[str]:
    """What is to be said of the metric, where the lead does not say it, and of its estimates."""
    measured = find_score(spec, verdict)
    known = [measured] if measured is not None and measured.value is not None else []
    others = [each for each in verdict.findings if _is_judged_beside(each, measured)]
    said = [*known, *others, *(each for each in verdict.findings if each.aspect == "estimate")]
    return [in_words(each.reason) for each in said if each.reason not in verdict.reasons]


def _is_judged_beside(finding: Finding, measured: Finding | None) -> bool:
    is_whole = finding.aspect == "performance" and not finding.subject and finding.measure != "labels"
    return is_whole and finding.threshold is not None and finding != measured


def build_slices(findings: Sequence[Finding]) -> list[Line]:
    """The groups of rows that the champion does worse on than it may."""
    return [_line(each) for each in findings if each.aspect == "performance" and each.subject and each.breached][:_N_SLICES]


def _note_slices(verdict: Verdict) -> str:
    slices = [each for each in verdict.findings if each.aspect == "performance" and each.subject and each.threshold is not None]
    n_bad = sum(each.breached for each in slices)
    if not slices:
        return ""
    more = f"; the first {_N_SLICES} are shown" if n_bad > _N_SLICES else ""
    told = "" if verdict.is_alarm or not n_bad else "; told, and no alarm by itself"
    verb = "is" if n_bad < 2 else "are"
    return f"{n_bad or 'None'} of {len(slices)} slices with enough labels {verb} worse than allowed{told}{more}."


def build_quality(findings: Sequence[Finding]) -> list[Line]:
    """What is broken first, then what was measured of the window as a whole."""
    faults = _quality_of(findings)
    shown = [each for each in faults if each.breached][:_N_FAULTS]
    return [_line(each) for each in [*shown, *(each for each in faults if each.measure in _WHOLE_WINDOW and not each.breached)]]


def _quality_of(findings: Sequence[Finding]) -> list[Finding]:
    return [each for each in findings if each.aspect == "quality" or each.measure == "unseen"]


def _note_quality(findings: Sequence[Finding]) -> str:
    checks = [each for each in _quality_of(findings) if each.threshold is not None]
    n_bad = sum(each.breached for each in checks)
    return f"{len(checks) - n_bad} of {len(checks)} checks hold." if checks else ""


def build_windows(spec: ModelSpec, verdict: Verdict, history: Sequence[Verdict]) -> list[WindowLine]:
    """The latest windows, this one first."""
    latest = sorted([*history, verdict], key=lambda each: each.window_start, reverse=True)[:_N_WINDOWS]
    return [
        WindowLine(
            period=describe_period(each.window_start, each.window_end),
            version="–" if each.model_version is None else f"v{each.model_version}",
            verdict=HEADLINES[each.outcome].lower(),
            score=_show_score(spec, each),
            bad=each.is_alarm,
        )
        for each in latest
    ]


def _show_score(spec: ModelSpec, verdict: Verdict) -> str:
    measured, estimated = find_score(spec, verdict), find_score(spec, verdict, estimated=True)
    if measured is not None and measured.value is not None and not verdict.labels_waiting:
        return format_number(measured.value)
    return f"est. {format_number(estimated.value)}" if estimated is not None and estimated.value is not None else "–"


def build_links(spec: ModelSpec, verdict: Verdict, request: RetrainRequest | None, *, settings: Settings) -> list[Link]:
    """Where to look further."""
    links = [Link(label="Full report", url=reports_link(verdict.report, settings=settings))] if verdict.report else []
    links.append(Link(label="Run in Airflow", url=dag_run_link(f"monitor__{spec.model}", verdict.dag_run_id, settings=settings)))
    if request is not None and request.dag_run_id:
        url = dag_run_link(f"retrain__{spec.model}", request.dag_run_id, settings=settings)
        links.append(Link(label="Retraining in Airflow", url=url))
    if verdict.model_version is not None:
        url = mlflow_version_link(spec.model, verdict.model_version, settings=settings)
        links.append(Link(label="Champion in MLflow", url=url))
    return [*links, Link(label="All reports", url=reports_link(settings=settings))]


def build_ids(verdict: Verdict, request: RetrainRequest | None) -> list[tuple[str, object]]:
    """What to quote when asking about this window."""
    window = f"{format_instant(verdict.window_start)} to {format_instant(verdict.window_end)}"
    ids: list[tuple[str, object]] = [("window", window), ("run", verdict.dag_run_id)]
    if verdict.model_version is not None:
        ids.append(("version", verdict.model_version))
    if request is not None:
        ids += [("request", request.request_key), *([("retraining", request.dag_run_id)] if request.dag_run_id else [])]
    return ids


def _line(finding: Finding) -> Line:
    label, unit = _MEASURES.get(finding.measure, (finding.measure.replace("_", " ").capitalize(), ""))
    if finding.measure in METRICS:
        label = finding.subject or METRICS[finding.measure][0]
    elif finding.subject:
        label = f"{finding.subject}: {label[:1].lower()}{label[1:]}"
    is_known = finding.low is not None and finding.high is not None
    return Line(
        label=label,
        value=_figure(finding.value, unit),
        interval=f"{_figure(finding.low, unit)} to {_figure(finding.high, unit)}" if is_known else "–",
        reference=_figure(finding.reference, unit),
        limit=_figure(finding.threshold, unit),
        breached=finding.breached,
        reason=in_words(finding.reason),
    )


def _figure(value: float | None, unit: str) -> str:
    if value is None or unit == "":
        return format_number(value)
    if unit == "points":
        return f"{100 * value:+.1f} points"
    return format_ratio(value) if unit == "%" else f"{format_number(value)} {unit}"


def _is_whole(finding: Finding) -> bool:
    return (finding.measure in METRICS or finding.measure == "mean_error") and not finding.subject


def _reason_of(findings: Sequence[Finding], measure: str) -> str:
    return next((in_words(each.reason) for each in findings if each.measure == measure), "")
