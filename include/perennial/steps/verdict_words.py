"""What is said of a window: subject, headline, reasons and what becomes of them. Pure: same records, same words."""

from calendar import monthrange
from datetime import datetime, timedelta

from perennial.adapters.templates import format_instant, format_number
from perennial.config.spec import ModelSpec
from perennial.contracts.monitoring import CURABLE, UNJUDGED, Finding, RetrainRequest, Verdict, VerdictOutcome
from perennial.steps.report_view import METRICS, name_metrics

HEADLINES: dict[VerdictOutcome, str] = {
    "healthy": "Healthy",
    "drift": "Drift",
    "performance": "Performance fell",
    "service": "The service lets callers down",
    "data_fault": "Data fault",
    "too_few": "Too few rows to judge",
    "no_traffic": "No traffic",
}
_WORDS: dict[VerdictOutcome, str] = {
    "performance": "performance",
    "service": "service",
    "data_fault": "data fault",
    "too_few": "too few rows",
    "no_traffic": "no traffic",
}
_REQUESTS = {"granted": "retraining granted", "declined": "retraining declined", "pending": "retraining asked for"}
_WITHOUT_REQUEST: dict[VerdictOutcome, str] = {
    "healthy": "No retraining is asked for.",
    "data_fault": "Retraining is blocked: it would learn from broken data. Mend the source first.",
    "service": "No retraining is asked for: it would not make the service better.",
    "too_few": "Nothing is judged, and no retraining is asked for. Longer windows (monitoring.schedule) have more rows.",
    "no_traffic": "Nothing is judged, and no retraining is asked for.",
}
_FINDINGS = {
    "missing": "{percent} of {subject} missing",
    "out_of_range": "{percent} of {subject} out of range",
    "wrong_type": "{percent} of {subject} of another type",
    "duplicates": "{percent} of the rows repeated",
    "volume": "{number} times the usual rows",
    "freshness": "no event for {number} hours",
    "error_ratio": "{percent} of requests failed",
    "refused_ratio": "{percent} of requests refused",
    "p99_ms": "p99 {number} ms",
    "mean_error": "mean prediction {points} points off",
}
_N_REASONS = 5


def build_verdict_subject(spec: ModelSpec, verdict: Verdict, request: RetrainRequest | None) -> str:
    """Verdict, the figure that decided, what becomes of it and when it was: the whole news."""
    word = _WORDS.get(verdict.outcome, verdict.outcome)
    parts = [
        _name_evidence(spec, verdict),
        name_notes(verdict),
        _name_decision(verdict, request),
        "labels late" if verdict.labels_waiting else "",
    ]
    news = ", ".join(part for part in parts if part)
    period = describe_period(verdict.window_start, verdict.window_end)
    return f"[perennial] {spec.model}: {word}{f' — {news}' if news else ''} ({period})"


def build_headline(verdict: Verdict, request: RetrainRequest | None) -> str:
    """Verdict and decision in a few words."""
    decision, notes = _name_decision(verdict, request), name_notes(verdict)
    return f"{HEADLINES[verdict.outcome]}{f', though {notes}' if notes else ''}{f', {decision}' if decision else ''}"


def name_notes(verdict: Verdict) -> str:
    """What is past its limit in a window that is healthy all the same, in a few words; empty where nothing is."""
    if verdict.outcome != "healthy":
        return ""
    breached = [each for each in verdict.findings if each.breached]
    if verdict.labels_waiting:
        breached = [each for each in breached if each.aspect != "performance" and each.measure != "target"]
    outputs = ["labels moved" if each.measure == "target" else "predictions moved" for each in breached if each.is_output]
    n_features = len({each.subject for each in breached if each.aspect == "drift" and not each.is_output and each.subject})
    n_slices = sum(each.aspect == "performance" and bool(each.subject) for each in breached)
    features = [f"{n_features} feature{'' if n_features == 1 else 's'} moved"] if n_features else []
    slices = [f"{n_slices} slice{' is' if n_slices == 1 else 's are'} worse"] if n_slices else []
    return " and ".join([*outputs, *features, *slices])


def build_reasons(verdict: Verdict) -> list[str]:
    """Why, in sentences, the first five."""
    sentences = [in_words(reason) for reason in verdict.reasons]
    more = len(sentences) - _N_REASONS
    return sentences if more < 2 else [*sentences[:_N_REASONS], f"And {more} more, listed below."]


def describe_decision(spec: ModelSpec, verdict: Verdict, request: RetrainRequest | None) -> str:
    """What becomes of the verdict, and why."""
    stays = "" if verdict.model_version is None else f" Version {verdict.model_version} goes on serving."
    if request is None:
        return f"{_explain_no_request(spec, verdict)}{stays}"
    # The verdict's own reasons stand above already; the champion's age, or its follow-up, does not.
    why = "" if request.reason == verdict.reason else f" Asked for because {request.reason}."
    match request.outcome:
        case "granted":
            return f"A retraining was granted: retrain__{spec.model} trains a challenger, which the gates judge.{why}{stays}"
        case "declined":
            no = [in_words(check.reason) for check in request.checks if not check.passed]
            return f"A retraining was asked for and declined. {' '.join(no)}{why}{stays}"
        case _:
            return f"A retraining was asked for; the gatekeeper has not answered yet.{why}{stays}"


