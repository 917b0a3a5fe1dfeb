"""Who may go on towards the callers: a challenger that was judged against whom it replaces, and passed what the spec asks."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import UNDER_WAY, Champion, Force, RegisteredVersion, ReleaseRow
from perennial.errors import ReleaseError

_logger = logging.getLogger(__name__)

# How a person's answer is recorded in the audit trail. `declined` is the answer; `rejected`, a row of its own, is what becomes of
# the release then.
ANSWERS = {"approve": "approved", "reject": "declined"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What a release of a version would meet: whether it serves already, and what stands against it unless it is forced."""

    row: ReleaseRow
    serves: bool
    objection: ReleaseError | None


def foresee_release(model: str, model_version: int, *, settings: Settings) -> Prospect:
    """Look ahead before a release is started. A force that was given before counts.

    Raises
    ------
    ReleaseError
        When the version was never registered, or was the champion before.
    """
    with StateStore(settings.state_url) as state:
        row, champion = read_release(state, model, model_version), state.read_champion(model)
        refuse_retired(row)
        objection = None if row.forced_by else find_objection(state, row, champion=champion)
    serves = champion is not None and champion.model_version == model_version
    return Prospect(row=row, serves=serves, objection=objection)


def why_not_release(version: RegisteredVersion, *, force: Force | None = None, settings: Settings) -> str:
    """Why there is nothing to do for a version, before anything is built or moved for it: empty where there is.

    A person's `force` is recorded where it is needed, and only there; the same one again changes nothing.

    Raises
    ------
    ReleaseError
        When it may not serve. Its state and its bento stay as they are: it may be the way back.
    """
    with StateStore(settings.state_url) as state:
        champion = state.read_champion(version.model)
        if force is not None:
            _record_force(state, version, force, champion=champion)
        check_may_serve(state, version.model, version.model_version, champion=champion)
    serves = champion is not None and champion.model_version == version.model_version
    return f"{version.model} version {version.model_version} serves already" if serves else ""


def _record_force(state: StateStore, version: RegisteredVersion, force: Force, *, champion: Champion | None) -> None:
    row = read_release(state, version.model, version.model_version)
    if (objection := find_objection(state, row, champion=champion)) is None:
        _logger.info("nothing stands against %s version %d: the force is not needed", row.model, row.model_version)
        return
    state.force_release(row.model, row.model_version, force)
    _logger.warning("%s forces it, though %s: %s", force.by, objection.what, force.reason)


def read_release(state: StateStore, model: str, model_version: int) -> ReleaseRow:
    """One release.

    Raises
    ------
    ReleaseError
        When there is none.
    """
    if (row := state.read_release(model, model_version)) is None:
        raise ReleaseError(f"{model} version {model_version} was never registered for release", "run retrain first")
    return row


def to_version(row: ReleaseRow) -> RegisteredVersion:
    """The registered version that a release is of."""
    return RegisteredVersion(
        model=row.model,
        model_version=row.model_version,
        mlflow_run_id=row.mlflow_run_id,
        model_uri=f"models:/{row.model}/{row.model_version}",
        snapshot_id=row.snapshot_id,
        training_end=row.training_end,
        judged_from=row.judged_from,
    )


def refuse_retired(row: ReleaseRow) -> None:
    if row.state == "retired":
        raise ReleaseError(
            f"{row.model} version {row.model_version} was the champion once; {row.reason}",
            f"release a newer one, or bring this one back: perennial rollback {row.model} --to {row.model_version} --reason …",
        )


def require_under_way(row: ReleaseRow) -> None:
    """A release that was ended meanwhile, by a rollback for instance, gets no request any more."""
    if row.state in UNDER_WAY:
        return
    why = f" ({row.reason})" if row.reason else ""
    raise ReleaseError(
        f"{row.model} version {row.model_version} is {row.state}{why}, so no request can be led to it",
        f"start release__{row.model} by hand with version {row.model_version}",
    )


def check_approved(spec: ModelSpec, state: StateStore, model_version: int, *, dag_run_id: str) -> None:
    """The last answer recorded in this Dag run decides; where the run's spec asks for one, none is a no.

    Airflow's graph can be gone round: tasks are marked as done, Dags are edited under their runs.

    Raises
    ------
    ReleaseError
        When the answer was a no, or is missing.
    """
    answer = state.read_last_action(
        ANSWERS.values(), model=spec.model, subject=f"version {model_version}", detail={"dag_run_id": dag_run_id}
    )
    if answer == ANSWERS["approve"] or (answer is None and spec.release.approval != "required"):
        return
    name = f"{spec.model} version {model_version}"
    raise ReleaseError(
        f"{name} was {answer} in {dag_run_id}" if answer else f"nobody approved {name} in {dag_run_id}, which asks for it",
        f"start release__{spec.model} by hand with version {model_version}, and answer its task `approve`",
    )


