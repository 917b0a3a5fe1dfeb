"""Which runs of `retrain__<model>` may go on: each holds a granted request from begin to end, and there is one at a time."""

import logging
from dataclasses import dataclass

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Retirement, Run
from perennial.contracts.monitoring import RequestSource, RetrainRequest
from perennial.errors import InputError
from perennial.steps.request_retraining import describe_refusal, request_retraining

log = logging.getLogger(__name__)

# No person asks for these: they are skipped for a retired model.
_UNASKED = ("schedule", "monitor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """Who started a run. `request_id` names the request that it was triggered for; 0 where there was none before."""

    source: RequestSource
    actor: str
    request_id: int = 0


def why_not_retrain(spec: ModelSpec, run: Run, starter: Starter, *, settings: Settings) -> str:
    """Why this run may not go on; empty where it may, and its request is open from now on.

    A run that was triggered for a granted request goes on with that. Any other wishes for one of its own first, in the name
    of who started it: see `core.gatekeeping` for what each is asked. A backfill needs none.

    Raises
    ------
    InputError
        When the request that the run names is not this run's.

    Notes
    -----
    Idempotent by Dag run. A run that is started anew after its end opens its request again.
    """
    if run.mode == "backfill":
        return ""
    if starter.source in _UNASKED and (retirement := _read_retirement(run.model, settings)):
        return f"{run.model} was retired by {retirement.actor}: {retirement.reason}; a retraining by hand brings it back"
    request = (
        _read_granted(run, starter.request_id, settings=settings) if starter.request_id else _ask(spec, run, starter, settings)
    )
    if request.outcome != "granted":
        return describe_refusal(request)
    with StateStore(settings.state_url) as state:
        if not state.reopen_request(request.request_id, actor=starter.actor):
            return f"its request {request.request_id} has ended, and another retraining of {run.model} runs or waits"
    log.info("request %d of %s is granted: %s", request.request_id, request.actor, request.reason)
    return ""


def _read_retirement(model: str, settings: Settings) -> Retirement | None:
    with StateStore(settings.state_url) as state:
        return state.read_retirement(model)


def _read_granted(run: Run, request_id: int, *, settings: Settings) -> RetrainRequest:
    with StateStore(settings.state_url) as state:
        request = state.read_request(request_id)
    if request is None or (request.model, request.dag_run_id) != (run.model, run.dag_run_id):
        raise InputError(
            f"request {request_id} is not that of run {run.dag_run_id} of {run.model}",
            f"leave the param request_id out, or: perennial requests {run.model}",
        )
    return request


def _ask(spec: ModelSpec, run: Run, starter: Starter, settings: Settings) -> RetrainRequest:
    wish = RetrainRequest(
        model=run.model,
        request_key=run.dag_run_id,
        source=starter.source,
        actor=starter.actor,
        as_of=run.as_of,
        reason=_REASONS[starter.source],
    )
    return request_retraining(spec, wish, dag_run_id=run.dag_run_id, settings=settings)


_REASONS = {
    "schedule": "the schedule says so",
    "person": "started by hand",
    "api": "started by a program",
    "monitor": "the monitor asked for it",
}


def end_retraining(model: str, dag_run_id: str, *, settings: Settings) -> bool:
    """Close the request of a run that has ended, whatever came of it; whether there was an open one."""
    with StateStore(settings.state_url) as state:
        request = state.find_request_of_run(model, dag_run_id)
        return request is not None and state.end_request(request.request_id, actor=f"retrain__{model}", why="its run has ended")
