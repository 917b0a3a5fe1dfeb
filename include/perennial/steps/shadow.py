"""Copy live requests to a challenger, whose answers go to nobody, and judge it beside the champion."""

import logging

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import RegisteredVersion, Stage
from perennial.steps.stage_start import Place, pass_stage
from perennial.steps.watch import Plan

_logger = logging.getLogger(__name__)


def shadow(spec: ModelSpec, version: RegisteredVersion, *, dag_run_id: str, settings: Settings) -> Stage | None:
    """Shadow a checked version, until enough requests were copied or the time is over.

    Returns
    -------
    The stage, which passed. None where the spec asks for none, or no other version serves that it could be compared with.

    Raises
    ------
    Breach
        When the challenger went over a limit. Its release is rejected then and its process gone.
    ReleaseError
        When it may not replace the champion, too few requests came, or the champion changed meanwhile.
    UnavailableError
        When Postgres, supervisord or the gateway is away; trying again goes on watching.
    """
    model, number, asked = version.model, version.model_version, spec.release.shadow
    with StateStore(settings.state_url) as state:
        champion = state.read_champion(model)
        if asked is None or champion is None or champion.model_version == number:
            why = "the spec asks for none" if asked is None else "there is no other champion to compare it with"
            _logger.info("no shadow: %s", why)
            return None
        plan = Plan(n_wanted=asked.requests, lasts=asked.at_most, ends_early=True)
        place = Place(dag_run_id=dag_run_id, stage="shadow", step=1, percent=asked.percent)
        return pass_stage(spec, state, version, place, plan=plan, settings=settings)
