"""What can be told before anything starts: Python, disk, ports."""

import shutil
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

import psutil

from perennial.adapters.ports import is_free
from perennial.config.settings import Settings
from perennial.errors import StackError
from perennial.stack.environment import STACK_MARK
from perennial.stack.services import Service

_MIN_FREE_BYTES = 1024**3
_PYTHONS = ((3, 11), (3, 12), (3, 13))
_STACK = " of the Perennial stack in "


def check_python() -> None:
    if sys.version_info[:2] not in _PYTHONS:
        what = f"this is Python {sys.version_info.major}.{sys.version_info.minor}; Perennial runs on 3.11, 3.12 and 3.13"
        raise StackError(what, "make a new environment with one of them: make clean up PYTHON=python3.12")


def check_disk(settings: Settings, *, min_free_bytes: int = _MIN_FREE_BYTES) -> None:
    """There must be room for the databases and logs to start with.

    Raises
    ------
    StackError
        When the folder cannot be written, or its disk is nearly full.
    """
    var = settings.paths.var
    try:
        var.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(var).free
    except OSError as error:
        raise StackError(f"cannot write to {var}: {error}", "set PERENNIAL_VAR to a folder of your own") from error
    if free < min_free_bytes:
        what = f"the disk of {var} has {free / 1024**2:.0f} MiB left, of at least {min_free_bytes / 1024**2:.0f} MiB"
        raise StackError(what, "make room, or set PERENNIAL_VAR to a folder on another disk")


def check_ports(settings: Settings, services: Iterable[Service], *, held: Collection[int] = ()) -> None:
    """Every port of the services must be free, except those that are held by services about to give them up.

    Raises
    ------
    StackError
        Naming all that are not, with the settings that move them and, where we may know, who has them.
    """
    wanted = [(service, setting, getattr(settings, setting)) for service in services for setting in service.ports]
    busy = [each for each in wanted if each[2] not in held and not is_free(settings.bind, each[2])]
    if not busy:
        return
    owners = {port: _owner(port) for _, _, port in busy}
    what = [f"{service.title} cannot listen on {settings.bind}:{port}: {owners[port]} has it" for service, _, port in busy]
    variables = ", ".join(f"PERENNIAL_{setting.upper()}" for _, setting, _ in busy)
    end = "stop that stack: perennial down, in its folder" if all(_STACK in owner for owner in owners.values()) else "end that"
    raise StackError("\n".join(what), f"{end}, or set {variables} to {'a free port' if len(busy) == 1 else 'free ports'}")


def _owner(port: int) -> str:
    try:
        connections = psutil.net_connections("tcp")
        for connection in connections:
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN and connection.pid:
                process = psutil.Process(connection.pid)
                return f"process {connection.pid} ({process.name()}){_stack_of(process)}"
    except psutil.Error:
        pass
    return "another process"


def _stack_of(process: psutil.Process) -> str:
    """The stack that a process belongs to; Postgres writes over its own environment, its supervisor does not."""
    for each in (process, *process.parents()):
        try:
            environment = each.environ()
        except psutil.Error:
            continue
        if STACK_MARK in environment:
            return f"{_STACK}{Path(environment.get('PERENNIAL_PROJECT', '')) / environment.get('PERENNIAL_VAR', '')}"
    return ""
