"""`monitor__<model>`: what a window of predictions shows, who is told, and whether a retraining is asked for."""

from airflow.sdk import DAG

from perennial_airflow import monitor as tasks
from perennial_airflow.factory import ModelSpec, loop_dag, monitor_options, specs_to_parse, window_params

DOC = """Compares a window of predictions with the reference that the spec names: is the data whole, are inputs and predictions
what they were, is the model as good as on its holdout, does the service hold. The verdict is recorded and mailed. Where it is bad
for long enough, the gatekeeper is asked for a retraining, and what it grants is triggered. A backfill records verdicts and does
nothing else."""


def build_dag(spec: ModelSpec) -> DAG:
    with loop_dag("monitor", spec, doc=DOC, params=window_params(), **monitor_options(spec)) as dag:
        measured, asked, told = tasks.measure(), tasks.ask_gatekeeper(), tasks.report()
        tasks.plan(spec.model) >> measured >> asked >> [tasks.trigger_retraining(spec.model), told]
        measured >> told
    return dag


for each in specs_to_parse("monitor"):
    globals()[f"monitor__{each.model}"] = build_dag(each)
