"""What is measured of a window: its quality, drift, performance and service, as findings."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from perennial.config.spec import ModelSpec
from perennial.contracts.monitoring import Diagnosis, Finding, Verdict, Window
from perennial.steps.monitor_labels import Labelled
from perennial.steps.monitor_reference import POSITIVE_RATIO, Holdout, Reference, Version
from perennial.steps.monitor_windows import Observed, Seen

if TYPE_CHECKING:
    from perennial.core.drift import DriftLimits
    from perennial.core.metrics import Labels, Scores
    from perennial.core.samples import Sample
    from perennial.core.service import Traffic

log = logging.getLogger(__name__)

ROWS = "rows"
LABELS = "labels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A window beside its reference, with the same columns of the same types; `n_misfits` counts values of another type."""

    reference: Reference
    current: "Sample"
    n_misfits: Mapping[str, int]


def compare(version: Version, observed: Observed, reference: Reference) -> Compared:
    """Give the window's rows the types of the version's features."""
    from perennial.core.misfits import read_features
    from perennial.core.samples import Sample

    features, n_misfits = read_features(observed.features, version.model.features)
    return Compared(reference=reference, current=Sample(features=features, scores=observed.scores), n_misfits=n_misfits)


def count_rows(seen: Seen, version: int | None) -> Finding:
    """How many rows came, of which version: the one thing that is known of every window."""
    others = f"; {seen.n_others} rows of other versions are left out" if seen.n_others else ""
    reason = f"{seen.n_rows} rows were predicted{f' by version {version}' if version is not None else ''}{others}"
    return Finding(aspect="quality", measure=ROWS, reason=reason, value=float(seen.n_rows + seen.n_others))


def measure_quality(
    spec: ModelSpec, window: Window, seen: Seen, compared: Compared, *, earlier: Sequence[Verdict]
) -> tuple[Finding, ...]:
    """Look for broken data. How many rows are usual, the earlier windows of about the same length say."""
    from perennial.core.quality import Intake, QualityLimits, judge_quality

    quality = spec.monitoring.quality
    intake = Intake(
        window_end=window.end,
        n_rows=seen.n_rows + seen.n_others,
        n_keyed=seen.n_keyed,
        n_repeated=seen.n_repeated,
        earlier_rows=_earlier_rows(window, earlier),
        newest_event_at=seen.newest_event_at,
        n_misfits=compared.n_misfits,
    )
    limits = QualityLimits(
        missing_rise=quality.missing_rise,
        out_of_range_ratio=quality.out_of_range_ratio,
        duplicate_ratio=quality.duplicate_ratio,
        volume_band=quality.volume_band,
        freshness=quality.freshness,
        missing_rise_of=_limits_of(spec, "missing_rise"),
        out_of_range_ratio_of=_limits_of(spec, "out_of_range_ratio"),
    )
    return judge_quality(compared.reference.sample.features, compared.current.features, intake, limits)


def _earlier_rows(window: Window, earlier: Sequence[Verdict]) -> list[int]:
    """Rows of all versions in the windows before. Windows without any, or of another length, say nothing about this one's."""
    width = window.end - window.start
    alike = [each for each in earlier if 0.8 < (each.window_end - each.window_start) / width < 1.25]
    counts = [finding.value for each in alike for finding in each.findings if finding.measure == ROWS]
    return [int(count) for count in counts if count]


def measure_drift(spec: ModelSpec, compared: Compared, holdout: Holdout) -> tuple[Finding, ...]:
    """Compare inputs and predictions with the reference's, weighted by what the model leans on."""
    from perennial.core.drift import judge_drift

    reference, current, past = compared.reference.sample, compared.current, compared.reference.past
    judged = judge_drift(reference, current, _drift_limits(spec), importances=holdout.importances, past=past)
    return (*judged, _tell_mean("mean_prediction", "the mean prediction", current.scores, reference.scores))


def measure_labels(spec: ModelSpec, labelled: Labelled) -> Finding:
    """How many of the labels that should be there have come."""
    value, limit = labelled.mature_ratio, spec.label.min_mature_ratio
    what = f"of the performance window, {labelled.start:%Y-%m-%d %H:%M} to {labelled.end:%Y-%m-%d %H:%M} UTC"
    if value is None:
        reason = f"no row {what}, should have a label"
    elif labelled.n_keyed:
        reason = f"{labelled.n_labelled} of {labelled.n_keyed} rows {what}, have their label ({value:.1%})"
    elif labelled.n_rows:
        reason = f"callers send no keys: of {labelled.n_rows} rows {what}, nobody knows what came true"
    else:
        reason = f"this version answered no row {what}; the source has {value:.1%} of the labels"
    return Finding(aspect="performance", measure=LABELS, reason=reason, value=value, threshold=limit)


