"""Ask for a retraining: the one place that writes a wish down, gathers what speaks for and against it, and decides."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from perennial.adapters.airflow_api import AirflowApi, DagRunState
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import UNDER_WAY, Snapshot
from perennial.contracts.monitoring import CURABLE, UNJUDGED, RetrainRequest, Verdict, Window

if TYPE_CHECKING:
    from perennial.core.gatekeeping import Policy, Wish

log = logging.getLogger(__name__)

_ENDED = ("success", "failed")
# How long a granted request waits for its Dag run: who triggers it may be tried again meanwhile.
_GRACE = timedelta(minutes=15)
_DAY = timedelta(days=1)
_MOST_GRANTED = 100


def request_for_window(spec: ModelSpec, window: Window, *, settings: Settings) -> RetrainRequest | None:
    """Ask for a retraining where the verdict on a window wants one, or the champion is too old; None where neither is so.

    Idempotent by window: it is asked for once, whatever becomes of the verdict later.
    """
    with StateStore(settings.state_url) as state:
        verdict = state.read_verdict(spec.model, start=window.start, end=window.end)
        wish = wish_for_window(state, spec, window, verdict)
    return request_retraining(spec, wish, settings=settings) if wish else None


def wish_for_window(state: StateStore, spec: ModelSpec, window: Window, verdict: Verdict | None) -> RetrainRequest | None:
    """The request that a window leads to, with what it rests on; None where nothing asks for one."""
    from perennial.core.evidence import find_evidence

    reason = _why_retrain(spec, window, verdict, read_champion_as_of(state, spec.model))
    follow_up = "" if reason else _why_follow_up(state, spec, window, verdict)
    if not (reason or follow_up):
        return None

    evidence = {"window_start": window.start.isoformat(), "window_end": window.end.isoformat(), "dag_run_id": window.dag_run_id}
    return RetrainRequest(
        model=window.model,
        request_key=window_key(window.start, window.end),
        source="monitor",
        actor=window.dag_id,
        as_of=window.as_of,
        reason=reason or follow_up,
        evidence=evidence
        | ({"is_follow_up": True} if follow_up else {})
        | find_evidence(verdict.findings if verdict else ()).to_json()
        | ({"outcome": verdict.outcome, "model_version": verdict.model_version} if verdict else {}),
    )


def window_key(start: datetime, end: datetime) -> str:
    """Key of the one wish that a window can lead to."""
    return f"window {start.isoformat()} {end.isoformat()}"


def _why_retrain(spec: ModelSpec, window: Window, verdict: Verdict | None, trained_at: datetime | None) -> str:
    if verdict and verdict.outcome in CURABLE and verdict.outcome in spec.retrain.on and verdict.is_persistent:
        return verdict.reason
    age, most = window.as_of - trained_at if trained_at else None, spec.retrain.max_age
    if age is not None and most is not None and age > most:
        return f"the champion learned from data up to {age / _DAY:.1f} days ago; {most / _DAY:g} days are the most"
    return ""


def _why_follow_up(state: StateStore, spec: ModelSpec, window: Window, verdict: Verdict | None) -> str:
    """Whether the champion came of a bad verdict and has new rows to learn from by now; empty where not.

    A window that was not judged, or whose data is broken, asks for nothing.
    """
    from perennial.core.gatekeeping import limit_new_rows, should_follow_up

    ratio, champion = spec.retrain.follow_up_ratio, state.read_champion(spec.model)
    if ratio is None or champion is None or verdict is None or verdict.outcome in UNJUDGED | {"data_fault"}:
        return ""
    release = state.read_release(spec.model, champion.model_version)
    cause = state.find_request_of_run(spec.model, release.dag_run_id) if release else None
    snapshot = state.read_snapshot(release.snapshot_id) if release else None
    if snapshot is None or cause is None or not _is_of_change(cause):
        return ""
    granted, policy = state.read_requests(spec.model, outcome="granted", limit=_MOST_GRANTED), policy_of(spec)
    in_vain = _find_in_vain(state, spec.model, window.as_of, granted)
    since = in_vain[0].as_of if in_vain else snapshot.as_of
    new_ratio = _estimate_ratio(snapshot, since, window.as_of, verdict)
    if window.as_of - since < policy.cooldown or not should_follow_up(new_ratio, len(in_vain), policy, ratio=ratio):
        return ""
    limit = limit_new_rows(len(in_vain), policy) if in_vain else ratio
    return (
        f"the champion came of request {cause.request_id}, and since {since:%Y-%m-%d} about {new_ratio:.1%} of its training rows "
        f"are new, limit {limit:.1%}"
    )


def _is_of_change(cause: RetrainRequest) -> bool:
    """Whether a bad verdict led to a request, or it followed one that a bad verdict led to; age alone is no change."""
    return cause.source == "monitor" and bool(cause.evidence.get("outcome") in CURABLE or cause.evidence.get("is_follow_up"))


def request_by_hand(
    spec: ModelSpec, *, reason: str, actor: str, as_of: datetime, is_forced: bool, settings: Settings
) -> RetrainRequest:
    """Ask for a retraining on a person's word, and start it where it is granted.

    Idempotent by actor, `as_of` and reason: asked for twice it is one request and one Dag run.
    """
    wish = RetrainRequest(
        model=spec.model,
        request_key=f"{actor} {as_of.isoformat()} {reason}",
        source="person",
        actor=actor,
        as_of=as_of,
        reason=reason,
        evidence={"is_forced": True} if is_forced else {},
    )
    request = request_retraining(spec, wish, settings=settings)
    if request.outcome == "granted":
        params = {"as_of": request.as_of.isoformat(), "request_id": str(request.request_id)}
        with closing(_open_airflow(settings)) as api:
            api.trigger(f"retrain__{spec.model}", request.dag_run_id, params)
    return request


def request_retraining(spec: ModelSpec, wish: RetrainRequest, *, dag_run_id: str = "", settings: Settings) -> RetrainRequest:
    """Write a wish down, decide on it and record every check with what became of it.

    Parameters
    ----------
    dag_run_id
        The run that waits for the word; empty: one of the request's own name is to be started where it is granted.

    Returns
    -------
    The request as recorded. A wish that was decided before comes back as it was decided.

    Raises
    ------
    UnavailableError
        When the state database or Airflow does not answer; nothing is granted then.
    """
    from perennial.core.gatekeeping import decide_request

    with StateStore(settings.state_url) as state:
        request = state.write_request(wish)
        if request.outcome != "pending":
            log.info("request %d was %s before", request.request_id, request.outcome)
            return request
        with closing(_open_airflow(settings)) as api:
            _close_ended(state, api, spec.model)
            running = _describe_running(state, api, request, dag_run_id)
        outcome, checks = decide_request(gather(state, spec, request, running), policy_of(spec))
        own = dag_run_id or f"request__{request.request_id}"
        decided = state.decide_request(request.request_id, outcome=outcome, checks=checks, dag_run_id=own)
    log.info("request %d of %s is %s: %s", decided.request_id, decided.actor, decided.outcome, decided.reason)
    for check in decided.checks:
        log.info("%s %s: %s", check.gate, "passed" if check.passed else "FAILED", check.reason)
    return decided


def describe_refusal(request: RetrainRequest) -> str:
    """Why a request was declined, in words without a point."""
    reasons = [check.reason for check in request.checks if not check.passed]
    return f"request {request.request_id} was {request.outcome}: {'; '.join(reasons)}"


def read_champion_as_of(state: StateStore, model: str) -> datetime | None:
    """The end of the data that the champion's training set was made of; None where there is no champion."""
    champion = state.read_champion(model)
    release = state.read_release(model, champion.model_version) if champion else None
    snapshot = state.read_snapshot(release.snapshot_id) if release else None
    return snapshot.as_of if snapshot else None


