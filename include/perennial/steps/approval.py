"""A person's word before callers reach a challenger: what is laid before them, and what becomes of the answer."""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from perennial.adapters.airflow_api import AirflowApi, HumanAnswer
from perennial.adapters.state import StateStore
from perennial.adapters.templates import format_duration, render
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import LIVE, RegisteredVersion
from perennial.errors import ConfigurationError
from perennial.steps.admission import ANSWERS
from perennial.steps.release import reject
from perennial.steps.release_report import read_release_evidence
from perennial.steps.release_view import build_release_values, describe_deadline, describe_request

_logger = logging.getLogger(__name__)

Word = Literal["approve", "reject"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was said about a release. `actor` is a user of Airflow, or the Dag itself where nobody answered in time."""

    word: Word
    actor: str
    reason: str
    answered_at: datetime
    by_default: bool


def describe_for_approval(
    spec: ModelSpec, version: RegisteredVersion, *, deadline: datetime, dag_run_id: str, settings: Settings
) -> str:
    """Markdown of what a person needs to decide: the decision's figures, what the shadow measured, where to look further."""
    evidence = read_release_evidence(version, settings=settings)
    lead = [*describe_request(spec, evidence), describe_deadline(spec, deadline)]
    values = build_release_values(spec, evidence, headline="", lead=lead, dag_run_id=dag_run_id, settings=settings)
    return render("approval.md", values)


def find_unrecorded_answer(
    version: RegisteredVersion, *, dag_run_id: str, task_id: str, settings: Settings
) -> HumanAnswer | None:
    """An answer that Airflow was given and nobody has written down yet: its task was interrupted, and runs again.

    Airflow itself would forget it and ask once more. One that is in the audit trail was used; who clears the task then wants
    to be asked.
    """
    model = version.model
    try:
        answer = _ask_airflow(f"release__{model}", dag_run_id, task_id, settings=settings)
    except ConfigurationError as error:
        _logger.warning("whether an answer was given before cannot be read, so it is asked again: %s", error)
        return None
    if answer is None:
        return None
    subject, detail = f"version {version.model_version}", {"answered_at": answer.answered_at.isoformat()}
    with StateStore(settings.state_url) as state:
        used = any(state.has_audit(action, model=model, subject=subject, detail=detail) for action in ANSWERS.values())
    return None if used else answer


def _ask_airflow(dag_id: str, dag_run_id: str, task_id: str, *, settings: Settings) -> HumanAnswer | None:
    api = AirflowApi(settings.airflow_api_url, user="admin", password=settings.secret("admin_password"))
    try:
        return api.find_answer(dag_id, dag_run_id, task_id)
    finally:
        api.close()


def record_answer(spec: ModelSpec, version: RegisteredVersion, answer: Answer, *, dag_run_id: str, settings: Settings) -> bool:
    """Write the answer into the audit trail; a rejection ends the release and stops its bento.

    Returns
    -------
    Whether the release goes on. One that was stopped meanwhile does not, whatever the answer is.

    Notes
    -----
    Idempotent: a killed task that runs again writes nothing twice, and finishes the rejection that it had begun.
    """
    model, number = version.model, version.model_version
    detail = {
        "dag_run_id": dag_run_id,
        "reason": _say_why(spec, answer),
        "answered_at": answer.answered_at.isoformat(),
        "by_default": answer.by_default,
    }
    with StateStore(settings.state_url) as state:
        row = state.read_release(model, number)
        state.write_audit_once(answer.actor, ANSWERS[answer.word], model=model, subject=f"version {number}", detail=detail)
    why = describe_answer(spec, answer)
    _logger.info("%s version %d: %s", model, number, why)
    if answer.word == "reject":
        # Whatever the state is: an earlier try may have been killed between the rejection and the end of its bento.
        reject(spec, number, why, settings=settings)
        return False
    if row is None or row.state not in LIVE:
        _logger.info("%s version %d does not go on: it was stopped (%s)", model, number, row.reason if row else "it is gone")
        return False
    return True


def describe_answer(spec: ModelSpec, answer: Answer) -> str:
    """What was said, by whom and why, in words without a point."""
    if answer.by_default:
        said = "approved" if answer.word == "approve" else "rejected"
        return f"{said}, as {_say_why(spec, answer)}"
    return f"{ANSWERS[answer.word]} by {answer.actor}: {_say_why(spec, answer)}"


def _say_why(spec: ModelSpec, answer: Answer) -> str:
    """Airflow's form asks for a reason; who answers through its API may leave it out."""
    if answer.by_default:
        return f"nobody answered within {format_duration(spec.release.approval_policy.within)}"
    return answer.reason or "no reason given"
