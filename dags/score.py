"""`score__<model>`: the champion's predictions for an interval's rows, in a table of the warehouse."""

from airflow.sdk import DAG

from perennial_airflow import score as tasks
from perennial_airflow.factory import ModelSpec, loop_dag, schedule_options, specs_to_parse, window_params

DOC = """Scores the rows whose event lies in the run's interval, as they were known at its end, by the present champion, and
writes the predictions with version and features to `{table}` of the warehouse, by upsert. A backfill scores past intervals again,
by the champion of today; it tells nobody and changes nothing else."""


def build_dag(spec: ModelSpec) -> DAG:
    scoring = spec.scoring
    doc = DOC.format(table=scoring.table)
    with loop_dag("score", spec, doc=doc, params=window_params(), **schedule_options(scoring.schedule)) as dag:
        tasks.score(spec.model)
    return dag


for each in specs_to_parse("score"):
    if each.scoring:
        globals()[f"score__{each.model}"] = build_dag(each)
