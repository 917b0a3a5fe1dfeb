"""Kills a writer of the data registry before things that it does, one process per kill, and lets the next one finish.

A program of its own, as it forks: `python -m support.data.registry_kills TEMPLATE FOLDER EVERY` copies the registry TEMPLATE
once per kill into FOLDER, and prints what each writer was about to do.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from dvc.repo import Repo

from support.data.data_registry import keep

SECOND = "parcels/20130201T000000Z__20130301T000000Z"


def main(template: Path, folder: Path, every: int) -> None:
    """Kill a writer before the first thing that leaves a trace, then before each so many-th after it, until one comes through."""
    killed = True
    while killed:
        number = len(list(folder.iterdir()))
        copy = folder / f"{number:02}" / "registry"
        shutil.copytree(template, copy)
        killed = run_apart(lambda copy=copy, number=number: keep_until(copy, number * every)) == -signal.SIGKILL
        assert run_apart(lambda copy=copy: finish(copy)) == 0, f"after kill {number}"
    shutil.rmtree(copy.parent)  # the writer that came to its end


def keep_until(registry: Path, number: int) -> None:
    """Keep a second data set, and die before doing the `number`th thing that leaves a trace."""
    left = [number]

    def dying(done: Callable[..., object], name: str) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            if left[0] == 0:
                print(name, *map(str, arguments[:1]), flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return done(*arguments, **options)

        return call

    for module, names in ((subprocess, ("run",)), (shutil, ("copyfile",)), (os, ("replace", "rename", "link", "unlink"))):
        for name in names:
            setattr(module, name, dying(getattr(module, name), name))
    keep(registry, b"more rows", name=SECOND)


def finish(registry: Path) -> None:
    keep(registry, b"more rows", name=SECOND)
    with Repo(str(registry)) as repo:
        assert repo.status() == {}, repo.status()


def run_apart(action: Callable[[], None]) -> int:
    """Exit code of a child that does it; of one that was killed, the signal's number below zero."""
    if (child := os.fork()) == 0:
        try:
            action()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
