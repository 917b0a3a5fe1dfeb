"""Bring back a version that served before, by a person's word."""

import logging

from perennial.adapters import gateway
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Champion, ReleaseRow
from perennial.errors import ReleaseError, UnavailableError
from perennial.steps.admission import read_release
from perennial.steps.readiness import make_ready
from perennial.steps.serving import write_gateway

_logger = logging.getLogger(__name__)


def roll_back(spec: ModelSpec, *, to: int | None, reason: str, actor: str, settings: Settings, dag_run_id: str = "") -> Champion:
    """Make a version that served before the champion again: in the table, in the gateway, in MLflow's alias.

    A release that is under way ends with it. The version that is left stays up, without callers, until the next release.

    Parameters
    ----------
    to
        The version. None: the one that the present champion replaced.
    dag_run_id
        Of a Dag run: what it has done before is not done twice. With `to`, doing it again changes nothing anyway.

    Returns
    -------
    The champion now.

    Raises
    ------
    ReleaseError
        When there is no reason, nothing to roll back to, or the version never served.
    UnavailableError
        When Postgres, supervisord or the gateway does not answer. Before the switch nothing has changed for callers; after it,
        the same call again completes it.
    """
    if not reason.strip():
        raise ReleaseError("a rollback needs a reason", "say why, for whoever reads the audit trail later")
    model = spec.model
    with StateStore(settings.state_url) as state:
        target = _find_target(state, model, to=to, dag_run_id=dag_run_id)
        make_ready(spec, state, target, settings=settings)
        with state.lock(f"serving/{model}"):
            write_gateway(settings, state)
            gateway.wait_until_reachable(settings, model, target.model_version)
            before = state.roll_back(
                model, to=target.model_version, dag_run_id=dag_run_id or f"rollback by {actor}", reason=reason, actor=actor
            )
            write_gateway(settings, state)
            champion = state.read_champion(model)
    if champion is None or champion.model_version != target.model_version:
        raise ReleaseError(f"{model} version {target.model_version} was replaced at once", "see table audit for who did it")
    what = "as it did before" if before is None else f"in place of version {before}, which {actor} rolled back: {reason}"
    _logger.info("%s version %d serves, %s", model, target.model_version, what)
    _move_alias(model, settings=settings)
    return champion


def _find_target(state: StateStore, model: str, *, to: int | None, dag_run_id: str) -> ReleaseRow:
    champion = state.read_champion(model)
    if champion is None:
        raise ReleaseError(f"{model} has no champion, so there is nothing to roll back", "release a version first")
    if to is None:
        done = dag_run_id and dag_run_id == state.read_champion_run(model)
        to = champion.model_version if done else state.read_predecessor(model)
    served = sorted({each.model_version for each in state.read_champions(model)} - {champion.model_version})
    others = f"versions that served before: {', '.join(map(str, served)) or 'none'}"
    if to is None:
        raise ReleaseError(f"{model} version {champion.model_version} replaced nothing to roll back to", f"name one; {others}")
    if to not in (*served, champion.model_version):
        raise ReleaseError(f"{model} version {to} never served, so it cannot be brought back", others)
    return read_release(state, model, to)


def _move_alias(model: str, *, settings: Settings) -> None:
    """Callers are served by the table, so a registry that is away does not undo a rollback."""
    from perennial.steps.reconcile import reconcile_champion_alias

    try:
        reconcile_champion_alias(model, settings=settings)
    except UnavailableError as error:
        _logger.warning("the alias champion follows with the next release or retraining: %s", error.what)
