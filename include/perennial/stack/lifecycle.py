"""Starting and stopping the stack."""

import fcntl
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from perennial.adapters import supervisor
from perennial.adapters.ports import is_free
from perennial.config.settings import Settings
from perennial.errors import StackError, UnavailableError
from perennial.stack import preflight
from perennial.stack.health import MAX_HEARTBEAT_AGE_SECONDS
from perennial.stack.processes import end_processes, find_processes
from perennial.stack.running import describe_other_ports, read_running_settings
from perennial.stack.services import SERVICES, Service, Step, with_needs
from perennial.stack.supervision import start_supervisor, tail, write_configuration
from perennial.stack.waiting import wait_until

# Far more than any service takes: on a busy machine Airflow's API server was seen to take two minutes. What ends again and
# again does not come up by waiting.
_HEALTHY_WITHIN_SECONDS = 600.0
_MAX_ENDS = 5

# Called with the title of a service or step, what became of it, and the seconds it took; none while it is not done.
Report = Callable[[str, str, float | None], None]


def _silent(*_: object) -> None:
    pass


def up(settings: Settings, *, names: tuple[str, ...] = (), report: Report = _silent) -> None:
    """Start the named services and what they need, all of them for no name.

    What is healthy already is left alone, unless settings of its own have changed.

    Raises
    ------
    StackError
        When something is in the way or a service does not get healthy; what runs by then keeps running.
    """
    preflight.check_python()
    if settings.stack == "external":
        _wait_for_external(settings, with_needs(names), report)
        return
    preflight.check_disk(settings)
    with _alone(settings):
        also = _ensure_supervisor(settings, names, report)
        units = with_needs((*names, *also) if names else ())
        _Start(settings=settings, units=units, report=report).run()
        if "gateway" in (wanted := {unit.name for unit in units}) and "champions" not in wanted:
            _lead_callers(settings, report)


def down(settings: Settings, *, report: Report = _silent) -> int:
    """Stop everything of this stack, bentos included; returns how many processes had to be ended by hand."""
    if settings.stack == "external":
        raise StackError("the services of this stack are kept by somebody else", "stop them there, such as: docker compose down")
    if not settings.paths.supervisor.exists():
        return 0
    with _alone(settings):
        began = time.monotonic()
        try:
            _stop_services(settings)
            pid = supervisor.shut_down(settings)
            wait_until(lambda: not psutil.pid_exists(pid), seconds=60)
            report("supervisord", "stopped", time.monotonic() - began)
        except UnavailableError:
            pass
        leftovers = end_processes(find_processes(settings))
        supervisor.remove_sockets(settings)
        return leftovers


def _wait_for_external(settings: Settings, units: Iterable[Service | Step], report: Report) -> None:
    for service in (unit for unit in units if isinstance(unit, Service)):
        began = time.monotonic()

        def fault(service: Service = service) -> str:
            return service.health(settings, MAX_HEARTBEAT_AGE_SECONDS)

        if not wait_until(lambda: not fault(), seconds=_HEALTHY_WITHIN_SECONDS):
            raise StackError(
                f"{service.title} is not healthy: {fault()}", "see its log where it runs, such as: docker compose logs"
            )
        report(service.title, "healthy", time.monotonic() - began)


def _stop_services(settings: Settings) -> None:
    """All at once but Postgres, which the others write to until their end and which supervisord stops last."""
    others = {state.program for state in supervisor.program_states(settings)} - {"postgres"}
    for program in others:
        supervisor.stop_program(settings, program, wait=False)

    def are_stopped() -> bool:
        return not any(state.pid for state in supervisor.program_states(settings) if state.program in others)

    wait_until(are_stopped, seconds=60)


def _ensure_supervisor(settings: Settings, names: tuple[str, ...], report: Report) -> list[str]:
    """One supervisord that knows today's services: the running one told of changes, or a new one.

    Returns
    -------
    list of str
        What has to be done whatever was asked for: the step that finds a port for bentos that lost theirs.
    """
    if supervisor.is_answering(settings):
        _take_over_settings(settings, {unit.name for unit in with_needs(names)}, report)
        return []
    began = time.monotonic()
    if orphans := end_processes(find_processes(settings)):
        report(f"{orphans} processes of a supervisor that died", "ended", time.monotonic() - began)
    # Others than those wanted check theirs when they are: another stack may have them.
    preflight.check_ports(settings, (unit for unit in with_needs(names) if isinstance(unit, Service)))
    forgotten = _forget_bentos_without_port(settings, report)
    supervisor.remove_sockets(settings)
    start_supervisor(settings, write_configuration(settings, SERVICES.values()))
    return ["champions"] if forgotten else []


