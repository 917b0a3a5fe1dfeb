"""The beginning of a stage: the challenger answers through the gateway before it counts, and requests are led there after."""

from dataclasses import dataclass

from perennial.adapters import gateway
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import RegisteredVersion, Stage, StageName
from perennial.errors import ReleaseError
from perennial.steps.admission import check_may_serve, read_release
from perennial.steps.serving import UNDER_WAY, start_again, write_gateway
from perennial.steps.stage_end import follow
from perennial.steps.watch import Plan, watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which stage of which Dag run, with which share of the live requests."""

    dag_run_id: str
    stage: StageName
    step: int
    percent: int


def pass_stage(
    spec: ModelSpec, state: StateStore, version: RegisteredVersion, place: Place, *, plan: Plan, settings: Settings
) -> Stage:
    """Begin a stage, or go on with it, and watch it to its end. One that has ended gets what follows from it.

    Raises
    ------
    Breach, ReleaseError, UnavailableError
        As `watch`.
    """
    model, number = version.model, version.model_version
    if (known := _read_ended(state, version, place)) is not None:
        return follow(spec, state, known, settings=settings)
    check_may_serve(state, model, number, champion=state.read_champion(model))
    port = _make_reachable(settings, state, version)
    stage = state.start_stage(
        model, number, dag_run_id=place.dag_run_id, stage=place.stage, step=place.step, percent=place.percent
    )
    write_gateway(settings, state)
    return watch(spec, state, stage, plan=plan, port=port, settings=settings)


def _read_ended(state: StateStore, version: RegisteredVersion, place: Place) -> Stage | None:
    key = (place.dag_run_id, place.stage, place.step)
    stages = state.read_stages(version.model, version.model_version)
    return next((each for each in stages if (each.dag_run_id, each.stage, each.step) == key and each.ended_at), None)


def _make_reachable(settings: Settings, state: StateStore, version: RegisteredVersion) -> int:
    """Make sure that the bento runs and is ready through the gateway; returns its port."""
    row = read_release(state, version.model, version.model_version)
    if row.state not in UNDER_WAY:
        why = f" ({row.reason})" if row.reason else ""
        raise ReleaseError(
            f"{row.model} version {row.model_version} is {row.state}{why}, so no request can be led to it",
            f"start release__{row.model} by hand with version {row.model_version}",
        )
    start_again(settings, state, row)
    write_gateway(settings, state)
    gateway.wait_until_reachable(settings, row.model, row.model_version)
    return read_release(state, row.model, row.model_version).port or 0
