"""Tell people how a release goes: a word is asked for, a version was turned down, a champion came, one was rolled back."""

from datetime import datetime

from perennial.adapters.mail import Mail
from perennial.adapters.state import StateStore
from perennial.adapters.templates import format_instant, render
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Champion, Force, RegisteredVersion
from perennial.steps.release_view import (
    ReleaseEvidence,
    RolledBack,
    build_release_values,
    describe_deadline,
    describe_request,
    describe_way,
)
from perennial.steps.report import deliver
from perennial.steps.report_links import Link, dag_run_link, mlflow_model_link, required_action_link


def read_release_evidence(version: RegisteredVersion, *, settings: Settings) -> ReleaseEvidence:
    """What the state database holds of a version on its way, its last release's stages only."""
    with StateStore(settings.state_url) as state:
        row = state.read_release(version.model, version.model_version)
        stages = state.read_stages(version.model, version.model_version)
        return ReleaseEvidence(
            version=version,
            decision=state.read_decision(version.model, row.dag_run_id) if row else None,
            stages=tuple(stage for stage in stages if stage.dag_run_id == stages[-1].dag_run_id),
            champion=state.read_champion(version.model),
            force=Force(by=row.forced_by, reason=row.forced_reason) if row and row.forced_by else None,
        )


def ask_for_approval(
    spec: ModelSpec, version: RegisteredVersion, *, task_id: str, deadline: datetime, dag_run_id: str, settings: Settings
) -> None:
    """Mail the recipients that a release waits for their word, and where to give it."""
    evidence = read_release_evidence(version, settings=settings)
    mail = build_request_mail(spec, evidence, task_id=task_id, deadline=deadline, dag_run_id=dag_run_id, settings=settings)
    deliver(mail, spec.model, dag_run_id, settings=settings)


def report_rejection(spec: ModelSpec, version: RegisteredVersion, *, why: str, dag_run_id: str, settings: Settings) -> None:
    """Mail the recipients that a version was turned down, by whom and why."""
    evidence = read_release_evidence(version, settings=settings)
    mail = build_rejection_mail(spec, evidence, why=why, dag_run_id=dag_run_id, settings=settings)
    deliver(mail, spec.model, dag_run_id, settings=settings)


def report_release(
    spec: ModelSpec, version: RegisteredVersion, champion: Champion, *, dag_run_id: str, settings: Settings
) -> None:
    """Mail the recipients that a version became the champion."""
    evidence = read_release_evidence(version, settings=settings)
    with StateStore(settings.state_url) as state:
        predecessor = state.read_predecessor(champion.model)
    mail = build_release_mail(spec, evidence, predecessor=predecessor, dag_run_id=dag_run_id, settings=settings)
    deliver(mail, spec.model, dag_run_id, settings=settings)


def report_rollback(spec: ModelSpec, done: RolledBack, *, dag_run_id: str, settings: Settings) -> None:
    """Mail the recipients that a person brought an earlier champion back, who and why."""
    mail = build_rollback_mail(spec, done, dag_run_id=dag_run_id, settings=settings)
    deliver(mail, spec.model, dag_run_id, settings=settings)


def build_request_mail(
    spec: ModelSpec, evidence: ReleaseEvidence, *, task_id: str, deadline: datetime, dag_run_id: str, settings: Settings
) -> Mail:
    """The mail that asks for a word on a release."""
    number = evidence.version.model_version
    headline, lead = f"Version {number} waits for your approval", describe_request(spec, evidence)
    values = build_release_values(spec, evidence, headline=headline, lead=lead, dag_run_id=dag_run_id, settings=settings)
    url = required_action_link(f"release__{spec.model}", dag_run_id, task_id, settings=settings)
    values |= {"note": describe_deadline(spec, deadline), "action": Link(label="Approve or reject in Airflow", url=url)}
    subject = f"version {number} waits for approval until {format_instant(deadline)}"
    return _build_mail(spec, subject, values, dag_run_id, settings=settings)


