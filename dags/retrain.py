"""`retrain__<model>`: from rows in the warehouse to a registered challenger, or a recorded rejection."""

from airflow.sdk import DAG, TaskGroup

from perennial_airflow import retrain as tasks
from perennial_airflow.factory import ModelSpec, loop_dag, retrain_params, schedule_options, specs_to_parse

DOC = """Ingests the window before `as_of`, validates it at three points, snapshots the training set, trains the
candidates, judges the best of them against the champion on a holdout neither saw, and registers it if the gates agree.
Every outcome is mailed. A registered challenger starts `release__<model>`; a backfill never does."""


def build_dag(spec: ModelSpec) -> DAG:
    with loop_dag("retrain", spec, doc=DOC, params=retrain_params(spec), **schedule_options(spec.schedule)) as dag:
        run = tasks.plan(spec.model)

        with TaskGroup("ingest", tooltip="From the warehouse to Parquet"):
            raw = tasks.validate_raw(run)
            extracted = tasks.extract(run)
            raw >> extracted

        with TaskGroup("prepare", tooltip="From rows to an immutable training set"):
            cleaned = tasks.clean(run, extracted)
            clean = tasks.validate_clean(run, cleaned)
            training_set = tasks.build_features(run, cleaned)
            features = tasks.validate_features(run, training_set)
            validations = [raw, clean, features]
            snapshot = tasks.take_snapshot(run, extracted, training_set, validations)

        with TaskGroup("train", tooltip="One task per candidate, each within its budget"):
            trainings = tasks.open_mlflow_run(run, snapshot)
            trained = tasks.train_candidate.partial(run=run, snapshot=snapshot).expand_kwargs(trainings)

        decision = tasks.evaluate(trained)
        version = tasks.register(run, snapshot, decision)
        tasks.announce_challenger(spec.model, run, version)
        tasks.report(run, extracted, cleaned, training_set, snapshot, validations, decision, version)
    return dag


for each in specs_to_parse("retrain"):
    globals()[f"retrain__{each.model}"] = build_dag(each)
