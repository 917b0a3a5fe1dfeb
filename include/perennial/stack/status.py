"""How every service is, right now."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from perennial.adapters import supervisor
from perennial.config.settings import Settings
from perennial.errors import UnavailableError
from perennial.stack.health import MAX_HEARTBEAT_AGE_SECONDS
from perennial.stack.running import DOWN, describe_other_ports, is_down, read_running_settings
from perennial.stack.services import SERVICES

_STARTS_WITHIN_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One line of `perennial status`. `pid` and `uptime_seconds` are 0 for a service that does not run."""

    name: str
    title: str
    state: str
    is_healthy: bool
    reason: str
    url: str
    pid: int
    uptime_seconds: int
    log: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StackStatus:
    """The whole of `perennial status`.

    Parameters
    ----------
    is_down
        Whether the stack is ours to keep and does not run at all.
    other_ports
        Ports that the stack runs with and the settings contradict, as `NAME=value`; what is shown is the stack as it runs.
    """

    services: tuple[Status, ...]
    is_down: bool
    other_ports: str
    login_url: str
    login_user: str
    login_file: Path

    @property
    def is_healthy(self) -> bool:
        return all(service.is_healthy for service in self.services)

    def to_record(self) -> dict[str, object]:
        """As data for JSON."""
        services = [{**asdict(service), "log": str(service.log)} for service in self.services]
        login = {"url": self.login_url, "user": self.login_user, "password_file": str(self.login_file)}
        whole = {"is_healthy": self.is_healthy, "is_down": self.is_down, "other_ports": self.other_ports}
        return {**whole, "services": services, "login": login}


def read_status(settings: Settings) -> StackStatus:
    """Ask supervisord and every running service; bentos are listed after the services."""
    other_ports, settings = describe_other_ports(settings), read_running_settings(settings)
    try:
        states = {state.program: state for state in supervisor.program_states(settings)}
    except UnavailableError:
        states = {}
    with ThreadPoolExecutor() as pool:
        services = list(pool.map(lambda name: _service_status(settings, name, states.get(name)), SERVICES))
    bentos = [_bento_status(settings, state) for name, state in sorted(states.items()) if name not in SERVICES]
    login_file = settings.paths.secrets / "admin_password"
    return StackStatus(
        services=(*services, *bentos),
        is_down=is_down(settings),
        other_ports=other_ports,
        login_url=settings.airflow_link,
        login_user="admin",
        login_file=login_file,
    )


def _service_status(settings: Settings, name: str, state: supervisor.ProcessState | None) -> Status:
    service = SERVICES[name]
    if settings.stack == "external":
        fault = service.health(settings, MAX_HEARTBEAT_AGE_SECONDS)
    elif state is None or not state.is_running:
        fault = _why_not_running(state)
    else:
        fault = service.health(settings, state.uptime_seconds)
        if fault and state.uptime_seconds < _STARTS_WITHIN_SECONDS:
            fault = f"starting for {state.uptime_seconds} s: {fault}"
    return _status(settings, name, service.title, url=service.url(settings), state=state, fault=fault)


def _bento_status(settings: Settings, state: supervisor.ProcessState) -> Status:
    fault = "" if state.is_running else _why_not_running(state)
    model, _, version = state.program.removeprefix("bento__").rpartition("__v")
    url = f"{settings.gateway_url}/v1/models/{model}/metadata"
    return _status(settings, state.program, f"Bento {model} v{version}", url=url, state=state, fault=fault)


def _why_not_running(state: supervisor.ProcessState | None) -> str:
    if state is None:
        return DOWN
    # supervisord starts again what ended without being asked to.
    what = "restarting" if state.state in ("STARTING", "BACKOFF", "EXITED") else "not running"
    return f"{what}: {state.reason}" if state.reason else what


def _status(settings: Settings, name: str, title: str, *, url: str, state: supervisor.ProcessState | None, fault: str) -> Status:
    return Status(
        name=name,
        title=title,
        state=state.state if state else ("EXTERNAL" if settings.stack == "external" else "STOPPED"),
        is_healthy=not fault,
        reason=fault,
        url=url,
        pid=state.pid if state else 0,
        uptime_seconds=state.uptime_seconds if state else 0,
        log=settings.paths.logs / f"{name}.log",
    )
