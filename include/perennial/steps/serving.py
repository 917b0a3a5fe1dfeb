"""The bentos that run and the gateway in front of them, made to agree with the state tables.

The table `release` says which version of which model serves; programs and Envoy's files are projections of it that can be
made again at any time.
"""

import itertools
import logging
from collections.abc import Collection, Iterator
from pathlib import Path

from perennial.adapters import bentos, gateway, supervisor
from perennial.adapters.ports import is_free
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec_file import spec_folder
from perennial.contracts import Bento, ReleaseRow
from perennial.errors import PermanentError, ReleaseError

_logger = logging.getLogger(__name__)

# States in which a version serves or may soon: its bento runs and its port is taken.
LIVE_STATES = frozenset({"registered", "checked", "shadow", "canary", "champion"})


def program_name(model: str, model_version: int) -> str:
    return f"bento__{model}__v{model_version}"


def log_path(settings: Settings, program: str) -> Path:
    return settings.paths.logs / f"{program}.log"


def start_bento(settings: Settings, state: StateStore, bento: Bento) -> int:
    """Keep a bento running on a port of its own, recorded with its release; one that runs already stays as it is.

    Returns
    -------
    The port.
    """
    name = program_name(bento.model, bento.model_version)
    # Two models may be released at once; between choosing a port and listening on it nobody else may choose.
    with state.lock("bento-ports"):
        row = state.read_release(bento.model, bento.model_version)
        if row is None:
            raise ReleaseError(f"{bento.model} version {bento.model_version} was never registered for release")
        port = _choose_port(settings, state, row, name)
        settings.paths.logs.mkdir(parents=True, exist_ok=True)
        program = supervisor.Program(
            name=name,
            command=bentos.serve_command(),
            environment=bentos.serve_environment(settings, program=name),
            directory=Path(bento.path) / "src",
            log=log_path(settings, name),
            listen=(settings.bind, port),
        )
        supervisor.add_program(settings, program)
        state.move_release(bento.model, bento.model_version, state=row.state, bento_tag=bento.bento_tag, program=name, port=port)
    return port


def _choose_port(settings: Settings, state: StateStore, row: ReleaseRow, name: str) -> int:
    running = running_programs(settings)
    if row.port is not None and row.program == name and name in running:
        return row.port
    others = [each for each in state.read_releases() if each.port and each.program != name]
    taken = {each.port for each in others if each.state in LIVE_STATES or each.program in running}
    first_choice = () if row.port is None else (row.port,)
    for port in itertools.chain(first_choice, settings.bento_port_range):
        if port not in taken and is_free(settings.bind, port):
            return port
    raise ReleaseError(f"no port of {settings.bento_ports} is free", "widen PERENNIAL_BENTO_PORTS")


def running_programs(settings: Settings) -> set[str]:
    """Names of the programs that supervisord keeps."""
    return {process.program for process in supervisor.program_states(settings)}


def write_gateway(settings: Settings, state: StateStore, *, leaving: Collection[str] = (), wait: bool = True) -> None:
    """Make the gateway agree with the releases: the champion gets all traffic, others that run are reached on their own path.

    Parameters
    ----------
    leaving
        Programs that are about to be stopped, so that nothing is sent to them any more.
    wait
        Whether to return only when the gateway has taken it.

    Raises
    ------
    UnavailableError
        When the gateway does not take it in time. The files stay, and it will as soon as it runs.
    """
    # The files hold all models: whoever writes them reads the state and waits before anybody else writes.
    with state.lock("gateway"):
        running = running_programs(settings) - set(leaving)
        rows = state.read_releases()
        models = {*(path.stem for path in spec_folder(settings).glob("*.yaml")), *(row.model for row in rows)}
        upstreams = {model: list(_upstreams(settings, [row for row in rows if row.model == model], running)) for model in models}
        digest = gateway.write_config(settings, upstreams)
        if wait:
            gateway.wait_until_taken(settings, digest)


def _upstreams(settings: Settings, rows: Collection[ReleaseRow], running: Collection[str]) -> Iterator[gateway.Upstream]:
    for row in rows:
        if row.port and row.program in running and row.state != "registered":
            weight = 100 if row.state == "champion" else 0
            yield gateway.Upstream(model_version=row.model_version, host=settings.serving_host, port=row.port, weight=weight)


def reconcile_serving(settings: Settings) -> None:
    """Make the champions' bentos run and lead the gateway to them, as the tables say. Doing it again changes nothing.

    Notes
    -----
    Does not wait for the gateway, which takes new files as soon as it runs. A champion that cannot be started, because its
    bento is gone from the disk or no port is free, is logged as an error and answered with 503, and the other models are
    served.
    """
    with StateStore(settings.state_url) as state:
        for row in state.read_releases(state="champion"):
            try:
                _start_champion(settings, state, row)
            except PermanentError as error:
                _logger.error("%s version %d, the champion, cannot serve: %s", row.model, row.model_version, error)
        write_gateway(settings, state, wait=False)


def _start_champion(settings: Settings, state: StateStore, row: ReleaseRow) -> None:
    path = bentos.bento_path(settings, row.model, row.model_version)
    if not bentos.read_model_file(path):
        raise ReleaseError(f"its bento {path} is gone", f"start release__{row.model} by hand with version {row.model_version}")
    bento = Bento(model=row.model, model_version=row.model_version, bento_tag=row.bento_tag, path=str(path))
    port = start_bento(settings, state, bento)
    _logger.info("%s version %d, the champion, serves on port %d", row.model, row.model_version, port)
