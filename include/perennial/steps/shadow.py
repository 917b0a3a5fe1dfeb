"""Copy live requests to a challenger, whose answers go to nobody, and judge it beside the champion."""

import logging

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import RegisteredVersion, Stage
from perennial.steps.stage_start import NextStage, pass_stage, why_skip
from perennial.steps.watch import WatchPlan

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
    asked = spec.release.shadow
    with StateStore(settings.state_url) as state:
        why = why_skip(state, version, is_wanted=asked is not None)
        if asked is None or why:
            _logger.info("no shadow: %s", why)
            return None
        plan = WatchPlan(n_wanted=asked.requests, lasts=asked.at_most, ends_early=True)
        stage = NextStage(dag_run_id=dag_run_id, stage="shadow", step=1, percent=asked.percent)
        return pass_stage(spec, state, version, stage, plan=plan, settings=settings)