def _take_over_settings(settings: Settings, wanted: Collection[str], report: Report) -> None:
    """Stop those wanted whose own settings have changed; others that run stay as they are."""
    running = {state.program for state in supervisor.program_states(settings) if state.pid and state.program in SERVICES}
    _check_new_ports(settings, wanted, running & set(wanted))
    write_configuration(settings, SERVICES.values(), keep=running - set(wanted))
    for name in supervisor.reload_programs(settings):
        if name in running:
            report(SERVICES[name].title, "restarting with new settings", None)


def _lead_callers(settings: Settings, report: Report) -> None:
    """Who calls which model, and with which key, as the tables say: the step `champions` for a gateway by itself.

    While Postgres is away, models stay where they are, and nobody is let in who might need a key by now.
    """
    from perennial.adapters.state import StateStore
    from perennial.steps.serving import write_gateway

    began = time.monotonic()
    if SERVICES["postgres"].health(settings, MAX_HEARTBEAT_AGE_SECONDS):
        SERVICES["gateway"].prepare(settings)
        return
    with StateStore(settings.state_url) as state:
        write_gateway(settings, state, decides_on_keys=True)
    report("Routes and keys", "done", time.monotonic() - began)


def _check_new_ports(settings: Settings, wanted: Collection[str], running: Collection[str]) -> None:
    """Services that run are not stopped for settings with which they could not start again."""
    if not (other := describe_other_ports(settings)):
        return
    before = read_running_settings(settings)
    held = {getattr(before, setting) for name in running for setting in SERVICES[name].ports}
    try:
        preflight.check_ports(settings, (service for name, service in SERVICES.items() if name in wanted), held=held)
    except StackError as error:
        what = f"this stack runs with other ports and cannot take over the new ones; nothing was changed\n{error.what}"
        raise StackError(what, f"keep those it has: {other}\n  → or {error.next_step}") from error


def _forget_bentos_without_port(settings: Settings, report: Report) -> list[str]:
    """supervisord dies of a taken port of a program it knows from before; the step `champions` starts it on a free one."""
    forgotten = []
    for program, host, port in supervisor.listening_programs(settings):
        if not is_free(host, port):
            supervisor.forget_program(settings, program)
            report(program, f"moving: port {port} is taken", None)
            forgotten.append(program)
    return forgotten


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Two people who start or stop the same stack take turns."""
    settings.paths.supervisor.mkdir(parents=True, exist_ok=True)
    with (settings.paths.supervisor / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(slots=True, kw_only=True)
class _Start:
    """One start of several units, each as soon as its needs are done."""

    settings: Settings
    units: list[Service | Step]
    report: Report
    began: dict[str, float] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def run(self) -> None:
        with ThreadPoolExecutor(max_workers=len(self.units)) as pool:
            running: dict[str, Future[str]] = {}
            while len(self.done) < len(self.units):
                for unit in self.units:
                    if unit.name not in running and self.done.issuperset(unit.needs):
                        self.began[unit.name] = time.monotonic()
                        running[unit.name] = pool.submit(self._bring_up, unit)
                self._collect(running)
                time.sleep(0.05)

    def _collect(self, running: dict[str, "Future[str]"]) -> None:
        for unit in self.units:
            if unit.name in running and unit.name not in self.done and running[unit.name].done():
                outcome = running[unit.name].result()
                self.done.add(unit.name)
                self.report(unit.title, outcome, time.monotonic() - self.began[unit.name])

    def _bring_up(self, unit: Service | Step) -> str:
        if isinstance(unit, Step):
            unit.run(self.settings)
            return "done"
        if not self._fault(unit):
            return "running already"
        unit.prepare(self.settings)
        if not self._is_running(unit):
            preflight.check_ports(self.settings, [unit])
            supervisor.start_program(self.settings, unit.name)
        self._wait_until_healthy(unit)
        return "healthy"

    def _wait_until_healthy(self, unit: Service) -> None:
        pids: set[int] = set()

        def is_settled() -> bool:
            pids.update(state.pid for state in supervisor.program_states(self.settings, unit.name) if state.pid)
            return len(pids) > _MAX_ENDS or not self._fault(unit)

        wait_until(is_settled, seconds=_HEALTHY_WITHIN_SECONDS)
        if fault := self._fault(unit):
            log = self.settings.paths.logs / f"{unit.name}.log"
            raise StackError(f"{unit.title} does not get healthy: {fault}\n{tail(log)}", f"see {log}")

    def _is_running(self, unit: Service) -> bool:
        return any(state.pid for state in supervisor.program_states(self.settings, unit.name))

    def _fault(self, unit: Service) -> str:
        states = supervisor.program_states(self.settings, unit.name)
        if not states or not states[0].is_running:
            return states[0].reason or states[0].state.lower() if states else "supervisord does not know it"
        return unit.health(self.settings, states[0].uptime_seconds)
