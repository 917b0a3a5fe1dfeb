"""The beginning of a stage: the challenger answers through the gateway before it counts, and requests are led there after."""

from dataclasses import dataclass

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import RegisteredVersion, Stage, StageName
from perennial.steps.admission import check_approved, check_may_serve, read_release, require_under_way
from perennial.steps.readiness import make_reachable
from perennial.steps.serving import write_gateway
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
    if place.stage == "canary":
        check_approved(spec, state, number, dag_run_id=place.dag_run_id)
    row = read_release(state, model, number)
    require_under_way(row)
    port = make_reachable(spec, state, row, settings=settings)
    stage = state.start_stage(
        model, number, dag_run_id=place.dag_run_id, stage=place.stage, step=place.step, percent=place.percent
    )
    write_gateway(settings, state)
    return watch(spec, state, stage, plan=plan, port=port, settings=settings)


def _read_ended(state: StateStore, version: RegisteredVersion, place: Place) -> Stage | None:
    key = (place.dag_run_id, place.stage, place.step)
    stages = state.read_stages(version.model, version.model_version)
    return next((each for each in stages if (each.dag_run_id, each.stage, each.step) == key and each.ended_at), None)
