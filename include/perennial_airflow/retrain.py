"""The tasks of `retrain__<model>`. Each calls one step of the library, imported where it runs."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task

from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import (
    Cleaned,
    Decision,
    Extract,
    Refit,
    RegisteredVersion,
    Run,
    Snapshot,
    TrainedCandidate,
    TrainingSet,
    Validation,
)
from perennial_airflow.assets import challenger_asset
from perennial_airflow.factory import begin_run, load_run
from perennial_airflow.outcomes import note, skip
from perennial_airflow.runs import resolve_run
from perennial_airflow.xcom import Packed, pack, pull, pull_optional, unpack

if TYPE_CHECKING:
    from perennial.steps.retrain_admission import Starter

_logger = logging.getLogger(__name__)

# The pool of what comes before and after training: a backfill of many intervals, each with its extract and its validations, would
# take all of Airflow's slots and both cores, and a live run would wait for one.
PREPARING = "preparing"

VALIDATIONS = ("ingest.validate_raw", "prepare.validate_clean", "prepare.validate_features")


def _open_run() -> tuple[ModelSpec, Run, Settings]:
    """What every step needs: the spec that the run began under, what it may see, the settings."""
    run = pull(Run, "plan")
    spec, settings = load_run(run.model)
    return spec, run, settings


def _pull_validations() -> tuple[Validation, ...]:
    return tuple(pull(Validation, task_id) for task_id in VALIDATIONS)


# What returns nothing skips the whole run, whatever the rules of its tasks.
@task.short_circuit
def plan(model: str) -> Packed | None:
    """Fix what this run may see (`as_of`, window, candidates), ask the gatekeeper whether it may go on, and bring MLflow's
    `champion` alias in line with the truth. A run that may not go on is skipped; the log and `perennial requests` say why."""
    from perennial.steps.backfill import read_backfill_id
    from perennial.steps.reconcile import reconcile_champion_alias
    from perennial.steps.retrain_admission import why_not_retrain
    from perennial.steps.start import record_start

    spec, settings = begin_run(model)
    context = get_current_context()
    dag_run: Any = context["dag_run"]
    run = resolve_run(spec, dag_run, context["params"])
    if why := why_not_retrain(spec, run, _read_starter(context), settings=settings):
        _logger.warning("this run is skipped: %s", why)
        note(f"Not retrained: {why}")
        return None
    if run.mode == "backfill":
        run = replace(run, backfill_id=read_backfill_id(run.dag_id, dag_run.logical_date, settings=settings))
    record_start(run, settings=settings)
    reconcile_champion_alias(model, settings=settings)
    return pack(run)


def _read_starter(context: Any) -> "Starter":
    from perennial.steps.retrain_admission import Starter

    dag_run = context["dag_run"]
    if dag_run.run_type == "scheduled":
        return Starter(source="schedule", actor=dag_run.dag_id)
    person = dag_run.triggering_user_name
    request_id = context["params"].get("request_id")
    return Starter(
        source="person" if person else "api", actor=person or dag_run.dag_id, request_id=int(request_id) if request_id else 0
    )


@task(pool=PREPARING)
def validate_raw() -> Packed:
    """Check the window's rows where they lie, in Postgres, against the raw suite."""
    from perennial.steps.validate import validate_raw as step

    spec, run, settings = _open_run()
    return pack(step(spec, run, settings=settings))


@task(pool=PREPARING)
def extract() -> Packed:
    """Stream the window from Postgres to Parquet, through a role that can only read."""
    from perennial.steps.extract import extract as step

    spec, run, settings = _open_run()
    return pack(step(spec, run, settings=settings))


@task(pool=PREPARING)
def clean() -> Packed:
    """Apply the spec's cleaning rules and count what was dropped and mended."""
    from perennial.steps.clean import clean as step

    spec, run, settings = _open_run()
    return pack(step(spec, run, pull(Extract, "ingest.extract"), settings=settings))


@task(pool=PREPARING)
def validate_clean() -> Packed:
    """Check the cleaned rows against the clean suite."""
    from perennial.steps.validate import validate_clean as step

    spec, run, settings = _open_run()
    return pack(step(spec, run, pull(Cleaned, "prepare.clean"), settings=settings))


@task(pool=PREPARING)
def build_features() -> Packed:
    """Build the typed training set from rows whose label is mature."""
    from perennial.steps.features import build_features as step

    spec, run, settings = _open_run()
    return pack(step(spec, run, pull(Cleaned, "prepare.clean"), settings=settings))


@task(pool=PREPARING)
def validate_features() -> Packed:
    """Check the training set against the features suite."""
    from perennial.steps.validate import validate_features as step

    spec, run, settings = _open_run()
    return pack(step(spec, run, pull(TrainingSet, "prepare.build_features"), settings=settings))


