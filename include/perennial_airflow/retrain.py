"""The tasks of `retrain__<model>`. Each calls one step of the library, imported where it runs."""

from collections.abc import Iterable
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from perennial.contracts import (
    Cleaned,
    Decision,
    Extract,
    RegisteredVersion,
    Run,
    Snapshot,
    TrainedCandidate,
    TrainingSet,
    Validation,
)
from perennial_airflow.assets import challenger_asset
from perennial_airflow.factory import load_model
from perennial_airflow.runs import resolve_run
from perennial_airflow.xcom import pack, unpack

Packed = dict[str, Any]


@task
def plan(model: str) -> Packed:
    """Fix what this run may see (`as_of`, window, candidates) and bring MLflow's `champion` alias in line with the truth."""
    from perennial.steps.reconcile import reconcile_champion_alias

    spec, settings = load_model(model)
    context = get_current_context()
    run = resolve_run(spec, context["dag_run"], context["params"])
    reconcile_champion_alias(model, settings=settings)
    return pack(run)


@task
def validate_raw(run: Packed) -> Packed:
    """Check the window's rows where they lie, in Postgres, against the raw suite."""
    from perennial.steps.validate import validate_raw as step

    spec, settings = load_model(run["model"])
    return pack(step(spec, unpack(Run, run), settings=settings))


@task
def extract(run: Packed) -> Packed:
    """Stream the window from Postgres to Parquet, through a role that can only read."""
    from perennial.steps.extract import extract as step

    spec, settings = load_model(run["model"])
    return pack(step(spec, unpack(Run, run), settings=settings))


@task
def clean(run: Packed, extracted: Packed) -> Packed:
    """Apply the spec's cleaning rules and count what was dropped and mended."""
    from perennial.steps.clean import clean as step

    spec, settings = load_model(run["model"])
    return pack(step(spec, unpack(Run, run), unpack(Extract, extracted), settings=settings))


@task
def validate_clean(run: Packed, cleaned: Packed) -> Packed:
    """Check the cleaned rows against the clean suite."""
    from perennial.steps.validate import validate_clean as step

    spec, settings = load_model(run["model"])
    return pack(step(spec, unpack(Run, run), unpack(Cleaned, cleaned), settings=settings))


@task
def build_features(run: Packed, cleaned: Packed) -> Packed:
    """Build the typed training set from rows whose label is mature."""
    from perennial.steps.features import build_features as step

    spec, settings = load_model(run["model"])
    return pack(step(spec, unpack(Run, run), unpack(Cleaned, cleaned), settings=settings))


@task
def validate_features(run: Packed, training_set: Packed) -> Packed:
    """Check the training set against the features suite."""
    from perennial.steps.validate import validate_features as step

    spec, settings = load_model(run["model"])
    return pack(step(spec, unpack(Run, run), unpack(TrainingSet, training_set), settings=settings))


@task
def take_snapshot(run: Packed, extracted: Packed, training_set: Packed, validations: list[Packed]) -> Packed:
    """Version the training set with DVC, addressed by its content, and record it."""
    from perennial.steps.snapshot import take_snapshot as step

    spec, settings = load_model(run["model"])
    snapshot = step(
        spec,
        unpack(Run, run),
        unpack(TrainingSet, training_set),
        sql_digest=unpack(Extract, extracted).sql_digest,
        validations=tuple(unpack(Validation, each) for each in validations),
        settings=settings,
    )
    return pack(snapshot)


@task
def open_mlflow_run(run: Packed, snapshot: Packed) -> list[dict[str, str]]:
    """Open the MLflow run that the candidates' runs hang under, and list what is to be trained."""
    from perennial.steps.train import open_parent_run

    spec, settings = load_model(run["model"])
    parent_run_id = open_parent_run(spec, unpack(Run, run), unpack(Snapshot, snapshot), settings=settings)
    return [{"candidate": name, "parent_run_id": parent_run_id} for name in run["candidates"]]


def _pull_parent_run_id() -> str:
    trainings: list[dict[str, str]] = get_current_context()["ti"].xcom_pull(task_ids="train.open_mlflow_run")
    return trainings[0]["parent_run_id"]


@task(pool="training", map_index_template="{{ candidate }}")
def train_candidate(candidate: str, run: Packed, snapshot: Packed, parent_run_id: str) -> Packed:
    """Search one candidate's parameters over time-ordered folds within its budget, then fit it on all training rows."""
    from perennial.steps.train import train_candidate as step

    get_current_context()["candidate"] = candidate  # type: ignore[typeddict-unknown-key]
    spec, settings = load_model(run["model"])
    trained = step(spec, unpack(Run, run), unpack(Snapshot, snapshot), candidate, parent_run_id=parent_run_id, settings=settings)
    return pack(trained)


# One success is enough, so that a candidate whose process died does not sink the others. The rule counts direct
# upstreams, so the training tasks must stay the only ones: run and snapshot are pulled, not passed.
@task(trigger_rule="all_done_min_one_success")
def evaluate(trained: Iterable[Packed]) -> Packed:
    """Score the best candidate and the champion on the holdout neither saw, apply the gates, record the decision."""
    from perennial.steps.evaluate import evaluate as step

    pull = get_current_context()["ti"].xcom_pull
    run, snapshot = pull(task_ids="plan"), pull(task_ids="prepare.take_snapshot")
    spec, settings = load_model(run["model"])
    decision = step(
        spec,
        unpack(Run, run),
        unpack(Snapshot, snapshot),
        tuple(unpack(TrainedCandidate, each) for each in trained),
        parent_run_id=_pull_parent_run_id(),
        settings=settings,
    )
    return pack(decision)


@task
def register(run: Packed, snapshot: Packed, decision: Packed) -> Packed:
    """Register the accepted challenger in MLflow; a rejected one skips this."""
    from perennial.steps.register import register as step

    if decision["outcome"] != "accepted":
        raise AirflowSkipException("the gates rejected the challenger, so there is nothing to register")
    spec, settings = load_model(run["model"])
    return pack(step(spec, unpack(Run, run), unpack(Snapshot, snapshot), unpack(Decision, decision), settings=settings))


def announce_challenger(model: str, run: Any, version: Any) -> None:
    """Tell the release Dag that there is a challenger, by an Asset event; a backfill tells nobody."""

    @task(task_id="announce_challenger", outlets=[challenger_asset(model)], doc_md=announce_challenger.__doc__)
    def announce(run: Packed, version: Packed) -> None:
        if run["mode"] == "backfill":
            raise AirflowSkipException("a backfill registers and never releases")
        get_current_context()["outlet_events"][challenger_asset(model)].extra = {"version": version, "as_of": run["as_of"]}

    announce(run, version)


# A rejection skips `register`; the report goes out all the same.
@task(trigger_rule="none_failed")
def report(
    run: Packed,
    extracted: Packed,
    cleaned: Packed,
    training_set: Packed,
    snapshot: Packed,
    validations: list[Packed],
    decision: Packed,
    version: Packed | None,
) -> None:
    """Mail the decision and why, and leave a model card in MLflow."""
    from perennial.steps.report import report_decision

    spec, settings = load_model(run["model"])
    report_decision(
        spec,
        unpack(Run, run),
        extract=unpack(Extract, extracted),
        cleaned=unpack(Cleaned, cleaned),
        training_set=unpack(TrainingSet, training_set),
        snapshot=unpack(Snapshot, snapshot),
        validations=tuple(unpack(Validation, each) for each in validations),
        decision=unpack(Decision, decision),
        version=unpack(RegisteredVersion, version) if version else None,
        parent_run_id=_pull_parent_run_id(),
        settings=settings,
    )
