"""A bento that is built, runs and is ready, before any request is led to it.

It is asked directly: a request through the gateway that waits for a bento to start counts as a failure there, and a version that
fails again and again is led past for a while.
"""

import logging

from perennial.adapters import bentos, gateway, supervisor
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import ReleaseRow
from perennial.steps.admission import read_release, to_version
from perennial.steps.serving import log_path, program_name, start_again, write_gateway
from perennial.steps.serving_check import wait_until_ready

_logger = logging.getLogger(__name__)


def make_ready(spec: ModelSpec, state: StateStore, row: ReleaseRow, *, settings: Settings) -> int:
    """Build the bento if it is gone and start it if it does not run; returns its port. One that is warm is ready at once.

    Raises
    ------
    ReleaseError, PackagingError
        When it does not get ready, or cannot be built.
    UnavailableError
        When supervisord, Postgres or MLflow does not answer.
    """
    model, number = row.model, row.model_version
    if not bentos.read_model_file(bentos.bento_path(settings, model, number)):
        _build(spec, row, settings=settings)
    start_again(settings, state, row)
    port = read_release(state, model, number).port or 0
    seconds = wait_for_bento(settings, model, number, port=port, deadline_seconds=spec.release.ready_seconds)
    _logger.info("%s version %d was ready on port %d after %.1f s", model, number, port, seconds)
    return port


def make_reachable(spec: ModelSpec, state: StateStore, row: ReleaseRow, *, settings: Settings) -> int:
    """Make a bento ready, and wait until it answers through the gateway on its own path; returns its port.

    Raises
    ------
    ReleaseError, PackagingError, UnavailableError
        As `make_ready`, and when the gateway does not answer.
    """
    port = make_ready(spec, state, row, settings=settings)
    write_gateway(settings, state)
    gateway.wait_until_reachable(settings, row.model, row.model_version)
    return port


def wait_for_bento(settings: Settings, model: str, model_version: int, *, port: int, deadline_seconds: float) -> float:
    """Wait until a bento answers ready; returns how long it took. Raises as `wait_until_ready` does."""
    program = program_name(model, model_version)
    return wait_until_ready(
        settings.serving_host,
        port,
        deadline_seconds=deadline_seconds,
        read_process_id=lambda: sum(process.pid for process in supervisor.program_states(settings, program)),
        log=log_path(settings, program),
    )


def _build(spec: ModelSpec, row: ReleaseRow, *, settings: Settings) -> None:
    from perennial.steps.package import build_bento

    _logger.info("the bento of %s version %d is gone; it is built again", row.model, row.model_version)
    build_bento(spec, to_version(row), settings=settings)
