"""Bring back a version that served before, by a person's word."""

import logging
import time
from dataclasses import replace

from perennial.adapters import gateway
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Champion, ReleaseRow, Rollback
from perennial.errors import InputError, ReleaseError, UnknownVersion
from perennial.steps.admission import read_release
from perennial.steps.readiness import make_ready
from perennial.steps.serving import write_gateway

_logger = logging.getLogger(__name__)


def roll_back(
    spec: ModelSpec, *, to: int | None, reason: str, actor: str, settings: Settings, dag_run_id: str = ""
) -> tuple[Champion, Rollback]:
    """Make a version that served before the champion again: in the table, in the gateway, in MLflow's alias.

    A release that is under way ends with it, also where `to` serves already: its callers are led to `to`. The version that is
    left stays up, without callers, until the next release.

    Parameters
    ----------
    to
        The version. None: the one that the present champion replaced.
    dag_run_id
        Of a Dag run: what it has done before is not done twice. With `to`, doing it again changes nothing anyway, and without a
        Dag run it does not look after the alias, which takes longer than all else.

    Returns
    -------
    The champion now, and what was changed for it, in how many seconds.

    Raises
    ------
    InputError
        When there is no reason, nothing to roll back to, or the version never served.
    UnavailableError
        When Postgres, supervisord or the gateway does not answer. Before the switch nothing has changed for callers; after it,
        the same call again completes it.
    """
    if not reason.strip():
        raise InputError("a rollback needs a reason", "say why, for whoever reads the audit trail later")
    from perennial.steps.reconcile import move_champion_alias

    model, began = spec.model, time.monotonic()
    with StateStore(settings.state_url) as state:
        target = _find_target(state, model, to=to, dag_run_id=dag_run_id)
        make_ready(spec, state, target, settings=settings)
        with state.lock(f"serving/{model}"):
            # Once more: what is no longer needed may have been stopped while this waited for the lock.
            make_ready(spec, state, target, settings=settings)
            write_gateway(settings, state)
            gateway.wait_until_reachable(settings, model, target.model_version)
            done = _change_tables(state, target, reason=reason, actor=actor, dag_run_id=dag_run_id)
            write_gateway(settings, state)
            done = replace(done, seconds=round(time.monotonic() - began, 3))
            champion = state.read_champion(model)
    if champion is None or champion.model_version != target.model_version:
        raise ReleaseError(f"{model} version {target.model_version} was replaced at once", "see table audit for who did it")
    _log(champion, done, reason=reason, actor=actor)
    if done.is_changed or dag_run_id:
        move_champion_alias(model, settings=settings)
    return champion, done


def _change_tables(state: StateStore, target: ReleaseRow, *, reason: str, actor: str, dag_run_id: str) -> Rollback:
    model, number = target.model, target.model_version
    if _is_done(state, model, dag_run_id):
        return Rollback()
    return state.roll_back(model, to=number, dag_run_id=dag_run_id or f"rollback by {actor}", reason=reason, actor=actor)


def _is_done(state: StateStore, model: str, dag_run_id: str) -> bool:
    """Whether this Dag run has brought the present champion back; a release that began since then is not its business."""
    return bool(dag_run_id) and dag_run_id == state.read_champion_run(model)


def _log(champion: Champion, done: Rollback, *, reason: str, actor: str) -> None:
    what = "as it did before"
    if done.is_changed:
        replaced = f"in place of version {done.before}, which" if done.before else "again after its retirement, which"
        what = f"{replaced} {actor} rolled back: {reason}"
    _logger.info("%s version %d serves, %s", champion.model, champion.model_version, what)
    if row := done.stopped:
        _logger.info("the release of version %d ended in state %s; its bento is stopped soon", row.model_version, row.state)


def _find_target(state: StateStore, model: str, *, to: int | None, dag_run_id: str) -> ReleaseRow:
    champions, present = state.read_champions(model), state.read_champion(model)
    if not champions:
        raise UnknownVersion(f"{model} has no champion, so there is nothing to roll back", "release a version first")
    # Of a model that was retired, the way back leads to who served last.
    champion = present or champions[0]
    if to is None:
        is_there = present is None or _is_done(state, model, dag_run_id)
        to = champion.model_version if is_there else state.read_predecessor(model)
    served = sorted({each.model_version for each in champions} - {champion.model_version})
    others = f"versions that served before: {', '.join(map(str, served))}" if served else "no other version has served"
    if to is None:
        advice = f"name one with --to; {others}" if served else others
        raise UnknownVersion(f"{model} version {champion.model_version} replaced nothing to roll back to", advice)
    if to not in (*served, champion.model_version):
        raise UnknownVersion(f"{model} version {to} never served, so it cannot be brought back", others)
    return read_release(state, model, to)
