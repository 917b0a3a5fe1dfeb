"""Tell people: the mail of a decision with the model card, and the mail of a failed task."""

import logging
from dataclasses import dataclass

from perennial.adapters.mail import Mail, send
from perennial.adapters.plots import draw_curves
from perennial.adapters.registry import Registry
from perennial.adapters.state import StateStore
from perennial.adapters.state.history import TASK_FAILED
from perennial.adapters.templates import render
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_file import load_spec, spec_path
from perennial.contracts import (
    Champion,
    Cleaned,
    Decision,
    Extract,
    Refit,
    RegisteredVersion,
    Run,
    Snapshot,
    TrainingSet,
    Validation,
)
from perennial.errors import ConfigurationError, UnavailableError
from perennial.steps.failure_view import FailedTask, build_failure_subject, build_failure_values
from perennial.steps.model_card import MODEL_CARD_FILE, build_model_card
from perennial.steps.report_evidence import Evidence, read_evaluation
from perennial.steps.report_view import build_decision_values, build_subject
from perennial.steps.run_spec import load_run_spec
from perennial.steps.workspace import run_folder

log = logging.getLogger(__name__)

_ACTION = "mail"
_MEANING = {
    "roc": "ROC curve: true against false positives",
    "precision_recall": "Precision against recall",
    "calibration": "Calibration: observed share against predicted probability",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture as the template names it."""

    name: str
    alt: str


def report_decision(  # noqa: PLR0913 - a report is where everything that a run made comes together
    spec: ModelSpec,
    run: Run,
    *,
    extract: Extract,
    cleaned: Cleaned,
    training_set: TrainingSet,
    snapshot: Snapshot,
    validations: tuple[Validation, ...],
    decision: Decision,
    version: RegisteredVersion | None,
    refit: Refit | None = None,
    parent_run_id: str,
    settings: Settings,
) -> None:
    """Leave a model card in MLflow and mail the decision to the spec's recipients; a backfill mails nobody.

    Notes
    -----
    Idempotent by model, Dag run and subject: see `deliver`.
    """
    evidence = Evidence(
        extract=extract,
        cleaned=cleaned,
        training_set=training_set,
        snapshot=snapshot,
        validations=validations,
        decision=decision,
        version=version,
        parent_run_id=parent_run_id,
        refit=refit,
        evaluation=read_evaluation(run_folder(settings, run)),
        git_commit=_read_commit(parent_run_id, settings=settings),
    )
    _log_model_card(spec, run, evidence, settings=settings)
    if run.mode == "backfill":
        log.info("a backfill mails nobody")
        return
    deliver(build_decision_mail(spec, run, evidence, settings=settings), run.model, run.dag_run_id, settings=settings)


def _read_commit(parent_run_id: str, *, settings: Settings) -> str:
    """What the training was tagged with: the files may have changed since."""
    training = Registry(settings.mlflow_tracking_url).read_run(parent_run_id)
    return training.tags.get("git_commit", "") if training else ""


def _log_model_card(spec: ModelSpec, run: Run, evidence: Evidence, *, settings: Settings) -> None:
    card = build_model_card(spec, run, evidence=evidence, settings=settings)
    Registry(settings.mlflow_tracking_url).log_text(evidence.parent_run_id, card, MODEL_CARD_FILE)
    log.info("wrote the model card to the MLflow run %s as %s", evidence.parent_run_id, MODEL_CARD_FILE)


def build_decision_mail(spec: ModelSpec, run: Run, evidence: Evidence, *, settings: Settings) -> Mail:
    """The mail of a decision, pictures inside."""
    pictures = draw_curves(evidence.evaluation.curves)
    values = build_decision_values(spec, run, evidence, settings=settings)
    values["pictures"] = [Picture(name=name, alt=_MEANING[name]) for name in pictures]
    subject = build_subject(spec, evidence.decision)
    return Mail(
        sender=settings.mail_from,
        recipients=tuple(spec.recipients),
        subject=subject,
        text=render("decision.txt", values),
        html=render("decision.html", values),
        key=f"{run.model}/{run.dag_run_id}/{subject}",
        pictures=pictures,
    )


def report_failure(
    model: str,
    error: BaseException | str | None,
    *,
    dag_id: str,
    dag_run_id: str,
    task_id: str,
    map_index: int = -1,
    run: Run | None,
    settings: Settings,
) -> None:
    """Record what failed, and mail the spec's recipients why, and that the champion still serves; a backfill does neither.

    Parameters
    ----------
    run
        What the run may see; None where the task that fixes it is the one that failed.

    Notes
    -----
    Idempotent as decisions are: see `deliver`. When the state database is away the mail goes out unrecorded, since
    nobody calls this twice: better told twice than not at all.
    """
    if run is not None and run.mode == "backfill":
        log.info("a backfill mails nobody")
        return
    task = FailedTask(model=model, dag_id=dag_id, dag_run_id=dag_run_id, task_id=task_id, map_index=map_index, error=error)
    _record_failure(task, settings=settings)
    try:
        spec = _load_spec(model, dag_id=dag_id, dag_run_id=dag_run_id, settings=settings)
    except ConfigurationError as fault:
        log.warning("nobody can be told by mail: the spec, which names the recipients, cannot be read: %s", fault)
        return
    champion = _read_champion(model, settings=settings)
    mail = build_failure_mail(spec, task, run, champion=champion, settings=settings)
    if isinstance(champion, str):
        send(mail, host=settings.smtp_host, port=settings.smtp_port)
        log.info("mailed to %s, unrecorded: %s", ", ".join(mail.recipients), mail.subject)
    else:
        deliver(mail, model, dag_run_id, settings=settings)


def _record_failure(task: FailedTask, *, settings: Settings) -> None:
    """Leave the failure in the audit trail, where `perennial requests` and `perennial history` find it."""
    detail = {"task_id": task.task_id, "what": task.first_line}
    try:
        with StateStore(settings.state_url) as state:
            state.write_audit(task.dag_id, TASK_FAILED, model=task.model, subject=task.dag_run_id, detail=detail)
    except UnavailableError as fault:
        log.warning("the failure is not recorded: %s", fault.what)


def _load_spec(model: str, *, dag_id: str, dag_run_id: str, settings: Settings) -> ModelSpec:
    """The spec that the run began under, which names who is told; the file's where the state database is away."""
    try:
        return load_run_spec(model, dag_id=dag_id, dag_run_id=dag_run_id, settings=settings)
    except UnavailableError:
        return load_spec(spec_path(settings, model))


def _read_champion(model: str, *, settings: Settings) -> Champion | str | None:
    """The champion, or why it is not known."""
    try:
        with StateStore(settings.state_url) as state:
            return state.read_champion(model)
    except UnavailableError:
        return f"Which version of {model} serves is not known now: the state database does not answer. See: perennial status."


def build_failure_mail(
    spec: ModelSpec, task: FailedTask, run: Run | None, *, champion: Champion | str | None, settings: Settings
) -> Mail:
    """The mail of a failed task."""
    values = build_failure_values(spec, task, run, champion=champion, settings=settings)
    subject = build_failure_subject(task)
    return Mail(
        sender=settings.mail_from,
        recipients=tuple(spec.recipients),
        subject=subject,
        text=render("failure.txt", values),
        html=render("failure.html", values),
        key=f"{task.model}/{task.dag_run_id}/{subject}",
    )


def deliver(mail: Mail, model: str, dag_run_id: str, *, settings: Settings) -> bool:
    """Send a mail unless the audit trail says that it was sent.

    A mail is known by its key: model, Dag run and subject, and the subject holds the outcome. A retried task thus mails
    once, and a decision that came out differently is news. SMTP and Postgres share no transaction, so exactly once
    cannot be had: a crash between the two sends twice, under the same Message-ID, which mail programs fold into one.

    Returns
    -------
    Whether the mail was sent now.

    Raises
    ------
    UnavailableError
        When the mail server or the state database is away; trying again may help.
    """
    with StateStore(settings.state_url) as state, state.lock(f"mail/{mail.key}"):
        if state.has_audit(_ACTION, model=model, subject=mail.key):
            log.info("this mail was sent before: %s", mail.subject)
            return False
        refused = send(mail, host=settings.smtp_host, port=settings.smtp_port)
        detail = {"dag_run_id": dag_run_id, "recipients": list(mail.recipients), "refused": list(refused)}
        state.write_audit("report", _ACTION, model=model, subject=mail.key, detail=detail)
    log.info("mailed to %s: %s", ", ".join(mail.recipients), mail.subject)
    return True
