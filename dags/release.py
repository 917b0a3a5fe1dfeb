"""`release__<model>`: from a registered challenger to a champion that serves, or a rejection with its reason."""

from airflow.sdk import DAG, chain

from perennial_airflow import release as tasks
from perennial_airflow.approval import ask_a_person
from perennial_airflow.assets import challenger_asset
from perennial_airflow.factory import ModelSpec, loop_dag, release_params, specs_to_parse

DOC = """Builds the challenger's bento and checks it beside the champion, copies live requests to it, asks a person where the
spec says so, leads a growing share of the callers to it, and makes it the champion. Whatever fails or goes over a limit, the
champion keeps serving and the challenger is stopped. Stages that the spec leaves out are skipped; a run keeps the spec that it
began under."""


def build_dag(spec: ModelSpec) -> DAG:
    schedule = [challenger_asset(spec.model)] if spec.release.automatic else None
    with loop_dag("release", spec, doc=DOC, params=release_params(), schedule=schedule, max_active_runs=1) as dag:
        watched = [
            tasks.build_bento(),
            tasks.check_serving(),
            tasks.shadow(),
            ask_a_person(spec.model),
            tasks.record_approval(),
            tasks.canary(),
            tasks.promote(),
        ]
        chain(tasks.choose_version(spec.model), *watched, tasks.drain(spec.model))
        watched >> tasks.withdraw(spec.model)
    return dag


for each in specs_to_parse("release"):
    globals()[f"release__{each.model}"] = build_dag(each)
