"""How a run says what came of it: a note beside it, and a reason in the log before a task is skipped.

A declined request, a rejected challenger and a bad verdict are runs that succeed. Who looks at the grid sees green.
"""

import logging
from typing import NoReturn

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowSkipException

from perennial.config.settings import Settings

_logger = logging.getLogger(__name__)


def note(text: str) -> None:
    """Leave the outcome in the run's note; a backfill has a summary of its own."""
    from perennial.steps.run_note import leave_note

    dag_run = get_current_context()["dag_run"]
    if dag_run.run_type != "backfill":
        leave_note(text, dag_id=dag_run.dag_id, dag_run_id=dag_run.run_id, settings=Settings.load())


def skip(reason: str) -> NoReturn:
    """Skip this task; Airflow's own line does not show why."""
    _logger.info("skipped: %s", reason)
    raise AirflowSkipException(reason)
