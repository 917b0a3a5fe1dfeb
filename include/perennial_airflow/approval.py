"""The task of `release__<model>` that waits for a person: Airflow's human-in-the-loop task with our question.

Nothing runs while it waits. The answer comes through Airflow's UI or API; after the deadline the spec's default counts.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Context, Param
from airflow.sdk.timezone import utcnow

from perennial.config.settings import Settings
from perennial.contracts import RegisteredVersion
from perennial.errors import ReleaseError
from perennial_airflow.factory import load_run
from perennial_airflow.mails import mail_patiently
from perennial_airflow.outcomes import skip
from perennial_airflow.xcom import pull, pull_optional

if TYPE_CHECKING:
    from perennial.steps.approval import Answer

APPROVE, REJECT = "Approve", "Reject"
TASK_ID = "approve"
_REASON = "Recorded with the answer."


class Approval(HITLOperator):
    """Asks for a word on the challenger, by mail and in the UI. What it is asked about is read when the task runs.

    `ApprovalOperator` would skip what follows a rejection, and with it the task that writes the answer down.
    """

    def __init__(self, *, model: str, **options: Any) -> None:
        super().__init__(
            task_id=TASK_ID,
            subject=f"Release the challenger of {model} to callers?",
            options=[APPROVE, REJECT],
            defaults=REJECT,
            # An answer without it must not fail the task: Airflow takes one through its API, and for the deadline's.
            params={"reason": Param("", _REASON, type=["null", "string"])},
            **options,
        )

    @property
    def serialized_params(self) -> dict[str, dict[str, Any]]:
        """The form, whose buttons wait for a reason: a value of null where none is allowed."""
        form: dict[str, Any] = Param(None, _REASON, type="string", title="Reason", minLength=1).serialize()
        return {"reason": form}

    def execute(self, context: Context) -> Any:
        """Put the question, mail that it is there, and leave; what was answered before the task was interrupted counts."""
        from perennial.steps.approval import describe_for_approval
        from perennial.steps.release_report import ask_for_approval

        version, dag_run_id = pull(RegisteredVersion, "choose_version"), context["dag_run"].run_id
        spec, settings = load_run(version.model)
        if spec.release.approval != "required":
            skip("the spec that this run began under asks for no approval")
        if context["ti"].try_number > 1 and (event := _find_event(version, dag_run_id, settings)):
            self.log.info("The answer came before this task was interrupted: it counts")
            return self.execute_complete(context, event)
        policy = spec.release.approval_policy
        self.response_timeout, self.defaults = policy.within, [APPROVE if policy.otherwise == "approve" else REJECT]
        deadline = utcnow() + policy.within
        self.subject = f"Release version {version.model_version} of {version.model} to callers?"
        self.body = describe_for_approval(spec, version, deadline=deadline, dag_run_id=dag_run_id, settings=settings)
        mail_patiently(
            ask_for_approval, spec, version, task_id=TASK_ID, deadline=deadline, dag_run_id=dag_run_id, settings=settings
        )
        return super().execute(context)


def _find_event(version: RegisteredVersion, dag_run_id: str, settings: Settings) -> dict[str, Any] | None:
    """An answer that was given and not used, as Airflow hands it to `execute_complete`."""
    from perennial.steps.approval import find_unrecorded_answer

    answer = find_unrecorded_answer(version, dag_run_id=dag_run_id, task_id=TASK_ID, settings=settings)
    if answer is None:
        return None
    return {
        "chosen_options": list(answer.options),
        "params_input": dict(answer.inputs),
        "responded_at": answer.answered_at,
        "responded_by_user": {"id": answer.user_id, "name": answer.user_name} if answer.user_id else None,
    }


def ask_a_person(model: str) -> Approval:
    """The task; deadline and default are those of the spec that its run began under."""
    return Approval(model=model, trigger_rule="none_failed")


def pull_answer(model: str) -> "Answer":
    """The answer that the task before has left."""
    from perennial.steps.approval import Answer

    answer = pull_optional(dict[str, Any], TASK_ID)
    if not answer:
        raise ReleaseError(
            f"the task {TASK_ID} left no answer: it was marked as done by hand",
            f"start release__{model} by hand with this version, and answer at the task's Required Action",
        )
    user, params = answer.get("responded_by_user"), answer.get("params_input") or {}
    return Answer(
        word="approve" if answer["chosen_options"] == [APPROVE] else "reject",
        actor=user["name"] if user else f"release__{model}",
        reason=str(params.get("reason") or "").strip(),
        answered_at=_instant(answer["responded_at"]),
        by_default=user is None,
    )


def _instant(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)
