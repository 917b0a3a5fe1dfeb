"""The folder of one run of the tests: all that they and their child processes leave in passing."""

import os
import shutil
import tempfile
from pathlib import Path

import psutil

_PREFIX = "pn-tests-"


def make_run_folder(parent: Path) -> Path:
    """A new folder, named after this process; those of this user's runs that were killed, or failed, go first."""
    for left in parent.glob(f"{_PREFIX}*-*"):
        if left.lstat().st_uid == os.getuid() and not _is_running(left):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))


def _is_running(folder: Path) -> bool:
    pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
    return not pid.isdigit() or psutil.pid_exists(int(pid))
