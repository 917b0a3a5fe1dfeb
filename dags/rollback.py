"""`rollback__<model>`: by hand, an earlier champion serves again within seconds."""

from airflow.sdk import DAG

from perennial_airflow import rollback as tasks
from perennial_airflow.factory import ModelSpec, loop_dag, rollback_params, specs_to_parse

DOC = """Leads all callers back to the champion before the present one, or to the `version` that you name, and records your
`reason`. A release that is under way is stopped. The same from a terminal: `perennial rollback <model> --reason …`"""


def build_dag(spec: ModelSpec) -> DAG:
    # Whatever is paused, the way back is open.
    options = {"schedule": None, "max_active_runs": 1, "is_paused_upon_creation": False}
    with loop_dag("rollback", spec, doc=DOC, params=rollback_params(), **options) as dag:
        tasks.roll_back(spec.model)
    return dag


for each in specs_to_parse("rollback"):
    globals()[f"rollback__{each.model}"] = build_dag(each)
