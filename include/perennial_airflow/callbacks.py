"""What happens when a task has failed for good."""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perennial.contracts import Run

log = logging.getLogger(__name__)


def mail_failure(context: Any) -> None:
    """Mail the model's recipients which task failed, why, and what to do; a backfill mails nobody."""
    from perennial.config.settings import Settings
    from perennial.steps.report import report_failure

    dag_run, task_instance = context["dag_run"], context["ti"]
    if dag_run.run_type == "backfill":
        return
    report_failure(
        dag_run.dag_id.partition("__")[2],
        context.get("exception"),
        dag_id=dag_run.dag_id,
        dag_run_id=dag_run.run_id,
        task_id=task_instance.task_id,
        map_index=task_instance.map_index,
        run=_read_run(task_instance),
        settings=Settings.load(),
    )


def _read_run(task_instance: Any) -> "Run | None":
    """What the run may see, if it was fixed already; the mail goes out without it all the same."""
    from perennial.contracts import Run
    from perennial_airflow.xcom import unpack

    try:
        packed = task_instance.xcom_pull(task_ids="plan")
    except Exception:  # For a task that was killed, Airflow calls this where XCom may be out of reach.
        log.warning("cannot read the run's plan; the mail goes out without it", exc_info=True)
        return None
    return unpack(Run, packed) if packed else None
