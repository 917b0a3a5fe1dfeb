"""The bentos that run and the gateway in front of them, made to agree with the state tables.

The table `release` says which version of which model serves; programs and Envoy's files are projections of it that can be
made again at any time.
"""

import itertools
import logging
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from perennial.adapters import bentos, gateway, supervisor
from perennial.adapters.ports import is_free
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec_file import load_spec, spec_folder, spec_path
from perennial.contracts import LIVE, SERVED, UNDER_WAY, Bento, ReleaseRow
from perennial.errors import ConfigurationError, PermanentError, ReleaseError, UnavailableError

_logger = logging.getLogger(__name__)

# Editors and git replace a file by another within that, or write it anew.
_REPLACED_WITHIN_SECONDS = 1.0


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
        state.record_program(bento.model, bento.model_version, bento_tag=bento.bento_tag, program=name, port=port)
    return port


def _choose_port(settings: Settings, state: StateStore, row: ReleaseRow, name: str) -> int:
    running = running_programs(settings)
    if row.port is not None and row.program == name and name in running:
        return row.port
    others = [each for each in state.read_releases() if each.port and each.program != name]
    taken = {each.port for each in others if each.state in LIVE or each.program in running}
    first_choice = () if row.port is None else (row.port,)
    for port in itertools.chain(first_choice, settings.bento_port_range):
        if port not in taken and is_free(settings.bind, port):
            return port
    raise ReleaseError(f"no port of {settings.bento_ports} is free", "widen PERENNIAL_BENTO_PORTS")


def running_programs(settings: Settings) -> set[str]:
    """Names of the programs that supervisord keeps."""
    return {process.program for process in supervisor.program_states(settings)}


def write_gateway(
    settings: Settings,
    state: StateStore,
    *,
    leaving: Collection[str] = (),
    wait: bool = True,
    may_be_away: bool = False,
    decides_on_keys: bool = False,
) -> None:
    """Make the gateway agree with the releases: callers reach the champion and a canary, a shadow gets copies.

    Other versions that run are reached on their own path only.

    Parameters
    ----------
    leaving
        Programs that are about to be stopped, so that nothing is sent to them any more.
    wait
        Whether to return only when the gateway has taken it.
    may_be_away
        Whether a gateway that does not take it in time is only warned of.
    decides_on_keys
        Whether the settings say if callers need a key, as in `perennial up`. A task may have older ones: it leaves that as it is.

    Raises
    ------
    UnavailableError
        When Postgres or supervisord does not answer, or the gateway does not take it in time. The files stay, and it will as
        soon as it runs.
    """
    # The files hold all models: whoever writes them reads the state and waits before anybody else writes.
    with state.lock("gateway"):
        running = running_programs(settings) - set(leaving)
        needs_keys = settings.api_keys == "required" if decides_on_keys else gateway.asks_for_keys(settings)
        rows = state.read_releases()
        models = find_served_models(settings, rows, running)
        upstreams = {model: list(_upstreams(settings, [row for row in rows if row.model == model], running)) for model in models}
        retired = {each.model: each.reason for each in state.read_retirements()}
        digest = gateway.write_config(settings, upstreams, retired=retired, callers=_callers(state) if needs_keys else None)
        if wait:
            _wait_until_taken(settings, digest, may_be_away=may_be_away)


def find_served_models(settings: Settings, rows: Collection[ReleaseRow], running: Collection[str]) -> set[str]:
    """Models that callers are told of: with a valid spec, or one that was valid when a version was registered.

    A file is away or broken for a moment while it is edited or pulled. So a mistake in it takes a model from nobody, and one that
    runs is served without it, until `stop_removed` has stopped it.
    """
    names, registered = _read_spec_names(settings), {row.model for row in rows}
    runs = {row.model for row in rows if row.program in running}
    return (names & registered) | runs | {name for name in names - registered if _has_valid_spec(settings, name)}


def _read_spec_names(settings: Settings) -> set[str]:
    """Models that have a file, whatever is in it."""
    return {path.stem for path in spec_folder(settings).glob("*.yaml")}


def _has_valid_spec(settings: Settings, model: str) -> bool:
    try:
        load_spec(spec_path(settings, model))
    except ConfigurationError:
        return False
    return True


def _wait_until_taken(settings: Settings, digest: str, *, may_be_away: bool) -> None:
    try:
        gateway.wait_until_taken(settings, digest)
    except UnavailableError as error:
        if not may_be_away:
            raise
        _logger.warning("%s", error.what)


def _callers(state: StateStore) -> dict[str, str]:
    """The hash of each caller's key."""
    return {key.caller: key.key_hash for key in state.read_keys() if key.is_live}


def _upstreams(settings: Settings, rows: Collection[ReleaseRow], running: Collection[str]) -> Iterator[gateway.Upstream]:
    """The champion answers what a canary does not; without a champion that runs, a canary's share is nobody's."""
    reachable = [row for row in rows if row.port and row.program in running and row.state != "registered"]
    has_champion = any(row.state == "champion" for row in reachable)
    shares = {row.model_version: row.traffic_percent for row in reachable if row.state == "canary" and has_champion}
    for row in reachable:
        yield gateway.Upstream(
            model_version=row.model_version,
            host=settings.serving_host,
            port=row.port or 0,
            weight=100 - sum(shares.values()) if row.state == "champion" else shares.get(row.model_version, 0),
            mirror_percent=row.traffic_percent if row.state == "shadow" else 0,
            is_canary=row.model_version in shares,
        )


