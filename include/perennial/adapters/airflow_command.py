"""Airflow's own command line, run to its end in a process of its own: the library never imports Airflow."""

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

from psycopg2 import sql

from perennial.config.settings import Settings
from perennial.errors import StackError
from perennial.postgres import AIRFLOW_METADATA, connect, translated

_LINES_OF_ERROR = 15
# What grows with every run. The Dags themselves and their versions in use are never old.
_TABLES = (
    "asset_event", "callback", "dag_run", "dag_version", "deadline", "import_error", "job", "log", "revoked_token",
    "task_instance", "task_instance_history", "task_reschedule", "trigger", "xcom",
)  # fmt: skip
_FOUND = re.compile(r"Checking table (\w+)\nFound (\d+) rows meeting deletion criteria")
# Where `airflow db clean` puts rows on their way out.
_ARCHIVE = r"\_airflow\_deleted\_\_%"


def run_airflow(arguments: Sequence[str], *, environment: Mapping[str, str], folder: Path) -> str:
    """Run one of Airflow's commands; returns what it printed.

    Raises
    ------
    StackError
        When it fails, with the end of what it said.
    """
    command = [str(Path(sys.executable).parent / "airflow"), *arguments]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_LINES_OF_ERROR:])
        raise StackError(f"airflow {' '.join(arguments)} failed with exit code {done.returncode}:\n{said}")
    return done.stdout


def clean_metadata(settings: Settings, *, before: datetime, environment: Mapping[str, str], dry_run: bool) -> dict[str, int]:
    """Rows by table that Airflow finds to be older than an instant; without `dry_run` they are removed.

    What hangs on a removed row goes with it. The last scheduled run of each Dag stays, whatever its age.
    """
    options = ["--clean-before-timestamp", before.isoformat(), "--tables", ",".join(_TABLES), "--error-on-cleanup-failure"]
    how = ["--dry-run"] if dry_run else ["--skip-archive", "--yes"]
    ours = {
        "AIRFLOW_HOME": str(settings.paths.airflow),
        "AIRFLOW_CONFIG": str(settings.project / "airflow.cfg"),
        # A task is given no way to the database, and this is no task's business but Airflow's.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": _url(settings).replace("postgresql://", "postgresql+psycopg2://"),
    }
    said = run_airflow(["db", "clean", *options, *how], environment={**environment, **ours}, folder=settings.project)
    if not dry_run:
        _drop_archives(settings)
    return {table: int(n) for table, n in _FOUND.findall(said) if int(n)}


def read_metadata_bytes(settings: Settings) -> int:
    """Size of Airflow's database on disk."""
    return int(str(_fetch(settings, "SELECT pg_database_size(current_database())")[0][0]))


def read_oldest_unfinished_run(settings: Settings) -> datetime | None:
    """Since when the Dag run has been there that is not finished the longest; None where all are."""
    unfinished = "SELECT min(coalesce(start_date, queued_at, run_after)) FROM dag_run WHERE state IN ('queued', 'running')"
    oldest = _fetch(settings, unfinished)[0][0]
    return oldest if isinstance(oldest, datetime) else None


def _drop_archives(settings: Settings) -> None:
    """Drop what a removal that was killed has left of the rows."""
    for (name,) in _fetch(settings, "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE %s", _ARCHIVE):
        _fetch(settings, sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(str(name))))


def _fetch(settings: Settings, statement: str | sql.Composable, *values: object) -> list[tuple[object, ...]]:
    with translated(AIRFLOW_METADATA), closing(connect(_url(settings), AIRFLOW_METADATA)) as opened:
        with opened, opened.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []


def _url(settings: Settings) -> str:
    return settings.database_url("airflow")