def _open_airflow(settings: Settings) -> AirflowApi:
    return AirflowApi(settings.airflow_api_url, user="admin", password=settings.secret("admin_password"))


def _close_ended(state: StateStore, api: AirflowApi, model: str) -> None:
    """Close the open request of a run that could not do it itself: it was killed or stopped by hand, or never started."""
    request = state.read_open_request(model)
    if request is None:
        return
    run = api.find_dag_run(f"retrain__{model}", request.dag_run_id)
    if run and run.state in _ENDED:
        state.end_request(request.request_id, actor="gatekeeper", why=f"its run ended as {run.state}")
    elif not run and request.decided_at and state.read_clock() - request.decided_at > _GRACE:
        state.end_request(request.request_id, actor="gatekeeper", why="its run was never started")


def _describe_running(state: StateStore, api: AirflowApi, request: RetrainRequest, dag_run_id: str) -> str:
    """What is under way for the model and has to end first; empty where nothing is.

    A release that is under way brings a challenger to callers, which the schedule and the monitor wait for; a person need not.
    """
    return next(_find_running(state, api, request, dag_run_id), "")


def _find_running(state: StateStore, api: AirflowApi, request: RetrainRequest, dag_run_id: str) -> Iterator[str]:
    if found := state.read_open_request(request.model):
        yield f"the retraining {found.dag_run_id} of request {found.request_id} has not ended"
    for run in find_earlier(api.find_unfinished_runs(f"retrain__{request.model}"), dag_run_id):
        yield f"the retraining {run.dag_run_id} is {run.state}"
    if request.source in ("monitor", "schedule"):
        for release in state.read_releases(request.model):
            if release.state in UNDER_WAY:
                yield f"version {release.model_version} is on its way to callers ({release.state})"


