"""`release__<model>`: from a registered challenger to a champion that serves, or a rejection with its reason."""

from airflow.sdk import DAG

from perennial_airflow import release as tasks
from perennial_airflow.assets import challenger_asset
from perennial_airflow.factory import ModelSpec, loop_dag, release_params, specs_to_parse

DOC = """Builds the challenger's bento, starts it beside the champion, compares its answers with the offline predictions,
switches the gateway and stops the old one. If anything fails, the champion keeps serving and the challenger is stopped."""


def build_dag(spec: ModelSpec) -> DAG:
    schedule = [challenger_asset(spec.model)] if spec.release.automatic else None
    with loop_dag("release", spec, doc=DOC, params=release_params(), schedule=schedule, max_active_runs=1) as dag:
        bento, check, promoted = tasks.build_bento(), tasks.check_serving(), tasks.promote()
        tasks.choose_version(spec.model) >> bento >> check >> promoted >> tasks.drain(spec.model)
        [bento, check, promoted] >> tasks.withdraw(spec.model)
    return dag


for each in specs_to_parse("release"):
    globals()[f"release__{each.model}"] = build_dag(each)
