"""supervisord, the keeper of every process of the embedded stack: its folders and its RPC.

The services of the stack stand in its main file; each bento is a program group of its own in a file under `conf.d`,
added and removed while everything else runs. Files in `conf.d` survive `perennial down`, so a model that served before
serves again after the next `perennial up`.
"""

import contextlib
import hashlib
import os
import re
import socket
import stat
import time
import xmlrpc.client
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perennial.adapters.supervisor.programs import Program, render_program
from perennial.config.settings import Settings
from perennial.errors import StackError, UnavailableError

__all__ = [
    "ProcessState",
    "Program",
    "add_program",
    "conf_folder",
    "forget_program",
    "is_answering",
    "listening_programs",
    "make_runtime_folder",
    "program_states",
    "reload_programs",
    "remove_program",
    "remove_sockets",
    "render_program",
    "runtime_folder",
    "shut_down",
    "socket_path",
    "start_program",
    "stop_program",
]

# A Unix socket's path may have 107 bytes on Linux and 103 on macOS; supervisord binds it under a longer temporary name.
_MAX_SOCKET_PATH = 90
# From supervisor.xmlrpc.Faults, which is costly to import.
_BAD_NAME, _ALREADY_STARTED, _NOT_RUNNING, _ALREADY_ADDED = 10, 60, 70, 90
_LISTENING_WITHIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """What supervisord says of one process. `pid` and `uptime_seconds` are 0 unless it runs."""

    name: str
    program: str
    state: str
    pid: int
    uptime_seconds: int
    reason: str

    @property
    def is_running(self) -> bool:
        return self.state == "RUNNING"


def runtime_folder(settings: Settings) -> Path:
    """Folder for Unix sockets: `var/supervisor`, or a short one under /tmp where that path is too long for a socket."""
    folder = settings.paths.supervisor
    if len(os.fsencode(folder / "supervisor.sock")) <= _MAX_SOCKET_PATH:
        return folder
    digest = hashlib.sha256(os.fsencode(settings.paths.var)).hexdigest()[:12]
    return Path(f"/tmp/perennial-{os.getuid()}-{digest}")


def make_runtime_folder(settings: Settings) -> Path:
    """Create `runtime_folder` for the owner only.

    Raises
    ------
    StackError
        When somebody else owns a folder of that name: its sockets could not be trusted.
    """
    folder = runtime_folder(settings)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = folder.lstat()
    if info.st_uid != os.getuid() or not stat.S_ISDIR(info.st_mode):
        raise StackError(
            f"{folder} belongs to user {info.st_uid}", f"remove it, or set PERENNIAL_VAR to another folder than {settings.var}"
        )
    return folder


def remove_sockets(settings: Settings) -> None:
    """Remove what processes that are gone listened on, and the short folder if there is one."""
    folder = runtime_folder(settings)
    for path in folder.glob("*.sock*"):
        path.unlink(missing_ok=True)
    if folder != settings.paths.supervisor and folder.exists():
        folder.rmdir()


def socket_path(settings: Settings) -> Path:
    return runtime_folder(settings) / "supervisor.sock"


def conf_folder(settings: Settings) -> Path:
    return settings.paths.supervisor / "conf.d"


def add_program(settings: Settings, program: Program) -> None:
    """Keep a program running from now on, across restarts of the stack. Adding the same program again changes nothing.

    When this returns, a program that listens takes connections; they wait until one of its processes accepts them.

    Raises
    ------
    StackError
        When its port is taken by somebody else, or supervisord refuses its definition.
    UnavailableError
        When supervisord does not answer.
    """
    text, path = render_program(program), conf_folder(settings) / f"{program.name}.conf"
    if path.exists() and path.read_text() == text and program_states(settings, program.name):
        return
    remove_program(settings, program.name)
    _check_port_is_free(program)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.replace(path)
    with _rpc(settings, tolerate={_ALREADY_ADDED}) as supervisor:
        supervisor.reloadConfig()
        supervisor.addProcessGroup(program.name)
    _wait_until_listening(settings, program)


def remove_program(settings: Settings, name: str) -> None:
    """Stop a program and forget it; nothing happens when it is not there. Waits until its processes have ended."""
    forget_program(settings, name)
    with _rpc(settings, tolerate={_BAD_NAME}) as supervisor:
        supervisor.stopProcessGroup(name)
        supervisor.removeProcessGroup(name)


def forget_program(settings: Settings, name: str) -> None:
    """Leave a program out of the next start of supervisord."""
    (conf_folder(settings) / f"{name}.conf").unlink(missing_ok=True)


def start_program(settings: Settings, name: str) -> None:
    with _rpc(settings, tolerate={_ALREADY_STARTED}) as supervisor:
        supervisor.startProcessGroup(name, False)


