"""A rollback by hand with all that belongs to it: done once, timed, mailed."""

import logging
import time
from datetime import datetime

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Champion
from perennial.errors import PerennialError
from perennial.steps.release_report import read_predecessor, report_rollback
from perennial.steps.release_view import RolledBack
from perennial.steps.rollback import roll_back

_logger = logging.getLogger(__name__)


def roll_back_and_tell(
    spec: ModelSpec,
    *,
    to: int | None,
    reason: str,
    actor: str,
    settings: Settings,
    asked_at: datetime | None = None,
    dag_run_id: str = "",
) -> RolledBack:
    """Roll a model back and mail who wanted it and why. A mail that cannot be sent changes nothing.

    Parameters
    ----------
    asked_at
        When it was asked for. A champion that came later is the answer to it already: a task that was killed after its
        work and runs again does not go back a second time.
    """
    began = time.monotonic()
    champion = _champion_since(spec.model, asked_at, settings=settings)
    if champion is None:
        champion = roll_back(spec, to=to, reason=reason, actor=actor, settings=settings)
    done = RolledBack(
        model=spec.model,
        before=read_predecessor(champion, settings=settings),
        model_version=champion.model_version,
        valid_from=champion.valid_from,
        seconds=round(time.monotonic() - began, 3),
        url=f"{settings.gateway_url}/v1/models/{spec.model}/predict",
        reason=reason,
        actor=actor,
    )
    _logger.info("version %s → %d in %.1f s: %s answers", done.before, done.model_version, done.seconds, done.url)
    try:
        report_rollback(spec, done, dag_run_id=dag_run_id, settings=settings)
    except PerennialError as error:
        _logger.warning("nobody was told by mail: %s", error)
    return done


def _champion_since(model: str, asked_at: datetime | None, *, settings: Settings) -> Champion | None:
    if asked_at is None:
        return None
    with StateStore(settings.state_url) as state:
        champion = state.read_champion(model)
    if champion is None or champion.valid_from <= asked_at:
        return None
    _logger.info("version %d serves since %s, after this was asked for: it is done", champion.model_version, champion.valid_from)
    return champion
