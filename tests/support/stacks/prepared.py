"""A stack that was prepared once and stopped: databases, migrations and secrets, which other stacks begin with as a copy.

A fresh cluster with Airflow's and MLflow's tables takes 20 to 30 seconds, its copy one. It is made again when the lock, a
migration or the code that makes it changes. `test_stack_copies.py` holds a copy against the fresh one, `test_stack_compose.py`
against one that the Compose file makes from nothing.
"""

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perennial.config.settings import Settings
from perennial.stack.lifecycle import down, up
from perennial.stack.postgres import connect
from support.stacks.contents import read_contents
from support.stacks.environment import stack_environment
from support.stacks.projects import PROJECT

CACHE = PROJECT / ".cache" / "stacks"
# What the stack held when it was fresh, in the copy's folder.
FRESH = "fresh.json"
# What of a stopped stack belongs to no place and no port.
_KEPT = ("airflow", "postgres", "secrets")
# Each stack has its own: one that was led to another's services is refused.
_OWN_SECRETS = ("admin_password", "api_secret_key", "jwt_secret")
_MADE_BY = (
    "requirements.txt",
    "airflow.cfg",
    "sql/migrations/*.sql",
    "include/perennial/config/settings.py",
    "include/perennial/stack/*.py",
    "include/perennial/adapters/airflow_command.py",
    "include/perennial/adapters/supervisor/*.py",
    "tests/support/stacks/*.py",
)


def copy_prepared(var: Path) -> None:
    """Make the folder of a stack that never ran."""
    var.mkdir(parents=True)
    with _alone():
        # Ownership goes along: Postgres's files belong to an unprivileged user where we are root.
        subprocess.run(["cp", "--archive", "--reflink=auto", f"{_prepare()}/.", str(var)], check=True)


def _prepare() -> Path:
    """Folder of the prepared stack, made unless it is there."""
    wanted = CACHE / _digest()
    if not wanted.exists():
        for outdated in (path for path in CACHE.iterdir() if path.is_dir()):
            shutil.rmtree(outdated)
        _make(wanted)
    return wanted


def _digest() -> str:
    files = sorted(path for pattern in _MADE_BY for path in PROJECT.glob(pattern))
    made_by = [sys.version.encode(), *(path.name.encode() + path.read_bytes() for path in files)]
    return hashlib.sha256(b"\0".join(made_by)).hexdigest()[:16]


def _make(wanted: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="pn", dir="/tmp") as folder:
        settings = Settings.load(stack_environment(Path(folder)))
        try:
            up(settings, names=("airflow-metadata", "mlflow"))
            contents = json.dumps(read_contents(settings))
            # It names the folder of this stack; a server that finds no experiment makes it again.
            with connect(settings, "mlflow", role="mlflow") as connection, connection.cursor() as cursor:
                cursor.execute("DELETE FROM experiments")
            # Commits do not wait for the disk: tests kill servers, not machines.
            with connect(settings, "postgres") as connection, connection.cursor() as cursor:
                cursor.execute("ALTER SYSTEM SET fsync = off")
        finally:
            down(settings)
        unfinished = wanted.with_name(f".{wanted.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for name in _KEPT:
            subprocess.run(["cp", "--archive", str(settings.paths.var / name), str(unfinished)], check=True)
        (unfinished / FRESH).write_text(contents)
        for name in _OWN_SECRETS:
            (unfinished / settings.paths.secrets.name / name).unlink()
    unfinished.rename(wanted)


@contextmanager
def _alone() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
