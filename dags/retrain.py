"""`retrain__<model>`: from rows in the warehouse to a registered challenger, or a recorded rejection."""

from airflow.sdk import DAG, TaskGroup, chain

from perennial_airflow import retrain as tasks
from perennial_airflow import retrain_ends
from perennial_airflow.factory import ModelSpec, loop_dag, retrain_params, schedule_options, specs_to_parse

DOC = """Ingests the window before `as_of`, validates it at three points, snapshots the training set, trains the
candidates, judges the best of them against the champion on a holdout neither saw, and registers it if the gates agree; where the
spec asks for it, fitted again on the whole window.
Every outcome is mailed. A registered challenger starts `release__<model>`; a backfill never does, and mails nobody: it leaves
one summary of its intervals among the reports. A run needs a granted request, of which a model has one at a time:
`perennial requests` shows them."""


def build_dag(spec: ModelSpec) -> DAG:
    with loop_dag("retrain", spec, doc=DOC, params=retrain_params(spec), **schedule_options(spec.schedule)) as dag:
        plan = tasks.plan(spec.model)

        with TaskGroup("ingest", tooltip="From the warehouse to Parquet") as ingest:
            tasks.validate_raw() >> tasks.extract()

        with TaskGroup("prepare", tooltip="From rows to an immutable training set") as prepare:
            cleaned, snapshot = tasks.clean(), tasks.take_snapshot()
            cleaned >> tasks.validate_clean() >> snapshot
            cleaned >> tasks.build_features() >> tasks.validate_features() >> snapshot

        with TaskGroup("train", tooltip="One task per candidate, each within its budget") as train:
            trained = tasks.train_candidate.expand_kwargs(tasks.open_mlflow_run())

        plan >> ingest >> prepare >> train
        told = [tasks.announce_challenger(spec.model), tasks.report()]
        ends = [retrain_ends.end_request(spec.model), retrain_ends.summarize_backfill(spec.model)]
        fits = [tasks.refit()] if spec.training.refit else []
        chain(tasks.evaluate(trained), *fits, tasks.register(), told)
        for end in ends:
            told >> end
    return dag


for each in specs_to_parse("retrain"):
    globals()[f"retrain__{each.model}"] = build_dag(each)
