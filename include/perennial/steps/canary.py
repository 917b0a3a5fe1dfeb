"""Lead a growing share of the callers to a challenger, and judge each step beside the champion."""

import logging

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import RegisteredVersion, Stage
from perennial.steps.stage_start import Place, pass_stage
from perennial.steps.watch import Plan

_logger = logging.getLogger(__name__)


def canary(spec: ModelSpec, version: RegisteredVersion, *, dag_run_id: str, settings: Settings) -> tuple[Stage, ...]:
    """Lead callers to a version step by step, each for its bake time.

    Returns
    -------
    The steps, which passed; empty where the spec asks for none, or no other version serves.

    Raises
    ------
    Breach
        When the challenger went over a limit. All callers are with the champion again, the release is rolled back.
    ReleaseError
        When it may not replace the champion, too few requests came, or the champion changed meanwhile.
    UnavailableError
        When Postgres, supervisord or the gateway is away; trying again goes on watching. Shares stay as they are meanwhile.
    """
    model, number, asked = version.model, version.model_version, spec.release.canary
    with StateStore(settings.state_url) as state:
        champion = state.read_champion(model)
        if asked is None or champion is None or champion.model_version == number:
            _logger.info("no canary: %s", "the spec asks for none" if asked is None else "there is no other champion")
            return ()
        plan = Plan(n_wanted=asked.requests, lasts=asked.bake, ends_early=False)
        places = [
            Place(dag_run_id=dag_run_id, stage="canary", step=step, percent=percent)
            for step, percent in enumerate(asked.steps, start=1)
        ]
        return tuple(pass_stage(spec, state, version, place, plan=plan, settings=settings) for place in places)