def check_may_serve(state: StateStore, model: str, model_version: int, *, champion: Champion | None) -> None:
    """A challenger must have been judged against whom it replaces, on data as late, and not in a backfill; or be forced.

    A person gives the word as the param `force`, at the retraining or at the release. The database asks for it as well,
    whatever is checked here.

    Raises
    ------
    ReleaseError
        When it is neither, or it was the champion before.
    """
    row = read_release(state, model, model_version)
    refuse_retired(row)
    if not row.forced_by and (objection := find_objection(state, row, champion=champion)) is not None:
        raise objection


def find_objection(state: StateStore, row: ReleaseRow, *, champion: Champion | None) -> ReleaseError | None:
    """What stands against a version, unless a person forces it; None where nothing does."""
    if champion is not None and champion.model_version == row.model_version:
        return None
    name, force = f"{row.model} version {row.model_version}", f"perennial release {row.model} {row.model_version} --force REASON"
    if row.mode == "backfill":
        what = f"{name} was registered by a backfill, which never promotes"
        return ReleaseError(what, _name_way(state, row, otherwise=f"to serve it all the same: {force}"))
    if retirement := state.read_retirement_since(row.model, row.dag_run_id):
        what = f"{name} was trained before the model was retired by {retirement.actor}: {retirement.reason}"
        return ReleaseError(what, _name_way(state, row, otherwise=f"retrain by hand, or: {force}"))
    return None if champion is None else _find_objection_beside(champion, state, row)


def _find_objection_beside(champion: Champion, state: StateStore, row: ReleaseRow) -> ReleaseError | None:
    """It must have been judged against the champion that it replaces, on data as late."""
    name, force = f"{row.model} version {row.model_version}", f"perennial release {row.model} {row.model_version} --force REASON"
    serving = read_release(state, champion.model, champion.model_version)
    decision = state.read_decision(row.model, row.dag_run_id)
    if row.judged_training_end < serving.judged_training_end:
        return ReleaseError(
            f"{name} learned from data until {row.judged_training_end:%Y-%m-%d}, "
            f"the champion (version {serving.model_version}) until {serving.judged_training_end:%Y-%m-%d}",
            _name_way(state, row, otherwise=f"to serve it all the same: {force}"),
        )
    if decision and decision.champion_version != serving.model_version:
        judged = f"version {decision.champion_version}" if decision.champion_version else "no champion"
        return ReleaseError(
            f"{name} was judged against {judged}; version {serving.model_version} serves now",
            _name_way(state, row, otherwise=f"retrain, so that it is judged against the present champion, or: {force}"),
        )
    return None


def _name_way(state: StateStore, row: ReleaseRow, *, otherwise: str) -> str:
    """Who has served comes back by a person's word, without a release."""
    has_served = any(each.model_version == row.model_version for each in state.read_champions(row.model))
    return f"bring it back: perennial rollback {row.model} --to {row.model_version} --reason …" if has_served else otherwise


def check_stages_passed(
    spec: ModelSpec, state: StateStore, model_version: int, *, champion: Champion | None, dag_run_id: str
) -> None:
    """Who becomes the champion must have been approved and, replacing another, have passed every stage, in this Dag run.

    Raises
    ------
    ReleaseError
        When something that the spec asks for is missing, naming it.
    """
    if champion and champion.model_version == model_version:
        return
    check_approved(spec, state, model_version, dag_run_id=dag_run_id)
    if champion is None:
        return
    stages = [each for each in state.read_stages(spec.model, model_version) if each.dag_run_id == dag_run_id]
    passed = {(each.stage, each.step) for each in stages if each.outcome == "passed"}
    missing = [
        f"{name} (step {step})" if name == "canary" else name for name, step in _wanted(spec) if (name, step) not in passed
    ]
    if missing:
        raise ReleaseError(
            f"{spec.model} version {model_version} did not pass {', '.join(missing)} in {dag_run_id}, so it cannot be promoted",
            f"start release__{spec.model} by hand with version {model_version}",
        )


def _wanted(spec: ModelSpec) -> Iterator[tuple[str, int]]:
    if spec.release.shadow:
        yield "shadow", 1
    if spec.release.canary:
        yield from (("canary", step) for step in range(1, len(spec.release.canary.steps) + 1))