def measure_performance(spec: ModelSpec, labelled: Labelled, holdout: Holdout) -> tuple[Finding, ...]:
    """Compare what came true with the version's own holdout, as a whole and by slice."""
    from perennial.core.performance import PerformanceLimits, judge_performance

    if not labelled.n_keyed:
        reason = (
            f"{spec.metric} is not known: {'callers send no keys' if labelled.n_rows else 'this version answered no rows then'}"
        )
        return (Finding(aspect="performance", measure=spec.metric, reason=reason),)
    limits = spec.monitoring.performance
    columns = [name for name in spec.gates.slices.columns if name in labelled.scored.features and name in holdout.scored.features]
    return judge_performance(
        spec.metric,
        holdout.scored,
        labelled.scored,
        PerformanceLimits(
            drop_ratio=limits.drop_ratio,
            confidence=limits.confidence,
            min_labels=limits.min_labels,
            floors={str(name): floor for name, floor in spec.gates.floors.items()},
            mean_error=limits.mean_error,
        ),
        slice_columns=columns,
        min_slice_rows=spec.gates.slices.min_rows,
        seed=spec.seed,
    )


def measure_target(spec: ModelSpec, labelled: Labelled, reference: Reference) -> tuple[Finding, ...]:
    """Compare the labels that came with the reference's; nothing where none came."""
    from perennial.core.drift import judge_target

    current = labelled.scored.labels
    if not len(current):
        return ()
    # Every row of a training set has its label.
    min_labels, windows = spec.monitoring.performance.min_labels, reference.past.windows if reference.past else None
    judged = judge_target(reference.labels, current, _drift_limits(spec), min_labels=min_labels, windows=windows)
    return (judged, _tell_mean(POSITIVE_RATIO, "the share of positive labels", current, reference.labels))


def estimate_performance(
    spec: ModelSpec, compared: Compared, labelled: Labelled, holdout: Holdout, performance: Sequence[Finding]
) -> tuple[tuple[Finding, ...], Finding | None]:
    """What the calibrated scores let expect of this window, and how far the same estimate was off where labels have come.

    Returns
    -------
    The findings, and the estimate for the rows whose labels have come; None without any.
    """
    from perennial.core.estimates import compare_estimate, judge_estimate

    estimate = partial(
        judge_estimate,
        spec.metric,
        holdout.scored,
        confidence=spec.monitoring.performance.confidence,
        seed=spec.seed,
    )
    known = compared.current.scores[compared.current.scores == compared.current.scores]
    current = estimate(known)
    if not labelled.n_labelled or performance[0].value is None:
        return (current,), None
    past = estimate(labelled.scored.scores)
    return (current, compare_estimate(past, performance[0])), past


def diagnose(performance: Sequence[Finding], drift: Sequence[Finding], estimate: Finding | None) -> Diagnosis:
    """Why the model does worse, if it does."""
    from perennial.core.diagnoses import diagnose as tell

    return tell(performance, drift, estimate)


def measure_service(spec: ModelSpec, traffic: "Traffic | None", observed: Observed | None) -> tuple[Finding, ...]:
    """Hold what callers saw against the spec; nothing where nobody calls."""
    from perennial.core.service import ServiceLimits, judge_service

    if traffic is None:
        return ()
    service = spec.monitoring.service
    limits = ServiceLimits(error_ratio=service.error_ratio, refused_ratio=service.refused_ratio, p99_ms=service.p99_ms)
    return judge_service(replace(traffic, latencies_ms=observed.latencies_ms if observed else ()), limits)


def _tell_mean(measure: str, what: str, current: "Labels | Scores", reference: "Labels | Scores") -> Finding:
    """A share of positives, predicted or true, for who looks at a season; it judges nothing."""
    import numpy as np

    value, before = float(np.nanmean(current)), float(np.nanmean(reference)) if len(reference) else None
    reason = f"{what} is {value:.1%}{'' if before is None else f', against {before:.1%} in the reference'}"
    return Finding(aspect="drift", measure=measure, reason=reason, value=value, reference=before)


def _drift_limits(spec: ModelSpec) -> "DriftLimits":
    from perennial.core.drift import DriftLimits

    drift = spec.monitoring.drift
    return DriftLimits(
        psi=drift.psi,
        importance_ratio=drift.importance_ratio,
        unseen_ratio=drift.unseen_ratio,
        significance=drift.significance,
        psi_of=_limits_of(spec, "psi"),
        unseen_ratio_of=_limits_of(spec, "unseen_ratio"),
    )


def _limits_of(spec: ModelSpec, name: Literal["psi", "unseen_ratio", "missing_rise", "out_of_range_ratio"]) -> dict[str, float]:
    """The features that have a limit of their own."""
    limits = {feature: getattr(each, name) for feature, each in spec.monitoring.features.items()}
    return {feature: limit for feature, limit in limits.items() if limit is not None}
