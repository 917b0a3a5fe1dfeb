"""What can be told before anything starts: Python, disk, ports."""

import shutil
import socket
import sys
from collections.abc import Iterable

import psutil

from perennial.adapters import supervisor
from perennial.config.settings import Settings
from perennial.errors import StackError
from perennial.stack.services import Service

_MIN_FREE_BYTES = 1024**3
_PYTHONS = ((3, 11), (3, 12))


def check_python() -> None:
    if sys.version_info[:2] not in _PYTHONS:
        what = f"this is Python {sys.version_info.major}.{sys.version_info.minor}; Perennial runs on 3.11 and 3.12"
        raise StackError(what, "make the environment anew with one of them: make clean up PYTHON=python3.12")


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


def check_ports(settings: Settings, services: Iterable[Service]) -> None:
    """Every port of the services must be free.

    Raises
    ------
    StackError
        For the first that is not, with the setting that moves it and, where we may know, who has it.
    """
    for service in services:
        for setting in service.ports:
            port = getattr(settings, setting)
            if not is_free(settings.bind, port):
                what = f"{service.title} cannot listen on {settings.bind}:{port}: {_owner(port)} has it"
                raise StackError(what, f"end that, or set PERENNIAL_{setting.upper()} to a free port")


def check_bento_ports(settings: Settings) -> None:
    """supervisord dies of a taken port of a program it knows from before; say so first."""
    for program, host, port in supervisor.listening_programs(settings):
        if not is_free(host, port):
            what = f"{program} served on {host}:{port}, which {_owner(port)} has now"
            raise StackError(what, f"end that, or forget the program: rm {supervisor.conf_folder(settings) / program}.conf")


def is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port that is only cooling down after a connection is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _owner(port: int) -> str:
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return "another process"
    for connection in connections:
        if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN and connection.pid:
            try:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
            except psutil.Error:
                break
    return "another process"
