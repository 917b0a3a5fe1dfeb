"""From a packaged challenger to the champion that serves, or to a rejection that leaves the champion alone.

Every step may be killed at any point and run again. `promote` first proves that the challenger answers through the
gateway, then commits to it in one transaction of the state database, and only then moves traffic and alias, which are
projections of that commit: what a killed step left undone, the same step run again or `reconcile_serving` does.
"""

import logging
import time
from datetime import UTC, datetime
from pathlib import Path

from perennial.adapters import gateway, supervisor
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Bento, Champion, RegisteredVersion, ReleaseRow, ServingCheck
from perennial.errors import PermanentError, ReleaseError, RetryableError, UnavailableError
from perennial.steps.serving import (
    LIVE_STATES,
    log_path,
    program_name,
    reconcile_serving,
    running_programs,
    start_bento,
    write_gateway,
)
from perennial.steps.serving_check import check_answers, wait_until_ready

_logger = logging.getLogger(__name__)

_FINAL_STATES = frozenset({"champion", "retired"})


def start_and_check(spec: ModelSpec, bento: Bento, *, settings: Settings) -> ServingCheck:
    """Start a bento on a port of its own and require of it the offline predictions. Moves its release to `checked`.

    Raises
    ------
    ReleaseError
        When it does not get ready or answers differently. Its release is rejected then and its process gone.
    UnavailableError
        When supervisord, Postgres or the bento goes away meanwhile; trying again may help.
    """
    reconcile_serving(settings)
    with StateStore(settings.state_url) as state:
        row = _open_release(state, bento.model, bento.model_version)
        try:
            check = _start_and_measure(spec, bento, state, settings=settings)
        except RetryableError:
            _stop_unless_champion(settings, row)
            raise
        except PermanentError as error:
            if row.state != "champion":
                reject(spec, bento.model_version, error.what, settings=settings)
            raise
        if row.state == "registered":
            state.move_release(bento.model, bento.model_version, state="checked")
    return check


def _open_release(state: StateStore, model: str, model_version: int) -> ReleaseRow:
    """The release to work on; one that was stopped earlier is taken up again."""
    row = _read_release(state, model, model_version)
    _refuse_retired(row)
    if row.state in ("rejected", "rolled_back"):
        _logger.info("%s version %d was %s (%s); it is tried again", model, model_version, row.state, row.reason)
        state.move_release(model, model_version, state="registered")
        return _read_release(state, model, model_version)
    return row


def _read_release(state: StateStore, model: str, model_version: int) -> ReleaseRow:
    if (row := state.read_release(model, model_version)) is None:
        raise ReleaseError(f"{model} version {model_version} was never registered for release", "run retrain first")
    return row


def _refuse_retired(row: ReleaseRow) -> None:
    if row.state == "retired":
        raise ReleaseError(
            f"{row.model} version {row.model_version} was the champion once and was replaced", "release a newer version"
        )


def _start_and_measure(spec: ModelSpec, bento: Bento, state: StateStore, *, settings: Settings) -> ServingCheck:
    program = program_name(bento.model, bento.model_version)
    port = start_bento(settings, state, bento)
    ready_seconds = wait_until_ready(
        settings.serving_host,
        port,
        deadline_seconds=spec.release.ready_seconds,
        read_process_id=lambda: sum(process.pid for process in supervisor.program_states(settings, program)),
        log=log_path(settings, program),
    )
    _logger.info("%s was ready on port %d after %.1f s", bento.bento_tag, port, ready_seconds)
    measured = check_answers(Path(bento.path), settings.serving_host, port, spec=spec.release)
    _logger.info(
        "%d golden rows gave the offline predictions (largest difference %.2g, allowed %.2g), a malformed row was refused, "
        "single rows took %.1f ms at the 99th percentile",
        measured.n_rows, measured.largest_difference, spec.release.parity_tolerance, measured.p99_ms,
    )  # fmt: skip
    return ServingCheck(
        program=program,
        port=port,
        n_rows=measured.n_rows,
        largest_difference=measured.largest_difference,
        ready_seconds=ready_seconds,
        p99_ms=measured.p99_ms,
    )


def _stop_unless_champion(settings: Settings, row: ReleaseRow) -> None:
    if row.state == "champion":
        return
    try:
        supervisor.remove_program(settings, program_name(row.model, row.model_version))
    except UnavailableError as error:
        _logger.warning("the challenger's bento could not be stopped: %s", error.what)


