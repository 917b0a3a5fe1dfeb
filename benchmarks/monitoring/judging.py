"""One window judged as the product does it, and as Evidently's default preset does."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from population import FEATURES, Rows, draw
from sklearn.pipeline import Pipeline

from perennial.config.spec_monitoring import Drift, Monitoring, Performance, Quality
from perennial.contracts.monitoring import Diagnosis, VerdictOutcome
from perennial.core.candidates import build_pipeline, fit, predict
from perennial.core.diagnoses import diagnose
from perennial.core.drift import DriftLimits, Past, judge_drift, judge_target
from perennial.core.estimates import judge_estimate
from perennial.core.frames import features_frame
from perennial.core.importances import compute_importances
from perennial.core.misfits import read_features
from perennial.core.performance import PerformanceLimits, judge_performance
from perennial.core.quality import Intake, QualityLimits, judge_quality
from perennial.core.samples import Sample, Scored
from perennial.core.verdicts import Evidence, decide_verdict, decides

METRIC = "roc_auc"
# The example's `gates.floors`.
FLOORS = {"roc_auc": 0.6, "calibration_error": 0.1}
# The spec's `monitoring.sample_rows`: of larger windows so many rows are looked at.
SAMPLE_ROWS = Monitoring().sample_rows
MIN_ROWS = Monitoring().min_rows
END = datetime(2013, 4, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """A model with what its windows are compared with."""

    pipeline: Pipeline
    reference: Rows
    sample: Sample
    holdout: Scored
    importances: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was said of one window: the verdict, which aspects alarmed, which features were named."""

    outcome: VerdictOutcome
    diagnosis: Diagnosis
    aspects: frozenset[str]
    named: frozenset[str]


def train(generator: np.random.Generator) -> Champion:
    """A boosting model on 40,000 rows, its reference (20,000 of them) and a holdout of 10,000."""
    training, held = draw(40_000, generator), draw(10_000, generator)
    pipeline = build_pipeline("lightgbm", features=FEATURES, params={"n_estimators": 100, "num_leaves": 8}, seed=1)
    fit(pipeline, features_frame(training.table, FEATURES), training.labels)
    inputs = features_frame(held.table, FEATURES)
    scores = predict(pipeline, inputs)
    reference = Rows(table=training.table[:SAMPLE_ROWS], labels=training.labels[:SAMPLE_ROWS])
    return Champion(
        pipeline=pipeline,
        reference=reference,
        sample=to_sample(pipeline, reference.table),
        holdout=Scored(features=inputs, labels=held.labels, scores=scores),
        importances=compute_importances(pipeline, inputs, held.labels, metric=METRIC, seed=1, n_rows=5000),
    )


def to_sample(pipeline: Pipeline, table: pd.DataFrame) -> Sample:
    features, _ = read_features(table, FEATURES)
    return Sample(features=features, scores=predict(pipeline, features))


def judge(champion: Champion, rows: Rows, *, n_rows: int, usual_rows: int) -> Seen:
    """Quality, drift and performance with the spec's defaults, all of them counting."""
    current = to_sample(champion.pipeline, rows.table)
    scored = Scored(features=current.features, labels=rows.labels, scores=current.scores)
    drift_limits, quality_limits = DriftLimits(**Drift().model_dump(exclude={"outputs"})), QualityLimits(**Quality().model_dump())
    intake = Intake(
        window_end=END, n_rows=n_rows, n_keyed=n_rows, earlier_rows=[usual_rows], newest_event_at=END - timedelta(hours=1)
    )
    quality = judge_quality(champion.sample.features, current.features, intake, quality_limits)
    # As many windows as the reference has rows for, none of which differs from another.
    windows = np.arange(SAMPLE_ROWS) // n_rows
    past = Past(windows=windows, scores=champion.sample.scores, n_scored=max(1, len(champion.holdout.labels) // n_rows))
    drift = judge_drift(champion.sample, current, drift_limits, importances=champion.importances, past=past)
    limits = PerformanceLimits(**Performance().model_dump(), floors=FLOORS)
    performance = judge_performance(METRIC, champion.holdout, scored, limits, slice_columns=["origin"])
    diagnosis = diagnose(performance, drift, judge_estimate(METRIC, champion.holdout, current.scores))
    target = judge_target(champion.reference.labels, rows.labels, drift_limits, min_labels=limits.min_labels, windows=windows)
    findings = (*quality, *drift, target, *performance)
    judged = decide_verdict(
        Evidence(n_rows=n_rows, min_rows=MIN_ROWS, findings=findings, diagnosis=diagnosis), breaches=2, windows=3
    )
    alarms = [each for each in findings if each.breached]
    return Seen(
        outcome=judged.outcome,
        diagnosis=diagnosis,
        aspects=frozenset(each.aspect for each in alarms if decides(each)),
        named=frozenset(each.subject for each in alarms if each.aspect in {"drift", "quality"}),
    )


def judge_by_evidently(reference: pd.DataFrame, current: pd.DataFrame) -> float:
    """Share of the columns that the default preset calls drifted. It calls the data set so from a half on."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    # It ends with an error at a column without any value.
    names = [name for name in FEATURES if reference[name].notna().any() and current[name].notna().any()]
    categories = [name for name in names if FEATURES[name][0] in {"category", "boolean"}]
    definition = DataDefinition(
        categorical_columns=categories, numerical_columns=[name for name in names if name not in categories]
    )
    pair = [Dataset.from_pandas(each, data_definition=definition) for each in (current, reference)]
    found = Report([DataDriftPreset()]).run(*pair).dict()
    return next(float(each["value"]["share"]) for each in found["metrics"] if "DriftedColumnsCount" in each["metric_name"])
