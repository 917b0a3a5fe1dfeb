"""From a packaged challenger to the champion that serves, or to a rejection that leaves the champion alone.

Every step may be killed at any point and run again. `promote` first proves that the challenger answers through the
gateway, then commits to it in one transaction of the state database, and only then moves traffic and alias, which are
projections of that commit: what a killed step left undone, the same step run again or `reconcile_serving` does.
"""

import logging
import time
from pathlib import Path

from perennial.adapters import supervisor
from perennial.adapters.bentos import bento_path
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import (
    LIVE,
    SERVED,
    STOPPED,
    UNDER_WAY,
    Bento,
    Champion,
    Measure,
    RegisteredVersion,
    ReleaseRow,
    ServingCheck,
    Stage,
)
from perennial.errors import PermanentError, ReleaseError, RetryableError, UnavailableError
from perennial.steps.admission import check_may_serve, check_stages_passed, read_release, refuse_retired
from perennial.steps.readiness import make_reachable, make_ready, wait_for_bento
from perennial.steps.serving import (
    program_name,
    reconcile_serving,
    running_programs,
    start_bento,
    stop_bentos,
    write_gateway,
)
from perennial.steps.serving_check import BentoAddress, check_answers, measure_latency

_logger = logging.getLogger(__name__)


def start_and_check(spec: ModelSpec, bento: Bento, *, dag_run_id: str, settings: Settings) -> ServingCheck:
    """Start a bento on a port of its own and require of it the offline predictions. Moves its release to `checked`.

    Another release of the model that was left half-way is over: it is stopped first. So is an earlier attempt with this version.

    Raises
    ------
    ReleaseError
        When it does not get ready or answers differently. Its release is rejected then and its process gone.
    UnavailableError
        When supervisord, Postgres or the bento goes away meanwhile; trying again may help.
    """
    model, number = bento.model, bento.model_version
    with StateStore(settings.state_url) as state:
        refuse_retired(read_release(state, model, number))
        _supersede(state, model, number, dag_run_id=dag_run_id, settings=settings)
        reconcile_serving(settings)
        row = _open_release(state, model, number, dag_run_id=dag_run_id)
        stage = state.start_stage(model, number, dag_run_id=dag_run_id, stage="check", step=1, percent=0)
        try:
            check = _start_and_measure(spec, bento, state, settings=settings)
        except RetryableError:
            _stop_unless_champion(settings, row)
            raise
        except PermanentError as error:
            _fail_check(spec, state, stage, row, error=error, settings=settings)
            raise
        _pass_check(spec, state, stage, row, check=check)
    return check


def _supersede(state: StateStore, model: str, model_version: int, *, dag_run_id: str, settings: Settings) -> None:
    """Stop what an earlier Dag run left half-way: one release of a model goes on at a time."""
    left = [
        row for row in state.read_releases(model) if row.state in UNDER_WAY and _is_left(state, row, model_version, dag_run_id)
    ]
    for row in left:
        by = f"version {model_version}" if row.model_version != model_version else f"another attempt ({dag_run_id})"
        now = state.stop_release(model, row.model_version, reason=f"superseded by {by}", actor=f"release__{model}")
        _logger.warning("%s version %d was left in state %s; it is %s now", model, row.model_version, row.state, now)
    if left:
        stop_bentos(settings, state, left)


def _is_left(state: StateStore, row: ReleaseRow, model_version: int, dag_run_id: str) -> bool:
    stages = state.read_stages(row.model, row.model_version)
    return row.model_version != model_version or (bool(stages) and stages[-1].dag_run_id != dag_run_id)


def _open_release(state: StateStore, model: str, model_version: int, *, dag_run_id: str) -> ReleaseRow:
    """The release to work on; one that was stopped earlier is taken up again."""
    row = read_release(state, model, model_version)
    if row.state not in STOPPED:
        return row
    _logger.info("%s version %d was %s (%s); it is tried again", model, model_version, row.state, row.reason)
    state.reopen_release(model, model_version, dag_run_id=dag_run_id)
    return read_release(state, model, model_version)


def _pass_check(spec: ModelSpec, state: StateStore, stage: Stage, row: ReleaseRow, *, check: ServingCheck) -> None:
    state.end_stage(
        stage,
        outcome="passed",
        reason=_describe_check(spec, check),
        n_requests=0,
        measures=_measure_check(spec, check),
        state="checked" if row.state == "registered" else "",
    )


