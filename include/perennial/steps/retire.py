"""Take a model out of service by hand."""

import logging

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec_file import load_specs, spec_folder
from perennial.contracts import Retired, Retirement
from perennial.errors import InputError
from perennial.steps.reconcile import move_champion_alias
from perennial.steps.serving import running_programs, stop_bentos, write_gateway

_logger = logging.getLogger(__name__)

# For requests that are under way, where no spec says how long they may take.
_DRAIN_SECONDS = 5.0


def retire(model: str, *, reason: str, actor: str, settings: Settings) -> Retired:
    """Answer a model's callers with 410 and the reason from now on, and stop its bentos. What is recorded of it stays.

    A release on its way is ended, and nothing that was trained before is released any more. A promotion of what is trained later
    or a rollback bring the model back. A spec is not needed.

    Raises
    ------
    InputError
        When there is no reason, no version of such a model was ever registered, or it was retired before for another reason:
        that one stays, and what was left is completed all the same.
    UnavailableError
        When Postgres or supervisord does not answer.

    Notes
    -----
    Broken off anywhere, the same call again completes it: the tables come first, and all else follows from them.
    """
    if not reason.strip():
        raise InputError("a retirement needs a reason", "say why: the model's callers are told")
    with StateStore(settings.state_url) as state:
        if not state.read_releases(model):
            raise _describe_unknown(model, settings)
        with state.lock(f"serving/{model}"):
            running = running_programs(settings)
            retirement, stopped = state.retire(model, reason=reason.strip(), actor=actor)
            rows = [row for row in state.read_releases(model) if row.program in running]
            write_gateway(settings, state, may_be_away=True)
        stop_bentos(settings, state, rows, drain_seconds=_read_drain_seconds(model, settings))
        open_request = state.read_open_request(model)
        served_last = next((each.model_version for each in state.read_champions(model)), None)
    move_champion_alias(model, settings=settings)
    _logger.info("%s is retired by %s: %s", model, retirement.actor, retirement.reason)
    if retirement.reason != reason.strip():
        raise _describe_first(retirement, served_last)
    return Retired(
        retirement=retirement,
        served_last=served_last,
        stopped=stopped,
        retraining=open_request.dag_run_id if open_request else "",
    )


def name_way_back(model: str, served_last: int | None) -> str:
    """How a retired model comes back."""
    back = f"perennial rollback {model} --to {served_last} --reason …, or " if served_last else ""
    return f"to bring it back: {back}retrain__{model} by hand"


def _describe_first(retirement: Retirement, served_last: int | None) -> InputError:
    since = f"{retirement.retired_at:%Y-%m-%d %H:%M} UTC by {retirement.actor}: {retirement.reason}"
    what = f"{retirement.model} is retired already, since {since}; its callers are told this reason"
    return InputError(what, name_way_back(retirement.model, served_last))


def _describe_unknown(model: str, settings: Settings) -> InputError:
    specs, faults = load_specs(spec_folder(settings))
    if model in specs or model in faults:
        return InputError(
            f"{model} has no version, so there is nothing to retire", f"to remove it, delete include/models/{model}.yaml"
        )
    return InputError(f"there is no model {model!r}", f"models: {', '.join(sorted({*specs, *faults})) or 'none'}")


def _read_drain_seconds(model: str, settings: Settings) -> float:
    specs, _ = load_specs(spec_folder(settings))
    return float(specs[model].release.drain_seconds) if model in specs else _DRAIN_SECONDS
