"""The tasks of `release__<model>`. Each calls one step of the library, imported where it runs."""

import logging
from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, NoReturn, ParamSpec, TypeVar

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import DownstreamTasksSkipped

from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Bento, Force, RegisteredVersion, ServingCheck
from perennial.errors import InputError
from perennial_airflow.approval import pull_answer
from perennial_airflow.assets import challenger_asset
from perennial_airflow.factory import begin_run, load_run
from perennial_airflow.mails import mail_patiently
from perennial_airflow.outcomes import note
from perennial_airflow.runs import name_person
from perennial_airflow.xcom import Packed, pack, pull, pull_optional, unpack

P = ParamSpec("P")
R = TypeVar("R")
_logger = logging.getLogger(__name__)
_ERROR = "error"


def _leave_error(function: Callable[P, R]) -> Callable[P, R]:
    """Leave the words of an error in XCom, for `withdraw`: Airflow tells no task why another one failed."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except DownstreamTasksSkipped:
            raise
        except Exception as error:
            _push_error(error)
            raise

    return run


def _push_error(error: Exception) -> None:
    try:
        get_current_context()["ti"].xcom_push(key=_ERROR, value=str(getattr(error, "what", error)))
    except Exception:  # The error itself says more, and whether the task is tried again depends on it.
        _logger.warning("the error is in this log only", exc_info=True)


def _describe_failure() -> str:
    """Which task failed and why; empty where it was killed before it could say so."""
    context = get_current_context()
    for task_id in sorted(context["task"].upstream_task_ids):
        if error := context["ti"].xcom_pull(task_ids=task_id, key=_ERROR, map_indexes=-1):
            return f"{task_id} failed: {error}"
    return ""


def _open_release() -> tuple[ModelSpec, RegisteredVersion, str, Settings]:
    """What every stage needs: the spec that the run began under, the version on its way, in which Dag run, the settings."""
    version = pull(RegisteredVersion, "choose_version")
    spec, settings = load_run(version.model)
    return spec, version, get_current_context()["dag_run"].run_id, settings


def _skip(task_ids: Collection[str], result: object = None) -> NoReturn:
    """End this task as done, with its result, and skip others; Airflow itself forgets the result of a task that skips."""
    get_current_context()["ti"].xcom_push(key="return_value", value=result)
    raise DownstreamTasksSkipped(tasks=list(task_ids))  # type: ignore[no-untyped-call]


def find_left_out(spec: ModelSpec, task: Any) -> list[str]:
    """The stages right after a task that a run under this spec passes over, in the order of the graph."""
    release, left_out = spec.release, list[str]()
    is_asked = {
        "shadow": bool(release.shadow),
        "approve": release.approval == "required",
        "record_approval": release.approval == "required",
        "canary": bool(release.canary),
    }
    while after := [each for each in task.downstream_list if not is_asked.get(each.task_id, True)]:
        [task] = after
        left_out.append(task.task_id)
    return left_out


def _pass_over(spec: ModelSpec, result: R) -> R:
    """Go on to the next stage that the run's spec asks for: those between are skipped.

    The graph is the same for all specs, so that it stays as it is while a run goes on and its spec is edited.
    """
    if left_out := find_left_out(spec, get_current_context()["task"]):
        _logger.info("the spec that this run began under leaves out: %s", ", ".join(left_out))
        _skip(left_out, result)
    return result


@task
def choose_version(model: str) -> Packed:
    """Take the version from the challenger's event, or from the `version` param of a run started by hand, if it may serve.

    The spec that the whole run goes by is that of now.
    """
    from perennial.steps.admission import why_not_release
    from perennial.steps.register import read_registered

    context = get_current_context()
    (spec, settings), params = begin_run(model), context["params"]
    if number := params.get("version"):
        version = read_registered(model, number, settings=settings)
    else:
        version = _read_newest(context["triggering_asset_events"].get(challenger_asset(model)) or [])
    reason = (params.get("force") or "").strip()
    force = Force(by=name_person(context["dag_run"]), reason=reason) if reason else None
    waits = "" if number or spec.release.automatic else "spec.release.automatic is false, so a person starts it"
    if why := waits or why_not_release(version, force=force, settings=settings):
        _logger.warning("nothing is to be done: %s", why)
        note(f"Not released: {why}")
        _skip(context["task"].get_flat_relative_ids(upstream=False), pack(version))
    return pack(version)


def _read_newest(events: list[Any]) -> RegisteredVersion:
    """Several challengers may have come while a release was running, in any order: the newest is the one to release."""
    if not events:
        raise InputError("this run was started by hand without a version", "trigger it again with the param `version`")
    versions: list[Packed] = [event.extra["version"] for event in events]
    return unpack(RegisteredVersion, max(versions, key=lambda version: version["model_version"]))


@task
@_leave_error
def build_bento() -> Packed:
    """Package the model version as a bento."""
    from perennial.steps.package import build_bento as step

    spec, version, _, settings = _open_release()
    return pack(step(spec, version, settings=settings))


@task
@_leave_error
def check_serving() -> Packed:
    """Start the bento apart: golden rows must get the offline predictions, malformed ones a 4xx, within time and memory."""
    from perennial.steps.release import start_and_check

    spec, _, dag_run_id, settings = _open_release()
    check = start_and_check(spec, pull(Bento, "build_bento"), dag_run_id=dag_run_id, settings=settings)
    return _pass_over(spec, pack(check))


@task(pool="watching")
@_leave_error
def shadow() -> Packed | None:
    """Copy live requests to the challenger, whose answers go to nobody, and judge it beside the champion."""
    from perennial.steps.shadow import shadow as step

    spec, version, dag_run_id, settings = _open_release()
    stage = step(spec, version, dag_run_id=dag_run_id, settings=settings)
    return _pass_over(spec, pack(stage) if stage else None)


@task
@_leave_error
def record_approval() -> None:
    """Write the answer into the audit trail. A rejection ends the release here: what would follow is skipped."""
    from perennial.steps.approval import describe_answer, record_answer
    from perennial.steps.release_report import report_rejection

    spec, version, dag_run_id, settings = _open_release()
    answer = pull_answer(version.model)
    goes_on = record_answer(spec, version, answer, dag_run_id=dag_run_id, settings=settings)
    if answer.word == "reject":
        why = describe_answer(spec, answer)
        note(f"Version {version.model_version} was not approved: {why}")
        mail_patiently(report_rejection, spec, version, why=why, dag_run_id=dag_run_id, settings=settings)
    if not goes_on:
        _skip(get_current_context()["task"].get_flat_relative_ids(upstream=False))
    _pass_over(spec, None)


# A stage that was passed over does not keep the next one from running.
@task(pool="watching", trigger_rule="none_failed")
@_leave_error
def canary() -> list[Packed]:
    """Lead a growing share of the callers to the challenger, judge each step, and lead all back at once on a breach."""
    from perennial.steps.canary import canary as step

    spec, version, dag_run_id, settings = _open_release()
    return [pack(stage) for stage in step(spec, version, dag_run_id=dag_run_id, settings=settings)]


@task(trigger_rule="none_failed")
@_leave_error
def promote() -> Packed:
    """Switch the gateway to the new bento and make its version the champion."""
    from perennial.steps.release import promote as step
    from perennial.steps.release_report import report_release

    spec, version, dag_run_id, settings = _open_release()
    champion = step(spec, version, pull(ServingCheck, "check_serving"), dag_run_id=dag_run_id, settings=settings)
    note(f"Version {version.model_version} is the champion")
    mail_patiently(report_release, spec, version, champion, dag_run_id=dag_run_id, settings=settings)
    return pack(champion)


@task
def drain(model: str) -> None:
    """Stop the bentos that nobody needs, once their last requests are answered; the champion's predecessor stays warm."""
    from perennial.steps.release import drain as step

    spec, settings = load_run(model)
    step(spec, settings=settings)


@task(trigger_rule="one_failed")
def withdraw(model: str) -> None:
    """A step failed: stop the challenger's bento and record the rejection; the champion keeps serving."""
    from perennial.steps.release import withdraw as step

    version = pull_optional(RegisteredVersion, "choose_version")
    spec, settings = load_run(model)
    why = _describe_failure()
    step(spec, version.model_version if version else None, why=why, settings=settings)
    note(f"Not released: {why or 'a step failed, and its log says why'}")