@task(pool=PREPARING)
def take_snapshot() -> Packed:
    """Version the training set with DVC, addressed by its content, and record it."""
    from perennial.steps.snapshot import take_snapshot as step

    spec, run, settings = _open_run()
    snapshot = step(
        spec,
        run,
        pull(TrainingSet, "prepare.build_features"),
        sql_digest=pull(Extract, "ingest.extract").sql_digest,
        cleaned=pull(Cleaned, "prepare.clean"),
        validations=_pull_validations(),
        settings=settings,
    )
    return pack(snapshot)


@task
def open_mlflow_run() -> list[dict[str, str]]:
    """Open the MLflow run that the candidates' runs hang under, and list what is to be trained."""
    from perennial.steps.train import open_parent_run

    spec, run, settings = _open_run()
    parent_run_id = open_parent_run(spec, run, pull(Snapshot, "prepare.take_snapshot"), settings=settings)
    return [{"candidate": name, "parent_run_id": parent_run_id} for name in run.candidates]


def _pull_parent_run_id() -> str:
    trainings: list[dict[str, str]] = get_current_context()["ti"].xcom_pull(task_ids="train.open_mlflow_run")
    return trainings[0]["parent_run_id"]


@task(pool="training", map_index_template="{{ candidate }}")
def train_candidate(candidate: str, parent_run_id: str) -> Packed:
    """Search one candidate's parameters over time-ordered folds within its budget, then fit it on all training rows."""
    from perennial.steps.train import train_candidate as step

    get_current_context()["candidate"] = candidate  # type: ignore[typeddict-unknown-key]
    spec, run, settings = _open_run()
    snapshot = pull(Snapshot, "prepare.take_snapshot")
    return pack(step(spec, run, snapshot, candidate, parent_run_id=parent_run_id, settings=settings))


# One success is enough, so that a candidate whose process died does not sink the others.
@task(pool=PREPARING, trigger_rule="all_done_min_one_success")
def evaluate(trained: Iterable[Packed]) -> Packed:
    """Score the best candidate and the champion on the holdout neither saw, apply the gates, record the decision."""
    from perennial.steps.evaluate import evaluate as step

    spec, run, settings = _open_run()
    decision = step(
        spec,
        run,
        pull(Snapshot, "prepare.take_snapshot"),
        tuple(unpack(TrainedCandidate, each) for each in trained),
        parent_run_id=_pull_parent_run_id(),
        settings=settings,
    )
    if decision.outcome == "rejected":
        note(f"Challenger rejected ({decision.candidate}): {'; '.join(decision.reasons)}")
    return pack(decision)


@task(pool="training")
def refit() -> Packed | None:
    """Fit an accepted candidate again on the whole window; where it says something else than the judged one, that one serves."""
    from perennial.steps.window_fit import fit_window

    spec, run, settings = _open_run()
    if not spec.training.refit:  # the spec of now, which the graph is of, asks for it, and this run began under another
        return None
    refit = fit_window(spec, run, pull(Snapshot, "prepare.take_snapshot"), pull(Decision, "evaluate"), settings=settings)
    return pack(refit) if refit else None


@task(pool=PREPARING)
def register() -> Packed:
    """Register the accepted challenger in MLflow; a rejected one skips this, but not in a backfill."""
    from perennial.steps.register import is_registered
    from perennial.steps.register import register as step

    decision = pull(Decision, "evaluate")
    spec, run, settings = _open_run()
    if not is_registered(run, decision):
        skip("the gates rejected the challenger, so there is nothing to register")
    snapshot, refit = pull(Snapshot, "prepare.take_snapshot"), pull_optional(Refit, "refit")
    version = step(spec, run, snapshot, decision, refit=refit, settings=settings)
    note(f"Challenger accepted ({decision.candidate}): version {version.model_version}")
    return pack(version)


def announce_challenger(model: str) -> Any:
    """Tell the release Dag that there is a challenger, by an Asset event; a backfill tells nobody."""

    @task(task_id="announce_challenger", outlets=[challenger_asset(model)], doc_md=announce_challenger.__doc__)
    def announce() -> None:
        run, version = pull(Run, "plan"), pull(RegisteredVersion, "register")
        if run.mode == "backfill":
            skip("a backfill registers and never releases")
        event = get_current_context()["outlet_events"][challenger_asset(model)]
        event.extra = {"version": pack(version), "as_of": run.as_of.isoformat()}

    return announce()


# A rejection skips `register`; the report goes out all the same.
@task(pool=PREPARING, trigger_rule="none_failed")
def report() -> None:
    """Mail the decision and why, and leave a model card in MLflow."""
    from perennial.steps.report import report_decision

    spec, run, settings = _open_run()
    report_decision(
        spec,
        run,
        extract=pull(Extract, "ingest.extract"),
        cleaned=pull(Cleaned, "prepare.clean"),
        training_set=pull(TrainingSet, "prepare.build_features"),
        snapshot=pull(Snapshot, "prepare.take_snapshot"),
        validations=_pull_validations(),
        decision=pull(Decision, "evaluate"),
        version=pull_optional(RegisteredVersion, "register"),
        refit=pull_optional(Refit, "refit"),
        parent_run_id=_pull_parent_run_id(),
        settings=settings,
    )
