"""The beginning of a stage: the challenger answers through the gateway before it counts, and requests are led there after."""

from dataclasses import dataclass

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import RegisteredVersion, Stage, StageName
from perennial.steps.admission import check_approved, check_may_serve, read_release, require_under_way
from perennial.steps.readiness import make_reachable
from perennial.steps.serving import write_gateway
from perennial.steps.stage_end import carry_out
from perennial.steps.watch import WatchPlan, watch


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStage:
    """Which stage of which Dag run, with which share of the live requests."""

    dag_run_id: str
    stage: StageName
    step: int
    percent: int


def pass_stage(
    spec: ModelSpec, state: StateStore, version: RegisteredVersion, asked: NextStage, *, plan: WatchPlan, settings: Settings
) -> Stage:
    """Begin a stage, or go on with it, and watch it to its end. One that has ended gets what follows from it.

    Raises
    ------
    Breach, ReleaseError, UnavailableError
        As `watch`.
    """
    model, number = version.model, version.model_version
    if (known := _read_ended(state, version, asked)) is not None:
        return carry_out(spec, state, known, settings=settings)
    check_may_serve(state, model, number, champion=state.read_champion(model))
    if asked.stage == "canary":
        check_approved(spec, state, number, dag_run_id=asked.dag_run_id)
    row = read_release(state, model, number)
    require_under_way(row)
    port = make_reachable(spec, state, row, settings=settings)
    stage = state.start_stage(
        model, number, dag_run_id=asked.dag_run_id, stage=asked.stage, step=asked.step, percent=asked.percent
    )
    write_gateway(settings, state)
    return watch(spec, state, stage, plan=plan, port=port, settings=settings)


def why_skip(state: StateStore, version: RegisteredVersion, *, is_wanted: bool) -> str:
    """Why a version passes over a stage: empty where it does not."""
    champion = state.read_champion(version.model)
    if not is_wanted:
        return "the spec asks for none"
    is_alone = champion is None or champion.model_version == version.model_version
    return "there is no other champion to compare it with" if is_alone else ""


def _read_ended(state: StateStore, version: RegisteredVersion, asked: NextStage) -> Stage | None:
    key = (asked.dag_run_id, asked.stage, asked.step)
    stages = state.read_stages(version.model, version.model_version)
    return next((each for each in stages if (each.dag_run_id, each.stage, each.step) == key and each.ended_at), None)