def _fail_check(
    spec: ModelSpec, state: StateStore, stage: Stage, row: ReleaseRow, *, error: PermanentError, settings: Settings
) -> None:
    """Record what was wrong; a challenger is rejected and stopped, a champion that is checked again stays."""
    is_new = row.state == "registered"
    fault = Measure(measure="check", passed=False, reason=error.what)
    state.end_stage(
        stage, outcome="breached", reason=error.what, n_requests=0, measures=[fault], state="rejected" if is_new else ""
    )
    if row.state != "champion":
        reject(spec, row.model_version, error.what, settings=settings)


def _describe_check(spec: ModelSpec, check: ServingCheck) -> str:
    return f"{check.n_rows} golden rows within {spec.release.parity_tolerance:g}, p99 {check.p99_ms:.1f} ms"


def _measure_check(spec: ModelSpec, check: ServingCheck) -> list[Measure]:
    tolerance, ready = spec.release.parity_tolerance, float(spec.release.ready_seconds)
    parity = f"{check.n_rows} golden rows got the offline predictions; the largest difference is {check.largest_difference:.2g}"
    memory, start = f"the process holds {check.memory_mb:.0f} MB", f"it was ready after {check.ready_seconds:.1f} s"
    return [
        Measure(measure="parity", passed=True, reason=parity, value=check.largest_difference, threshold=tolerance),
        measure_latency(check.p99_ms, check.champion_p99_ms, spec=spec.release),
        Measure(measure="memory", passed=True, reason=memory, value=check.memory_mb, threshold=spec.release.memory_mb),
        Measure(measure="ready_seconds", passed=True, reason=start, value=check.ready_seconds, threshold=ready),
    ]


def _start_and_measure(spec: ModelSpec, bento: Bento, state: StateStore, *, settings: Settings) -> ServingCheck:
    program = program_name(bento.model, bento.model_version)
    port = start_bento(settings, state, bento)
    ready_seconds = wait_for_bento(
        settings, bento.model, bento.model_version, port=port, deadline_seconds=spec.release.ready_seconds
    )
    _logger.info("%s was ready on port %d after %.1f s", bento.bento_tag, port, ready_seconds)
    challenger = BentoAddress(path=Path(bento.path), host=settings.serving_host, port=port)
    champion = _find_champion(state, bento, settings=settings)
    measured = check_answers(challenger, spec=spec.release, champion=champion)
    _logger.info(
        "%d golden rows gave the offline predictions (largest difference %.2g, allowed %.2g), a malformed row was refused, "
        "single rows took %.1f ms at the 99th percentile, the process holds %.0f MB",
        measured.n_rows, measured.largest_difference, spec.release.parity_tolerance, measured.p99_ms, measured.memory_mb,
    )  # fmt: skip
    return ServingCheck(
        program=program,
        port=port,
        n_rows=measured.n_rows,
        largest_difference=measured.largest_difference,
        ready_seconds=ready_seconds,
        p99_ms=measured.p99_ms,
        champion_p99_ms=measured.champion_p99_ms,
        memory_mb=measured.memory_mb,
    )