def reconcile_serving(settings: Settings, *, decides_on_keys: bool = False) -> None:
    """Make the bentos run that should, and lead the gateway to them, as the tables say. Doing it again changes nothing.

    Champions first, then releases on their way, then what champions replaced, which is kept for a quick way back. Without the
    file of its spec a model is not started, and stays as it is where it runs.

    Parameters
    ----------
    decides_on_keys
        As in `write_gateway`.

    Notes
    -----
    Does not wait for the gateway, which takes new files as soon as it runs. A bento that cannot be started, because it is gone
    from the disk or no port is free, is logged as an error; where it is a champion's, its model is answered with 503. The others
    are served.
    """
    with StateStore(settings.state_url) as state:
        names, running = _read_spec_names(settings), running_programs(settings)
        for row in (each for each in _wanted(state) if each.model in names or each.program in running):
            try:
                start_again(settings, state, row)
            except PermanentError as error:
                _logger.error("%s cannot serve: %s", _describe(row), error)
        write_gateway(settings, state, wait=False, decides_on_keys=decides_on_keys)


def stop_removed(settings: Settings) -> None:
    """Stop the bentos of models whose spec was removed; with its file such a model starts again.

    Nothing is stopped where the folder of the specs cannot be read, and a file must be missing twice, with a second in between:
    it may be just about to be replaced.

    Raises
    ------
    UnavailableError
        When Postgres or supervisord does not answer.
    """
    running = running_programs(settings)
    with StateStore(settings.state_url) as state:
        rows = [row for row in state.read_releases() if row.program in running]
    removed = {row.model for row in rows if _is_removed(settings, row.model)}
    if not removed:
        return
    time.sleep(_REPLACED_WITHIN_SECONDS)
    for row in (row for row in rows if row.model in removed and _is_removed(settings, row.model)):
        step = f"to tell its callers why: perennial retire {row.model} --reason …"
        _logger.warning("%s is stopped: include/models/%s.yaml is gone; %s", _describe(row), row.model, step)
        supervisor.remove_program(settings, row.program)


def _is_removed(settings: Settings, model: str) -> bool:
    try:
        return spec_path(settings, model) not in spec_folder(settings).iterdir()
    except OSError:
        return False


def _wanted(state: StateStore) -> list[ReleaseRow]:
    rows = state.read_releases()
    champions = [row for row in rows if row.state == "champion"]
    predecessors = {(row.model, state.read_predecessor(row.model)) for row in champions}
    under_way = [row for row in rows if row.state in UNDER_WAY]
    return [*champions, *under_way, *(row for row in rows if row.program and (row.model, row.model_version) in predecessors)]


def start_again(settings: Settings, state: StateStore, row: ReleaseRow) -> None:
    """Make a bento run that was built before; one that runs stays as it is.

    Raises
    ------
    ReleaseError
        When its folder is gone, or no port is free.
    """
    path = bentos.bento_path(settings, row.model, row.model_version)
    if not bentos.read_model_file(path):
        again = f"perennial rollback {row.model} --to {row.model_version} --reason …"
        by_hand = f"start release__{row.model} by hand with version {row.model_version}"
        raise ReleaseError(f"its bento {path} is gone", again if row.state in SERVED else by_hand)
    bento = Bento(model=row.model, model_version=row.model_version, bento_tag=row.bento_tag, path=str(path))
    port = start_bento(settings, state, bento)
    _logger.info("%s runs on port %d", _describe(row), port)


def _describe(row: ReleaseRow) -> str:
    role = f", the {row.state}," if row.state == "champion" else f" ({row.state})"
    return f"{row.model} version {row.model_version}{role}"


def stop_bentos(settings: Settings, state: StateStore, rows: Collection[ReleaseRow], *, drain_seconds: float = 0.0) -> None:
    """Take bentos out of the gateway, then stop them; a gateway that is down has no callers to wait for.

    Parameters
    ----------
    drain_seconds
        How long to wait in between for requests that are under way. Who holds the lock of what serves must not wait: a rollback
        needs it. One that is wanted again after the wait stays.

    Raises
    ------
    UnavailableError
        When Postgres or supervisord does not answer.
    """
    programs = [program_name(row.model, row.model_version) for row in rows]
    write_gateway(settings, state, leaving=programs, may_be_away=True)
    time.sleep(max(0.0, drain_seconds))
    for row, program in zip(rows, programs, strict=True):
        with state.lock(f"serving/{row.model}"):
            now = state.read_release(row.model, row.model_version)
            if now and now.state in UNDER_WAY | {"champion"}:
                _logger.info("%s goes on: version %d is %s", program, row.model_version, now.state)
                continue
            supervisor.remove_program(settings, program)
        _logger.info("stopped %s (version %d, %s)", program, row.model_version, row.state)