def promote(spec: ModelSpec, version: RegisteredVersion, check: ServingCheck, *, dag_run_id: str, settings: Settings) -> Champion:
    """Make a checked version the champion: in the table, in the gateway, in MLflow's alias.

    Notes
    -----
    1. Lead the gateway to the challenger without traffic and wait until it answers there. 2. Commit: champion row, release
    states and audit in one transaction. 3. Move the traffic and wait until the gateway has. 4. Move the alias. Killed before
    2, nothing has changed for callers; killed after it, 3 and 4 follow from the table.

    Raises
    ------
    ReleaseError
        When the version may not be promoted: not checked, replaced before, or trained on older data than the champion.
    UnavailableError
        When gateway, Postgres or MLflow does not answer; trying again continues.
    """
    from perennial.steps.reconcile import reconcile_champion_alias

    model, number = version.model, version.model_version
    with StateStore(settings.state_url) as state, state.lock(f"serving/{model}"):
        before = state.read_champion(model)
        _check_may_serve(state, version, before)
        write_gateway(settings, state)
        gateway.wait_until_reachable(settings, model, number)
        reason = f"{check.n_rows} golden rows within {spec.release.parity_tolerance:g}, p99 {check.p99_ms:.1f} ms"
        state.promote(model, number, dag_run_id=dag_run_id, reason=reason, actor=f"release__{model}")
        write_gateway(settings, state)
        champion = state.read_champion(model)
    if champion is None or champion.model_version != number:
        raise ReleaseError(f"{model} version {number} was promoted and replaced at once", "see table audit for who did it")
    reconcile_champion_alias(model, settings=settings)
    url = f"{settings.gateway_url}/v1/models/{model}/predict"
    _logger.info("%s version %d serves at %s, %s", model, number, url, _name_predecessor(before, number))
    return champion


def _name_predecessor(before: Champion | None, model_version: int) -> str:
    if before is None:
        return "the model's first champion"
    return "as it did before" if before.model_version == model_version else f"in place of version {before.model_version}"


def _check_may_serve(state: StateStore, version: RegisteredVersion, champion: Champion | None) -> None:
    """A challenger must have been judged against whom it replaces, on data as late; else it needs a person's word.

    The word is given at the retraining, as its param `force`.
    """
    row = _read_release(state, version.model, version.model_version)
    _refuse_retired(row)
    if champion is None or champion.model_version == row.model_version:
        return
    serving = _read_release(state, champion.model, champion.model_version)
    decision = state.read_decision(row.model, row.dag_run_id)
    if decision and decision.forced_reason:
        return
    if row.training_end < serving.training_end:
        raise ReleaseError(
            f"{row.model} version {row.model_version} learned from data until {row.training_end:%Y-%m-%d}, "
            f"the champion (version {serving.model_version}) until {serving.training_end:%Y-%m-%d}",
            "retrain with the param `force` to promote it all the same",
        )
    if decision and decision.champion_version != serving.model_version:
        judged = f"version {decision.champion_version}" if decision.champion_version else "no champion"
        raise ReleaseError(
            f"{row.model} version {row.model_version} was judged against {judged}; version {serving.model_version} serves now",
            "retrain, so that it is judged against the present champion",
        )


def drain(spec: ModelSpec, *, settings: Settings) -> None:
    """Stop the bentos of versions that no longer serve, `drain_seconds` after the champion took over."""
    with StateStore(settings.state_url) as state, state.lock(f"serving/{spec.model}"):
        champion = state.read_champion(spec.model)
        running = running_programs(settings)
        rows = [row for row in state.read_releases(spec.model) if row.program in running and _is_over(row, champion)]
        if champion is None or not rows:
            _logger.info("no bento of %s waits to be stopped", spec.model)
            return
        served_seconds = (datetime.now(UTC) - champion.valid_from).total_seconds()
        time.sleep(max(0.0, spec.release.drain_seconds - served_seconds))
        _stop(settings, state, rows)


def _is_over(row: ReleaseRow, champion: Champion | None) -> bool:
    """Whether a version neither serves nor is on its way to; a release that a newer champion overtook is not."""
    overtaken = champion is not None and row.model_version < champion.model_version
    return row.state not in LIVE_STATES or (row.state != "champion" and overtaken)


def _stop(settings: Settings, state: StateStore, rows: list[ReleaseRow]) -> None:
    """Take bentos out of the gateway, then stop them; a gateway that is down has no callers to wait for."""
    programs = [program_name(row.model, row.model_version) for row in rows]
    try:
        write_gateway(settings, state, leaving=programs)
    except UnavailableError as error:
        _logger.warning("%s", error.what)
    for row, program in zip(rows, programs, strict=True):
        supervisor.remove_program(settings, program)
        _logger.info("stopped %s (version %d, %s)", program, row.model_version, row.state)


def reject(spec: ModelSpec, model_version: int, reason: str, *, settings: Settings) -> None:
    """Stop a challenger's bento and record why it was rejected. A version that serves or has served stays as it is."""
    with StateStore(settings.state_url) as state, state.lock(f"serving/{spec.model}"):
        row = _read_release(state, spec.model, model_version)
        if row.state in _FINAL_STATES:
            _logger.info("%s version %d is %s and stays so", spec.model, model_version, row.state)
            return
        _stop(settings, state, [row])
        if row.state == "rejected":
            _logger.info("%s version %d was rejected before: %s", spec.model, model_version, row.reason)
            return
        state.stop_release(spec.model, model_version, state="rejected", reason=reason, actor=f"release__{spec.model}")
        _logger.info("%s version %d is rejected: %s", spec.model, model_version, reason)


def withdraw(spec: ModelSpec, model_version: int | None, *, settings: Settings) -> None:
    """After a release failed: stop the challenger's bento and record the rejection, if that was not done yet."""
    if model_version is None:
        _logger.info("the release failed before it had a version; there is nothing to withdraw")
        return
    reject(spec, model_version, "a step of the release failed; its task's log says why", settings=settings)