def _find_champion(state: StateStore, bento: Bento, *, settings: Settings) -> BentoAddress | None:
    """The champion's bento, where one runs and it is not the one that is checked."""
    champion = state.read_champion(bento.model)
    row = state.read_release(bento.model, champion.model_version) if champion else None
    if row is None or row.port is None or row.model_version == bento.model_version:
        return None
    if row.program not in running_programs(settings):
        return None
    return BentoAddress(path=bento_path(settings, row.model, row.model_version), host=settings.serving_host, port=row.port)


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
    1. Make sure that the challenger runs, lead the gateway to it without traffic and wait until it answers there. 2. Commit:
    champion row, release states and audit in one transaction. 3. Move the traffic and wait until the gateway has. 4. Move the
    alias. Killed before 2, nothing has changed for callers; killed after it, 3 and 4 follow from the table.

    Raises
    ------
    ReleaseError
        When the version may not be promoted: not checked, a stage missing, replaced before, trained on older data than the
        champion, or rolled back after this Dag run had promoted it.
    UnavailableError
        When gateway, Postgres or supervisord does not answer; trying again continues.
    """
    from perennial.steps.reconcile import move_champion_alias

    model, number = version.model, version.model_version
    with StateStore(settings.state_url) as state:
        _check_promotion(spec, state, number, dag_run_id=dag_run_id)
        # A bento that has to start takes its time; a rollback waits for the lock.
        make_ready(spec, state, read_release(state, model, number), settings=settings)
        with state.lock(f"serving/{model}"):
            before = _check_promotion(spec, state, number, dag_run_id=dag_run_id)
            make_reachable(spec, state, read_release(state, model, number), settings=settings)
            reason = _describe_check(spec, check)
            state.promote(model, number, dag_run_id=dag_run_id, reason=reason, actor=f"release__{model}")
            write_gateway(settings, state)
            champion = state.read_champion(model)
    if champion is None or champion.model_version != number:
        raise ReleaseError(f"{model} version {number} was promoted and replaced at once", "see table audit for who did it")
    move_champion_alias(model, settings=settings)
    url = f"{settings.gateway_url}/v1/models/{model}/predict"
    _logger.info("%s version %d serves at %s, %s", model, number, url, _name_predecessor(before, number))
    return champion


def _check_promotion(spec: ModelSpec, state: StateStore, model_version: int, *, dag_run_id: str) -> Champion | None:
    """Refuse who may not be promoted, whatever the task was told before; returns the present champion."""
    champion = state.read_champion(spec.model)
    check_may_serve(state, spec.model, model_version, champion=champion)
    state.check_promotion(spec.model, model_version, dag_run_id=dag_run_id)
    check_stages_passed(spec, state, model_version, champion=champion, dag_run_id=dag_run_id)
    return champion


def _name_predecessor(before: Champion | None, model_version: int) -> str:
    if before is None:
        return "the model's first champion"
    return "as it did before" if before.model_version == model_version else f"in place of version {before.model_version}"


def drain(spec: ModelSpec, *, settings: Settings) -> None:
    """Stop the bentos that no longer serve, `drain_seconds` after the champion took over.

    The champion's predecessor is kept running, for a quick way back, until the next promotion.
    """
    with StateStore(settings.state_url) as state:
        while (seconds := _stop_what_is_over(spec, state, settings=settings)) > 0:
            # Without the lock, which a rollback may need.
            time.sleep(seconds)


def _stop_what_is_over(spec: ModelSpec, state: StateStore, *, settings: Settings) -> float:
    """Stop what no longer serves, unless requests may be under way there; returns for how many seconds they may be."""
    with state.lock(f"serving/{spec.model}"):
        champion = state.read_champion(spec.model)
        needed = {champion.model_version if champion else None, state.read_predecessor(spec.model)}
        running = running_programs(settings)
        rows = [row for row in state.read_releases(spec.model) if row.program in running and row.model_version not in needed]
        over = [row for row in rows if _is_over(row, champion)]
        if champion is None or not over:
            _logger.info("no bento of %s waits to be stopped", spec.model)
            return 0.0
        served_seconds = (state.read_clock() - champion.valid_from).total_seconds()
        if (left := spec.release.drain_seconds - served_seconds) <= 0:
            stop_bentos(settings, state, over)
        return left


def _is_over(row: ReleaseRow, champion: Champion | None) -> bool:
    """Whether a version neither serves nor is on its way to; a check that a newer champion overtook is not."""
    overtaken = champion is not None and row.model_version < champion.model_version
    return row.state not in LIVE or (row.state == "registered" and overtaken)


def reject(spec: ModelSpec, model_version: int, reason: str, *, settings: Settings) -> None:
    """Stop a challenger and record why: `rolled_back` from its canary, else `rejected`.

    Callers are led back first, in the table and in the gateway; then its bento is stopped. A version that serves or has served
    stays as it is.
    """
    with StateStore(settings.state_url) as state:
        with state.lock(f"serving/{spec.model}"):
            row = read_release(state, spec.model, model_version)
            if row.state in SERVED:
                _logger.info("%s version %d is %s and stays so", spec.model, model_version, row.state)
                return
            now = state.stop_release(spec.model, model_version, reason=reason, actor=f"release__{spec.model}")
        stop_bentos(settings, state, [row], drain_seconds=spec.release.drain_seconds if row.state == "canary" else 0.0)
    if row.state == now:
        _logger.info("%s version %d was %s before: %s", spec.model, model_version, now, row.reason)
    else:
        _logger.info("%s version %d is %s: %s", spec.model, model_version, now, reason)


def withdraw(spec: ModelSpec, model_version: int | None, *, why: str = "", settings: Settings) -> None:
    """After a release failed: stop the challenger's bento and record the rejection, if that was not done yet.

    `why` is empty where the failed task could not say it: it was killed.
    """
    if model_version is None:
        _logger.info("the release failed before it had a version; there is nothing to withdraw")
        return
    reject(spec, model_version, why or "a step of the release failed; its task's log says why", settings=settings)