def build_rejection_mail(spec: ModelSpec, evidence: ReleaseEvidence, *, why: str, dag_run_id: str, settings: Settings) -> Mail:
    """The mail of a release that did not get its approval."""
    number, stays = evidence.version.model_version, evidence.champion
    headline, lead = f"Version {number} was not approved", [f"{why[:1].upper()}{why[1:]}."]
    values = build_release_values(spec, evidence, headline=headline, lead=lead, dag_run_id=dag_run_id, settings=settings)
    note = f"Version {stays.model_version} still serves." if stays else "No version serves yet."
    values |= {"tone": "bad", "comparisons": [], "stage_views": [], "note": note}
    return _build_mail(spec, f"version {number} was not approved ({why})", values, dag_run_id, settings=settings)


def build_release_mail(
    spec: ModelSpec, evidence: ReleaseEvidence, *, predecessor: int | None, dag_run_id: str, settings: Settings
) -> Mail:
    """The mail of a new champion, short: the decision's figures were in a mail of their own, the stages' are in Airflow."""
    number = evidence.version.model_version
    headline, lead = f"Version {number} is the champion", describe_way(spec, evidence, predecessor)
    values = build_release_values(spec, evidence, headline=headline, lead=lead, dag_run_id=dag_run_id, settings=settings)
    note = "" if predecessor is None else f"To go back to version {predecessor}: perennial rollback {spec.model} --reason '…'"
    values |= {"tone": "good", "comparisons": [], "stage_views": [], "note": note}
    after = "" if predecessor is None else f", after version {predecessor}"
    return _build_mail(spec, f"version {number} is the champion{after}", values, dag_run_id, settings=settings)


def build_rollback_mail(spec: ModelSpec, done: RolledBack, *, dag_run_id: str, settings: Settings) -> Mail:
    """The mail of a rollback by hand, or of a release that was stopped by one."""
    number = done.model_version
    subject, *words = _describe_rollback(done)
    links = [Link(label="Versions in MLflow", url=mlflow_model_link(spec.model, settings=settings))]
    if dag_run_id:
        url = dag_run_link(f"rollback__{spec.model}", dag_run_id, settings=settings)
        links.insert(0, Link(label="Rollback in Airflow", url=url))
    values = {
        "spec": spec,
        "headline": words[0],
        "lead": [words[1], f"Reason: {done.reason}"],
        "tone": "bad",
        "note": f"Version {number} has answered all callers since {format_instant(done.valid_from)}.",
        "action": None,
        "links": links,
        "comparisons": [],
        "stage_views": [],
        "ids": [("run", dag_run_id or "none, from the command line")],
    }
    return _build_mail(spec, subject, values, f"{dag_run_id}/{done.valid_from.isoformat()}", settings=settings)


def _describe_rollback(done: RolledBack) -> tuple[str, str, str]:
    """Subject, headline and what was done."""
    number, actor = done.model_version, done.actor
    if not done.changed:
        stopped = f"{actor} stopped {done.stopped} of {done.model}; version {number} answers all callers."
        return f"{done.stopped} was stopped by {actor}", f"Stopped {done.stopped}", stopped
    also = f" It stopped {done.stopped}." if done.stopped else ""
    if done.before is None:  # the model was retired until then
        brought = f"{actor} brought version {number} of {done.model} back, which was retired.{also}"
        return f"version {number} is back after the retirement, by {actor}", f"Version {number} is back", brought
    brought = f"{actor} brought version {number} of {done.model} back, in place of version {done.before}.{also}"
    return f"rolled back from version {done.before} to version {number} by {actor}", f"Rolled back to version {number}", brought


def _build_mail(spec: ModelSpec, subject: str, values: dict[str, object], key: str, *, settings: Settings) -> Mail:
    return Mail(
        sender=settings.mail_from,
        recipients=tuple(spec.recipients),
        subject=f"[perennial] {spec.model}: {subject}",
        text=render("release.txt", values),
        html=render("release.html", values),
        key=f"{spec.model}/{key}/{subject}",
    )
