"""A rollback by hand with all that belongs to it: done once, timed, mailed."""

import logging
from datetime import timedelta

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Champion, ReleaseRow
from perennial.errors import PerennialError
from perennial.steps.release_report import report_rollback
from perennial.steps.release_view import RolledBack
from perennial.steps.rollback import roll_back

_logger = logging.getLogger(__name__)


def roll_back_and_tell(
    spec: ModelSpec, *, to: int | None, reason: str, actor: str, settings: Settings, dag_run_id: str = ""
) -> RolledBack:
    """Roll a model back and mail who wanted it and why. A mail that cannot be sent changes nothing."""
    present = _read_champion(spec.model, dag_run_id, settings=settings)
    champion, changed = roll_back(spec, to=to, reason=reason, actor=actor, settings=settings, dag_run_id=dag_run_id)
    done = RolledBack(
        model=spec.model,
        before=champion.model_version if champion == present else _read_replaced(champion, settings=settings),
        model_version=champion.model_version,
        valid_from=champion.valid_from,
        seconds=changed.seconds,
        url=f"{settings.gateway_url}/v1/models/{spec.model}/predict",
        reason=reason,
        actor=actor,
        stopped=_describe_stopped(changed.stopped),
    )
    if done.changed or done.stopped:
        _logger.info("version %s → %d in %.1f s", done.before, done.model_version, done.seconds)
        _tell(spec, done, dag_run_id=dag_run_id, settings=settings)
    return done


def _read_champion(model: str, dag_run_id: str, *, settings: Settings) -> Champion | None:
    """The champion before the rollback; None where an earlier try of the same Dag run has made it."""
    with StateStore(settings.state_url) as state:
        made_here = dag_run_id and state.read_champion_run(model) == dag_run_id
        return None if made_here else state.read_champion(model)


def _read_replaced(champion: Champion, *, settings: Settings) -> int | None:
    """The version that served until this champion's tenure began; None where the model was retired until then.

    An earlier try of this run may have replaced it, so it is read from the tenures.
    """
    with StateStore(settings.state_url) as state:
        before = state.read_champion_at(champion.model, champion.valid_from - timedelta(microseconds=1))
    return before.model_version if before else None


def _describe_stopped(row: ReleaseRow | None) -> str:
    if row is None:
        return ""
    return f"the {row.state if row.state != 'checked' else 'release'} of version {row.model_version}"


def _tell(spec: ModelSpec, done: RolledBack, *, dag_run_id: str, settings: Settings) -> None:
    try:
        report_rollback(spec, done, dag_run_id=dag_run_id, settings=settings)
    except PerennialError as error:
        _logger.warning("nobody was told by mail: %s", error)