def stop_program(settings: Settings, name: str, *, wait: bool = True) -> None:
    """Stop a program's processes and, if asked, wait for their end; the program stays known."""
    with _rpc(settings, tolerate={_NOT_RUNNING}) as supervisor:
        supervisor.stopProcessGroup(name, wait)


def reload_programs(settings: Settings) -> list[str]:
    """Have supervisord read its files again: changed programs are stopped and known anew, gone ones forgotten.

    Returns
    -------
    list of str
        Names of the programs that were changed or added; those that start by themselves are starting.
    """
    with _rpc(settings) as supervisor:
        ((added, changed, removed),) = supervisor.reloadConfig()
    for name in (*changed, *removed):
        stop_program(settings, name)
        with _rpc(settings) as supervisor:
            supervisor.removeProcessGroup(name)
    for name in (*changed, *added):
        with _rpc(settings, tolerate={_ALREADY_ADDED}) as supervisor:
            supervisor.addProcessGroup(name)
    return [*changed, *added]


def listening_programs(settings: Settings) -> Iterator[tuple[str, str, int]]:
    """Name, host and port of the programs in `conf.d` that listen."""
    for path in sorted(conf_folder(settings).glob("*.conf")):
        for host, port in re.findall(r"^socket=tcp://(.+):(\d+)$", path.read_text(), flags=re.MULTILINE):
            yield path.stem, host, int(port)


def program_states(settings: Settings, name: str | None = None) -> list[ProcessState]:
    """State of every process, or of one program's; holders of listening sockets are left out.

    Returns
    -------
    list of ProcessState
        Empty for a program that supervisord does not know.
    """
    with _rpc(settings) as supervisor:
        infos = supervisor.getAllProcessInfo()
    now = time.time()
    return [_process_state(info, now=now) for info in infos if not _is_holder(info) and name in (None, info["group"])]


def is_answering(settings: Settings) -> bool:
    """Whether a supervisord of this stack runs and answers."""
    try:
        with _rpc(settings) as supervisor:
            return bool(supervisor.getPID())
    except UnavailableError:
        return False


def shut_down(settings: Settings) -> int:
    """Ask supervisord to stop everything and itself, without waiting; returns its process id."""
    with _rpc(settings) as supervisor:
        pid = int(supervisor.getPID())
        supervisor.shutdown()
    return pid


def _wait_until_listening(settings: Settings, program: Program) -> None:
    """supervisord opens the socket when it starts the first process, up to a second later."""
    deadline = time.monotonic() + _LISTENING_WITHIN_SECONDS
    while program.listen and program.autostart and time.monotonic() < deadline:
        with _rpc(settings) as supervisor:
            if supervisor.getProcessInfo(f"{program.name}:{program.name}_0")["pid"]:
                return
        time.sleep(0.05)


def _process_state(info: Mapping[str, object], *, now: float) -> ProcessState:
    is_running = info["statename"] == "RUNNING"
    started_at = float(str(info["start"]))
    return ProcessState(
        name=str(info["name"]),
        program=str(info["group"]),
        state=str(info["statename"]),
        pid=int(str(info["pid"])),
        uptime_seconds=int(now - started_at) if is_running else 0,
        reason=str(info["spawnerr"]),
    )


def _is_holder(info: Mapping[str, object]) -> bool:
    return info["name"] == f"{info['group']}_0"


@contextlib.contextmanager
def _rpc(settings: Settings, *, tolerate: Collection[int] = ()) -> Iterator[Any]:
    from supervisor.xmlrpc import SupervisorTransport

    path = socket_path(settings)
    transport = SupervisorTransport(None, None, f"unix://{path}")
    proxy = xmlrpc.client.ServerProxy("http://localhost", transport=transport)
    try:
        yield proxy.supervisor
    except xmlrpc.client.Fault as fault:
        if fault.faultCode not in tolerate:
            raise StackError(
                f"supervisord refused: {fault.faultString}", f"see {settings.paths.logs / 'supervisord.log'}"
            ) from fault
    except (OSError, xmlrpc.client.ProtocolError) as error:
        raise UnavailableError(f"supervisord does not answer at {path}: {error}", "start the stack: perennial up") from error
    finally:
        transport.close()


def _check_port_is_free(program: Program) -> None:
    """supervisord names no port in its answer, and would not survive its own next start."""
    if not program.listen:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(program.listen)
        except OSError as error:
            what = f"{program.name} cannot listen on {program.listen[0]}:{program.listen[1]}: {error.strerror}"
            raise StackError(what, "set PERENNIAL_BENTO_PORTS to ports that are free") from error
