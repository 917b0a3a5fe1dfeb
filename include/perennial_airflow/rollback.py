"""The task of `rollback__<model>`. It calls one step of the library, imported where it runs."""

from airflow.sdk import get_current_context, task

from perennial_airflow.factory import load_model
from perennial_airflow.outcomes import note
from perennial_airflow.xcom import Packed, pack


@task
def roll_back(model: str) -> Packed:
    """Lead all callers to the version that is to serve again, and write down who wanted it and why."""
    from perennial.steps.rollback_report import roll_back_and_tell

    context = get_current_context()
    (spec, settings), dag_run = load_model(model), context["dag_run"]
    done = roll_back_and_tell(
        spec,
        to=context["params"].get("version"),
        reason=context["params"]["reason"],
        actor=dag_run.triggering_user_name or dag_run.dag_id,
        dag_run_id=dag_run.run_id,
        settings=settings,
    )
    note(f"Version {done.model_version} answers all callers, by {done.actor}: {done.reason}")
    return pack(done)
