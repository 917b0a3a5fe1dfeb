"""What happens when a task has failed for good."""

import logging
from typing import TYPE_CHECKING, Any

from perennial.config.settings import Settings
from perennial.errors import InputError

if TYPE_CHECKING:
    from perennial.contracts import Run

log = logging.getLogger(__name__)


def mail_failure(context: Any) -> None:
    """Mail the model's recipients which task failed, why, and what to do; a backfill mails nobody."""
    from perennial.steps.report import report_failure

    dag_run, task_instance, error = context["dag_run"], context["ti"], context.get("exception")
    if dag_run.run_type == "backfill" or _is_told(dag_run, error):
        return
    report_failure(
        dag_run.dag_id.partition("__")[2],
        error,
        dag_id=dag_run.dag_id,
        dag_run_id=dag_run.run_id,
        task_id=task_instance.task_id,
        map_index=task_instance.map_index,
        run=_read_run(task_instance),
        settings=Settings.load(),
    )


def _is_told(dag_run: Any, error: BaseException | None) -> bool:
    """Whether somebody has asked, by hand, for what cannot be: who did so is told in the run's note, and nobody else."""
    person = dag_run.triggering_user_name
    if not (isinstance(error, InputError) and person and dag_run.run_type == "manual"):
        return False
    from perennial.steps.run_note import leave_note

    log.info("nobody is mailed: %s asked for this run, and finds in its note what was wrong", person)
    text = f"Nothing was done: {error.what}. {error.next_step}".strip()
    leave_note(text, dag_id=dag_run.dag_id, dag_run_id=dag_run.run_id, settings=Settings.load())
    return True


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
