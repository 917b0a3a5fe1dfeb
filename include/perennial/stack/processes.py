"""The processes of one stack, found by the mark in their environment: also those whose supervisor is gone."""

import os
from collections.abc import Iterable, Iterator

import psutil

from perennial.config.settings import Settings
from perennial.stack.environment import SERVICE_MARK, STACK_MARK, stack_id
from perennial.stack.postgres import data_folder

_PATIENCE_SECONDS = 10.0


def find_processes(settings: Settings, *, service: str | None = None) -> list[psutil.Process]:
    """Processes of this stack, or of one of its services, except the caller and its ancestors."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [process for process in psutil.process_iter() if process.pid not in own and _is_ours(process, settings, service)]


def end_leftovers(settings: Settings, *, service: str) -> int:
    """End what an earlier process of a service left behind when it was killed, such as its workers."""
    if STACK_MARK not in os.environ:
        return 0
    return end_processes(find_processes(settings, service=service))


def end_processes(processes: Iterable[psutil.Process]) -> int:
    """Ask processes to end, then kill those that did not; returns how many there were."""
    processes = list(processes)
    for process in _existing(processes):
        process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=_PATIENCE_SECONDS)
    for process in _existing(alive):
        process.kill()
    psutil.wait_procs(alive, timeout=_PATIENCE_SECONDS)
    return len(processes)


def _is_ours(process: psutil.Process, settings: Settings, service: str | None) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # Postgres writes its title over the environment that the kernel shows; but it works in its data folder.
        if service in (None, "postgres") and process.name() == "postgres":
            return bool(process.cwd() == str(data_folder(settings)))
        environment = process.environ()
    except (psutil.Error, OSError):
        return False
    is_of_stack = environment.get(STACK_MARK) == stack_id(settings)
    return is_of_stack and service in (None, environment.get(SERVICE_MARK))


def _existing(processes: Iterable[psutil.Process]) -> Iterator[psutil.Process]:
    for process in processes:
        try:
            if process.is_running():
                yield process
        except psutil.Error:
            continue
