"""What came of a run, in the note that Airflow shows beside it: a declined request or a rejection is a run that succeeded."""

import logging

from perennial.adapters.airflow_api import AirflowApi
from perennial.config.settings import Settings

_logger = logging.getLogger(__name__)

# The most that Airflow takes.
_MOST_LETTERS = 1000


def leave_note(text: str, *, dag_id: str, dag_run_id: str, settings: Settings) -> None:
    """Add a line to a run's note, unless it says so already; what a person wrote there stays.

    Worth a try, never worth a failure: where Airflow's API does not take it, the log says so.
    """
    try:
        with AirflowApi(settings.airflow_api_url, user="admin", password=settings.secret("admin_password")) as api:
            note = api.read_note(dag_id, dag_run_id)
            if (longer := extend_note(note, text)) != note:
                api.write_note(dag_id, dag_run_id, longer)
    except Exception as error:  # Whatever Airflow answers: the outcome is recorded where it counts.
        _logger.warning("the run has no note of this: %s", error)


def extend_note(note: str, text: str) -> str:
    """The note with one more line, cut where it would be longer than Airflow takes."""
    if text in note:
        return note
    longer = f"{note}\n\n{text}" if note else text
    return longer if len(longer) <= _MOST_LETTERS else f"{longer[: _MOST_LETTERS - 1]}…"