def _explain_no_request(spec: ModelSpec, verdict: Verdict) -> str:
    if verdict.outcome == "healthy" and any(each.breached and each.is_output for each in verdict.findings):
        return "No retraining is asked for: what the model answers moved, and performance holds."
    if verdict.outcome not in CURABLE:
        return _WITHOUT_REQUEST[verdict.outcome]
    if verdict.outcome not in spec.retrain.on:
        return f"The spec asks for no retraining on {verdict.outcome}."
    n, m = spec.monitoring.persistence.breaches, spec.monitoring.persistence.windows
    return (
        "No retraining was asked for."
        if verdict.is_persistent
        else f"No retraining is asked for yet: {n} of the latest {m} windows of a version must be bad."
    )


def _name_decision(verdict: Verdict, request: RetrainRequest | None) -> str:
    if request is not None:
        return _REQUESTS[request.outcome]
    if verdict.outcome == "data_fault":
        return "retraining blocked"
    if verdict.outcome in UNJUDGED and verdict.is_persistent:
        return "nobody watches this model"
    return "watched" if verdict.outcome in CURABLE and not verdict.is_persistent else ""


def _name_evidence(spec: ModelSpec, verdict: Verdict) -> str:
    """The figure that says most."""
    match verdict.outcome:
        case "healthy":
            return _name_score(spec, verdict)
        case "drift":
            return _name_drift(verdict)
        case "too_few":
            return f"{verdict.n_rows:,}"
        case "no_traffic":
            return ""
        case outcome:
            aspect = "quality" if outcome == "data_fault" else outcome
            found = [each for each in verdict.findings if each.aspect == aspect and each.breached]
            more = f" and {len(found) - 1} more" if len(found) > 1 and outcome != "performance" else ""
            return f"{_name_finding(found[0])}{more}" if found else ""


def _name_score(spec: ModelSpec, verdict: Verdict) -> str:
    label = METRICS[spec.metric][0]
    measured, estimated = find_score(spec, verdict), find_score(spec, verdict, estimated=True)
    if measured is not None and measured.value is not None and not verdict.labels_waiting:
        return f"{label} {measured.value:.3f}"
    return f"{label} estimated {estimated.value:.3f}" if estimated is not None and estimated.value is not None else ""


def _name_drift(verdict: Verdict) -> str:
    breached = [each for each in verdict.findings if each.aspect == "drift" and each.breached]
    for each in breached:
        if each.measure == "importance":
            return f"{_percent(each.value)} of importance moved"
    for each in breached:
        match each.measure:
            case _ if each.is_of_predictions:
                return f"predictions moved, PSI {format_number(each.value)}"
            case "target":
                return f"labels moved, PSI {format_number(each.value)}"
            case "unseen":
                return f"{_percent(each.value)} of {each.subject} never seen before"
    return ""


def _name_finding(finding: Finding) -> str:
    value = finding.value
    if finding.measure in METRICS:
        of = f" of {finding.subject}" if finding.subject else ""
        before = f", {format_number(finding.reference)} on the holdout" if finding.reference is not None else ""
        return f"{METRICS[finding.measure][0]}{of} {format_number(value)}{before}"
    words = _FINDINGS.get(finding.measure, f"{finding.measure.replace('_', ' ')} {{subject}}")
    points = "–" if value is None else f"{100 * value:+.1f}"
    return words.format(percent=_percent(value), number=format_number(value), points=points, subject=finding.subject).strip()


def find_score(spec: ModelSpec, verdict: Verdict, *, estimated: bool = False) -> Finding | None:
    """The finding about the spec's metric for all rows together: as measured, or as estimated for the window itself."""
    aspect = "estimate" if estimated else "performance"
    return next(
        (each for each in verdict.findings if (each.aspect, each.measure, each.subject) == (aspect, spec.metric, "")), None
    )


def in_words(reason: str) -> str:
    """A reason as a sentence, metrics by their labels."""
    return f"{name_metrics(reason).rstrip('.')}."


def describe_period(start: datetime, end: datetime) -> str:
    """A window as people say it: a month, a day, or from when to when.

    Examples
    --------
    >>> from datetime import UTC
    >>> describe_period(datetime(2013, 5, 1, tzinfo=UTC), datetime(2013, 6, 1, tzinfo=UTC))
    'May 2013'
    >>> describe_period(datetime(2013, 5, 1, tzinfo=UTC), datetime(2013, 5, 2, tzinfo=UTC))
    '2013-05-01'
    >>> describe_period(datetime(2013, 5, 1, 6, tzinfo=UTC), datetime(2013, 5, 1, 12, tzinfo=UTC))
    '2013-05-01 06:00 UTC to 2013-05-01 12:00 UTC'
    """
    is_midnight = (start.hour, start.minute, start.second) == (0, 0, 0)
    length = end - start
    if is_midnight and start.day == 1 and length == timedelta(days=monthrange(start.year, start.month)[1]):
        return f"{start:%B %Y}"
    if is_midnight and length == timedelta(days=1):
        return f"{start:%Y-%m-%d}"
    return f"{format_instant(start)} to {format_instant(end)}"


def _percent(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.0f} %" if value >= 0.095 else f"{100 * value:.1f} %"
