"""A real stack for a test: the code of `perennial up`, on free ports, in a short temporary folder."""

import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from perennial.adapters.supervisor import remove_sockets
from perennial.config.settings import Settings
from perennial.stack.lifecycle import down, up
from perennial.stack.processes import find_processes
from support.stacks.environment import stack_environment
from support.stacks.prepared import copy_prepared
from support.waiting import wait_for


@dataclass(kw_only=True)
class Stack:
    """One stack in a folder of its own; `environment` leads any process to it."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return Settings.load(self.environment)

    def up(self, *services: str) -> Settings:
        """Start services and what they need, all for no name; what runs stays as it is."""
        up(self.settings, names=services)
        return self.settings

    def down(self) -> int:
        return down(self.settings)

    def kill(self) -> None:
        """End all of its processes at once, as in order it takes half a minute with Airflow; `up` starts it again."""
        wait_for(self._has_ended, what=f"the processes of {self.folder} end")
        remove_sockets(self.settings)

    def _has_ended(self) -> bool:
        """Whether no process is left; those that are get a signal. The supervisor first: it would start again what ends."""
        found = sorted(find_processes(self.settings), key=lambda each: _name(each) != "supervisord")
        for process in found:
            _end_at_once(process)
        return not found


StackFactory = Callable[..., Stack]


@contextmanager
def making_stacks() -> Iterator[StackFactory]:
    """A function that makes stacks, with `PERENNIAL_*` variables over the defaults; they end with the block.

    Each begins with a copy of the prepared one, unless it is to be made `from_nothing` or shares the folder of another.
    """
    stacks: list[Stack] = []

    def make(*, from_nothing: bool = False, **variables: str) -> Stack:
        folder = Path(tempfile.mkdtemp(prefix="pn", dir="/tmp"))
        stack = Stack(folder=folder, environment=stack_environment(folder) | variables)
        stacks.append(stack)
        if not from_nothing and "PERENNIAL_VAR" not in variables:
            copy_prepared(stack.settings.paths.var)
        return stack

    yield make
    # Ending is mostly waiting.
    with ThreadPoolExecutor() as pool:
        list(pool.map(_end, stacks))


def _end(stack: Stack) -> None:
    try:
        stack.kill()
    finally:
        shutil.rmtree(stack.folder)


def _end_at_once(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        # Postgres gives its shared memory back where it is asked.
        process.send_signal(signal.SIGQUIT if _name(process) == "postgres" else signal.SIGKILL)


def _name(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return process.name()
    return ""
