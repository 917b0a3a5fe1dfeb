"""Lead a growing share of the callers to a challenger, and judge each step beside the champion."""

import logging

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import RegisteredVersion, Stage
from perennial.steps.stage_start import NextStage, pass_stage, why_skip
from perennial.steps.watch import WatchPlan

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
    asked = spec.release.canary
    with StateStore(settings.state_url) as state:
        why = why_skip(state, version, is_wanted=asked is not None)
        if asked is None or why:
            _logger.info("no canary: %s", why)
            return ()
        plan = WatchPlan(n_wanted=asked.requests, lasts=asked.bake, ends_early=False)
        stages = [
            NextStage(dag_run_id=dag_run_id, stage="canary", step=step, percent=percent)
            for step, percent in enumerate(asked.steps, start=1)
        ]
        return tuple(pass_stage(spec, state, version, each, plan=plan, settings=settings) for each in stages)
