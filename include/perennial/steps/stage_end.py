"""The end of a stage, and what follows from it. All that follows can be done again: a killed task that runs again does."""

import logging
from collections.abc import Sequence

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import STATES_WHEN_STOPPED, STOPPED, Measure, Stage, StageOutcome
from perennial.errors import Breach, ReleaseError
from perennial.steps.admission import read_release
from perennial.steps.serving import stop_bentos, write_gateway

_logger = logging.getLogger(__name__)


def end_stage(
    spec: ModelSpec,
    state: StateStore,
    stage: Stage,
    *,
    outcome: StageOutcome,
    reason: str,
    n_requests: int,
    measures: Sequence[Measure],
    settings: Settings,
) -> Stage:
    """Record the end of a stage and see to what follows. A stage that somebody else ended meanwhile keeps their outcome.

    Raises
    ------
    Breach
        When the challenger went over a limit.
    ReleaseError
        When the stage ended otherwise than passed.
    """
    stopped = "" if outcome == "passed" else STATES_WHEN_STOPPED[stage.stage]
    ended = state.end_stage(stage, outcome=outcome, reason=reason, n_requests=n_requests, measures=measures, state=stopped)
    return carry_out(spec, state, ended, settings=settings)


def carry_out(spec: ModelSpec, state: StateStore, stage: Stage, *, settings: Settings) -> Stage:
    """What follows from an ended stage: callers are led back at once and the challenger is stopped, unless it passed.

    Raises
    ------
    Breach, ReleaseError
        As `end_stage`.
    """
    if stage.outcome == "passed":
        if stage.stage == "shadow":
            write_gateway(settings, state)
        _logger.info("%s passed: %s", name_stage(stage), stage.reason)
        return stage
    row = read_release(state, stage.model, stage.model_version)
    # A later attempt with this version may be under way; its bento is not ours to stop.
    if row.state in STOPPED:
        stop_bentos(settings, state, [row], drain_seconds=spec.release.drain_seconds if stage.stage == "canary" else 0.0)
    what = f"{stage.model} version {stage.model_version} was stopped in its {name_stage(stage)}: {stage.reason}"
    serves = f"version {stage.champion_version} serves all callers" if stage.champion_version else "callers are as before"
    if stage.outcome == "breached":
        raise Breach(what, f"{serves}; the limits are in spec.release", stage=stage)
    raise ReleaseError(what, serves)


def name_stage(stage: Stage) -> str:
    if stage.stage == "canary":
        return f"canary, step {stage.step} with {stage.traffic_percent} % of the callers"
    return f"shadow of {stage.traffic_percent} % of the requests" if stage.stage == "shadow" else stage.stage
