"""What a backfill found in one interval: the challenger beside who served then and beside who serves now."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from perennial.adapters.registry import Registry
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Decision, GateResult, RegisteredVersion, ReleaseRow, Run, Snapshot
from perennial.contracts.backfills import BackfillInterval, Rival
from perennial.errors import TrainingError
from perennial.steps.champion_model import read_version_model
from perennial.steps.judgement import find_opponent
from perennial.steps.modelling import limited_threads, read_rows
from perennial.steps.report_evidence import Evaluation, read_evaluation
from perennial.steps.train import load_pipeline, read_trained
from perennial.steps.workspace import run_folder

# Gates that fail where the champion cannot be compared with.
_INCOMPARABLE = ("unseen_rows", "champion_scored")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillRun:
    """A Dag run of a backfill as Airflow knows it."""

    dag_id: str
    dag_run_id: str
    logical_date: datetime
    as_of: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the steps of a run handed on."""

    run: Run
    snapshot: Snapshot
    decision: Decision
    version: RegisteredVersion


def describe_interval(
    spec: ModelSpec, own: BackfillRun, found: Found, *, backfill_id: int, settings: Settings
) -> BackfillInterval:
    """The challenger's metric on the whole holdout, and on what each champion did not learn from, beside that champion's.

    Raises
    ------
    UnavailableError
        When MLflow or the state database does not answer.
    TrainingError
        When the run's own files are gone.
    """
    evaluation, decision = read_evaluation(run_folder(settings, found.run)), found.decision
    best = next(each for each in evaluation.candidates if each.name == decision.candidate)
    present = _compare_present(spec, decision, evaluation)
    return BackfillInterval(
        model=spec.model,
        as_of=own.as_of,
        backfill_id=backfill_id,
        dag_run_id=own.dag_run_id,
        outcome=decision.outcome,
        reason=decision.reasons[0] if decision.reasons else "",
        candidate=decision.candidate,
        model_version=found.version.model_version,
        score=best.holdout_metrics.get(spec.metric),
        n_rows=evaluation.n_holdout_rows,
        then=_compare_then(spec, found, present, settings=settings),
        present=present,
    )


def describe_failure(model: str, own: BackfillRun, *, backfill_id: int, reason: str) -> BackfillInterval:
    """An interval without a challenger."""
    return BackfillInterval(
        model=model, as_of=own.as_of, backfill_id=backfill_id, dag_run_id=own.dag_run_id, outcome="failed", reason=reason
    )


def _compare_present(spec: ModelSpec, decision: Decision, evaluation: Evaluation) -> Rival:
    """The champion that the gates compared it with."""
    if decision.champion_version is None:
        return Rival(note="nobody serves")
    if not decision.champion_metrics:
        return Rival(model_version=decision.champion_version, note=_say_why(decision.gates))
    return Rival(
        model_version=decision.champion_version,
        n_rows=evaluation.n_judged_rows,
        challenger=decision.challenger_metrics.get(spec.metric),
        champion=decision.champion_metrics.get(spec.metric),
    )


def _say_why(gates: Iterable[GateResult]) -> str:
    return next((each.reason for each in gates if each.gate in _INCOMPARABLE and not each.passed), "the two cannot be compared")


def _compare_then(spec: ModelSpec, found: Found, present: Rival, *, settings: Settings) -> Rival:
    """Who served at the interval's `as_of`, by the table `champion`."""
    with StateStore(settings.state_url) as state:
        champion = state.read_champion_at(spec.model, found.run.as_of)
        release = state.read_release(spec.model, champion.model_version) if champion else None
    if release is None:
        return Rival(note="nobody served then")
    if release.model_version == present.model_version:
        return present
    try:
        return _compare(spec, found, release, settings=settings)
    except TrainingError as error:  # a champion of the past may be gone: that is worth saying, and stops nothing
        return Rival(model_version=release.model_version, note=error.what)


def _compare(spec: ModelSpec, found: Found, release: ReleaseRow, *, settings: Settings) -> Rival:
    """Score a version beside the challenger, as the gates do."""
    from perennial.core.candidates import predict
    from perennial.core.metrics import compute_metrics

    registry = Registry(settings.mlflow_tracking_url)
    pipeline = load_pipeline(read_trained(found.run, found.decision.candidate, settings=settings))
    with limited_threads(settings):
        rows = read_rows(spec, found.snapshot)
        scores = predict(pipeline, rows.inputs)
        champion, training_end = read_version_model(release, registry=registry), found.snapshot.holdout_start
        opponent = find_opponent(rows, champion, training_end=training_end, registry=registry)
    if opponent.scores is None:
        return Rival(model_version=release.model_version, note=_say_why(opponent.gates))
    labels = rows.labels[opponent.judged]
    return Rival(
        model_version=release.model_version,
        n_rows=len(opponent.judged),
        challenger=compute_metrics(labels, scores[opponent.judged]).get(spec.metric),
        champion=compute_metrics(labels, opponent.scores).get(spec.metric),
    )
