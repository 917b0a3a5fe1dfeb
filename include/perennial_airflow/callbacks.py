"""What happens when a task has failed for good."""

from typing import Any


def mail_failure(context: Any) -> None:
    """Mail the model's recipients which task failed, why, and what to do; a backfill mails nobody."""
    from perennial.config.settings import Settings
    from perennial.contracts import Run
    from perennial.steps.report import report_failure
    from perennial_airflow.xcom import unpack

    dag_run, task_instance = context["dag_run"], context["ti"]
    if dag_run.run_type == "backfill":
        return
    kind, _, model = dag_run.dag_id.partition("__")
    packed = task_instance.xcom_pull(task_ids="plan")
    report_failure(
        model,
        context.get("exception"),
        dag_id=dag_run.dag_id,
        dag_run_id=dag_run.run_id,
        task_id=task_instance.task_id,
        map_index=task_instance.map_index,
        run=unpack(Run, packed) if packed and kind == "retrain" else None,
        settings=Settings.load(),
    )
