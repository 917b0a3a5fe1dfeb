"""Monitor: look at one window of what a model answered, judge it, and record the verdict."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts.monitoring import Diagnosis, Finding, Verdict, Window
from perennial.steps import monitor_measures as measures
from perennial.steps.modelling import limited_threads
from perennial.steps.monitor_labels import Labelled, read_labelled
from perennial.steps.monitor_pages import write_report
from perennial.steps.monitor_reference import Holdout, read_holdout, read_reference, read_version
from perennial.steps.monitor_windows import Observed, Seen, WindowSource, open_source

log = logging.getLogger(__name__)

# Of the windows before: enough to tell persistence where some had no traffic, and what number of rows is usual.
_N_EARLIER = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was found in a window. One with too few rows to be judged has only the rows and what the service did."""

    model_version: int | None
    findings: tuple[Finding, ...]
    diagnosis: Diagnosis = ""
    n_labelled: int = 0
    n_label_rows: int = 0
    report: str = ""


def monitor(spec: ModelSpec, window: Window, *, settings: Settings) -> Verdict:
    """Measure a window, judge it and record the verdict.

    It is about the champion of the window's latest event; without traffic, about the champion of now.

    Raises
    ------
    UnavailableError
        When the state database, the warehouse or the registry does not answer.
    TrainingError
        When the version, or the training set that it was made of, is gone.

    Notes
    -----
    Idempotent by model and window: the row is written anew, and so are the pages under `reports/monitoring`.
    """
    source = open_source(spec, settings=settings)
    seen = source.count(window.start, window.end)
    with limited_threads(settings):
        measured = _measure(spec, window, seen, source, settings=settings)
    verdict = _judge(spec, window, seen, measured, settings=settings)
    with StateStore(settings.state_url) as state:
        state.write_verdict(verdict)
    for finding in verdict.findings:
        if finding.breached or finding.blocks:
            log.warning("%s: %s", f"{finding.measure} {finding.subject}".rstrip(), finding.reason)
    level = logging.INFO if verdict.outcome == "healthy" else logging.WARNING
    log.log(level, "%s from %s to %s: %s, %s", spec.model, window.start, window.end, verdict.outcome, verdict.reason)
    return verdict


def _measure(spec: ModelSpec, window: Window, seen: Seen, source: WindowSource, *, settings: Settings) -> Measured:
    number = _choose_version(spec, seen, settings=settings)
    measured = Measured(model_version=number, findings=(measures.count_rows(seen, number),))
    if number is None:
        return measured
    observed = None
    if seen.n_rows >= spec.monitoring.min_rows:
        observed = source.read(number, window.start, window.end)
        measured = _measure_rows(spec, window, seen, observed, measured, source, settings=settings)
    service = measures.measure_service(spec, source.read_traffic(number, seen), observed)
    return replace(measured, findings=(*measured.findings, *service))


def _choose_version(spec: ModelSpec, seen: Seen, *, settings: Settings) -> int | None:
    if seen.model_version is not None:
        return seen.model_version
    with StateStore(settings.state_url) as state:
        champion = state.read_champion(spec.model)
    return champion.model_version if champion else None


def _measure_rows(
    spec: ModelSpec,
    window: Window,
    seen: Seen,
    observed: Observed,
    measured: Measured,
    source: WindowSource,
    *,
    settings: Settings,
) -> Measured:
    """Add what the rows of a window say."""
    version = read_version(spec, measured.model_version or 0, settings=settings)
    holdout = read_holdout(spec, version, settings=settings)
    reference = read_reference(spec, window, version, holdout, source, settings=settings)
    log.info("the window is compared with %s", reference.name)
    compared = measures.compare(version, observed, reference)
    labelled = read_labelled(spec, window, version, source, settings=settings)
    with StateStore(settings.state_url) as state:
        earlier = state.read_verdicts(spec.model, before=window.start, limit=_N_EARLIER)
    rows = measure_rows(spec, window, seen, compared, labelled, holdout, earlier=earlier)
    report = write_report(spec, window, version, compared, rows.findings, settings=settings)
    return replace(rows, findings=(*measured.findings, *rows.findings), report=report)


def measure_rows(
    spec: ModelSpec,
    window: Window,
    seen: Seen,
    compared: measures.Compared,
    labelled: Labelled,
    holdout: Holdout,
    *,
    earlier: Sequence[Verdict],
) -> Measured:
    """Measure quality, drift and performance of a window that has enough rows; `earlier` are the verdicts before it."""
    quality = measures.measure_quality(spec, window, seen, compared, earlier=earlier)
    drift = measures.measure_drift(spec, compared, holdout)
    target = measures.measure_target(spec, labelled, compared.reference)
    performance = measures.measure_performance(spec, labelled, holdout)
    estimates, past = measures.estimate_performance(spec, compared, labelled, holdout, performance)
    labels = measures.measure_labels(spec, labelled)
    return Measured(
        model_version=seen.model_version,
        findings=(*quality, *drift, *target, labels, *performance, *estimates),
        diagnosis=measures.diagnose(performance, drift, past),
        n_labelled=labelled.n_labelled,
        n_label_rows=labelled.n_keyed,
    )


def _judge(spec: ModelSpec, window: Window, seen: Seen, measured: Measured, *, settings: Settings) -> Verdict:
    number = measured.model_version
    with StateStore(settings.state_url) as state:
        champion = state.read_champion(spec.model)
        # Who came back by a rollback begins anew: what led to the replacement is known, and is no reason to repeat it.
        since = champion.valid_from if champion and champion.model_version == number else None
        earlier = state.read_verdicts(
            spec.model, before=window.start, limit=_N_EARLIER, model_version=number, decided_since=since
        )
    return judge_window(spec, window, seen, measured, earlier=earlier)


def judge_window(spec: ModelSpec, window: Window, seen: Seen, measured: Measured, *, earlier: Sequence[Verdict]) -> Verdict:
    """The verdict on what was measured; `earlier` are those on the same version, the latest first."""
    from perennial.core.verdicts import Evidence, decide_verdict

    evidence = Evidence(
        n_rows=seen.n_rows,
        min_rows=spec.monitoring.min_rows,
        findings=measured.findings,
        n_labelled=measured.n_labelled,
        n_label_rows=measured.n_label_rows,
        min_mature_ratio=spec.label.min_mature_ratio,
        diagnosis=measured.diagnosis,
        history=tuple(each.outcome for each in reversed(earlier)),
        outputs_decide=spec.monitoring.drift.outputs == "always",
    )
    persistence = spec.monitoring.persistence
    judged = decide_verdict(evidence, breaches=persistence.breaches, windows=persistence.windows)
    return Verdict(
        model=spec.model,
        window_start=window.start,
        window_end=window.end,
        as_of=window.as_of,
        mode=window.mode,
        dag_run_id=window.dag_run_id,
        model_version=measured.model_version,
        outcome=judged.outcome,
        reasons=judged.reasons,
        findings=measured.findings,
        diagnosis="" if judged.labels_waiting else measured.diagnosis,
        is_persistent=judged.is_persistent,
        labels_waiting=judged.labels_waiting,
        n_rows=seen.n_rows,
        n_labelled=measured.n_labelled,
        report=measured.report,
    )
