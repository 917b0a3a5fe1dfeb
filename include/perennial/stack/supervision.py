"""supervisord's main file and its process."""

import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from perennial.adapters import supervisor
from perennial.config.settings import Settings
from perennial.errors import StackError
from perennial.stack.environment import STACK_MARK, base_environment, settings_environment, stack_id
from perennial.stack.services import Service
from perennial.stack.waiting import wait_until

_KEEPER = [sys.executable, "-m", "perennial.stack.keeper"]


def program_of(settings: Settings, service: Service) -> supervisor.Program:
    """A service as a program; `up` starts it when its needs are there.

    It holds only the settings that concern the service: supervisord restarts what has changed.
    """
    return supervisor.Program(
        name=service.name,
        command=[sys.executable, "-m", "perennial.stack.launch", service.name],
        log=settings.paths.logs / f"{service.name}.log",
        environment=settings_environment(settings, service.settings),
        directory=settings.project,
        stop_signal=service.stop_signal,
        stop_seconds=service.stop_seconds,
        autostart=False,
    )


def configuration_path(settings: Settings) -> Path:
    return settings.paths.supervisor / "supervisord.conf"


def write_configuration(settings: Settings, services: Iterable[Service], *, keep: Collection[str] = ()) -> Path:
    """Write supervisord's main file; the programs of `conf.d` are included, and those of `keep` stay as they were written."""
    for needed in (settings.paths.supervisor, supervisor.conf_folder(settings), settings.paths.logs):
        needed.mkdir(parents=True, exist_ok=True)
    supervisor.make_runtime_folder(settings)
    path = configuration_path(settings)
    kept = {name: text for name, text in read_programs(settings).items() if name in keep}
    programs = [kept.get(service.name) or supervisor.render_program(program_of(settings, service)) for service in services]
    path.write_text("\n".join([_head(settings), *programs]))
    return path


def read_programs(settings: Settings) -> dict[str, str]:
    """The section of each program in supervisord's main file as it is; none where it was never written."""
    path = configuration_path(settings)
    sections = re.split(r"^(?=\[)", path.read_text() if path.exists() else "", flags=re.MULTILINE)
    named = ((re.match(r"\[program:(.+)\]", section), section) for section in sections)
    return {match[1]: section.rstrip("\n") + "\n" for match, section in named if match}


def start_supervisor(settings: Settings, configuration: Path) -> None:
    """Start supervisord, which detaches itself, and wait until it answers.

    Raises
    ------
    StackError
        When it does not start, with what it said.
    """
    environment = {**base_environment(settings), STACK_MARK: stack_id(settings)}
    command = [*_KEEPER, "-c", str(configuration)]
    done = subprocess.run(
        command, env=environment, cwd=settings.project, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    log = settings.paths.logs / "supervisord.log"
    if done.returncode != 0 or not wait_until(lambda: supervisor.is_answering(settings), seconds=20, interval=0.05):
        raise StackError(f"supervisord does not start:\n{done.stderr.strip() or tail(log)}", f"see {log}")


def exec_supervisor(settings: Settings) -> None:
    """Become a supervisord that keeps the programs of `conf.d` only: the container that serves models."""
    configuration = write_configuration(settings, ())
    os.execve(_KEEPER[0], [*_KEEPER, "--nodaemon", "-c", str(configuration)], base_environment(settings))


def tail(log: Path, n_lines: int = 8) -> str:
    """The last lines of a log, indented, to stand in a message."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in lines[-n_lines:])


def _head(settings: Settings) -> str:
    logs, folder = settings.paths.logs, settings.paths.supervisor
    return f"""\
; Written by `perennial up`; changes are lost.
[unix_http_server]
file={supervisor.socket_path(settings)}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisord]
logfile={logs / "supervisord.log"}
pidfile={folder / "supervisord.pid"}
childlogdir={logs}

[include]
files=conf.d/*.conf
"""