def find_earlier(unfinished: Sequence[DagRunState], dag_run_id: str) -> Sequence[DagRunState]:
    """The runs that one has to wait for: all that come before it, or all where it is none of them.

    One that comes later waits itself. If each of two waited for the other, both would be declined.

    Parameters
    ----------
    unfinished
        As Airflow lists them, the newest first.
    """
    ids = [run.dag_run_id for run in unfinished]
    return unfinished[ids.index(dag_run_id) + 1 :] if dag_run_id in ids else unfinished


def gather(state: StateStore, spec: ModelSpec, request: RetrainRequest, running: str) -> "Wish":
    """All that a request is decided by. `running` says what is under way for the model and has to end first."""
    from perennial.core.evidence import read_evidence
    from perennial.core.gatekeeping import Wish

    verdict = _read_verdict(state, request)
    granted = state.read_requests(request.model, outcome="granted", limit=_MOST_GRANTED)
    findings = verdict.findings if verdict else ()
    in_vain = _find_in_vain(state, request.model, request.as_of, granted)
    return Wish(
        source=request.source,
        as_of=request.as_of,
        outcome=verdict.outcome if verdict else None,
        is_persistent=bool(verdict and verdict.is_persistent),
        faults=tuple(finding.reason for finding in findings if finding.blocks),
        mature_ratio=next((finding.value for finding in findings if finding.measure == "labels"), None),
        trained_at=read_champion_as_of(state, spec.model),
        granted_at=tuple(each.as_of for each in granted),
        open_run=running,
        is_forced=bool(request.evidence.get("is_forced")),
        is_follow_up=bool(request.evidence.get("is_follow_up")),
        evidence=read_evidence(request.evidence),
        in_vain=tuple(read_evidence(each.evidence) for each in in_vain),
        new_ratio=_estimate_new(state, request, in_vain[0], verdict) if in_vain else 0.0,
    )


def _find_in_vain(state: StateStore, model: str, as_of: datetime, granted: Sequence[RetrainRequest]) -> list[RetrainRequest]:
    """The monitor's earlier requests, the latest first, whose challenger was decided on while the champion of now served.

    It was rejected, by the gates or by a person, or its release was stopped. A run that failed before that proves nothing.
    """
    champion = state.read_champion(model)
    version = champion.model_version if champion else None
    return [
        each
        for each in granted
        if each.source == "monitor"
        and each.as_of < as_of
        and each.evidence.get("model_version") == version
        and state.read_decision(model, each.dag_run_id)
    ]


def _estimate_new(state: StateStore, request: RetrainRequest, before: RetrainRequest, verdict: Verdict | None) -> float:
    """Rows that came since an earlier request, as a part of its training set: by the window's rows, or by time if that is more.

    Callers may ask for a part of what is learned from, and a window of a year may hold a few weeks yet.
    """
    decision = state.read_decision(request.model, before.dag_run_id)
    snapshot = state.read_snapshot(decision.snapshot_id) if decision else None
    return _estimate_ratio(snapshot, before.as_of, request.as_of, verdict) if snapshot else 0.0


def _estimate_ratio(snapshot: Snapshot, since: datetime, as_of: datetime, verdict: Verdict | None) -> float:
    elapsed = as_of - since
    by_time = elapsed / (snapshot.as_of - snapshot.start)
    if verdict is None or not snapshot.n_rows:
        return by_time
    return max(by_time, verdict.n_rows * (elapsed / (verdict.window_end - verdict.window_start)) / snapshot.n_rows)


def _read_verdict(state: StateStore, request: RetrainRequest) -> Verdict | None:
    """The latest verdict when the request is made. One that the next window should have replaced says nothing any more."""
    latest = state.read_verdicts(request.model, before=request.as_of, limit=1)
    if not latest or request.as_of - latest[0].window_end > latest[0].window_end - latest[0].window_start:
        return None
    return latest[0]


def policy_of(spec: ModelSpec) -> "Policy":
    """What the spec says about when requests are granted."""
    from perennial.core.gatekeeping import Policy

    return Policy(
        on=spec.retrain.on,
        cooldown=spec.retrain.cooldown,
        max_per_week=spec.retrain.max_per_week,
        min_age=spec.retrain.min_age,
        max_age=spec.retrain.max_age,
        min_mature_ratio=spec.label.min_mature_ratio,
        new_rows_ratio=spec.retrain.new_rows_ratio,
        importance_ratio=spec.monitoring.drift.importance_ratio,
    )
