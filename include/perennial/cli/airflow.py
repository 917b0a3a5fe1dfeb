"""`perennial airflow …`."""

import os
import sys
from pathlib import Path

import typer

# Nobody asked for a drawing; `dags show` still says what it lacks.
_QUIET = {"PYTHONWARNINGS": "ignore:Could not import graphviz"}
# What the command answers without the stack.
_STANDS_ALONE = frozenset({"--help", "-h", "--version", "version"})


def run(context: typer.Context) -> None:
    from perennial.config.settings import Settings
    from perennial.stack.environment import airflow_environment, base_environment
    from perennial.stack.running import require

    settings = Settings.load()
    if not _STANDS_ALONE.intersection(context.args):
        require(settings, "postgres")
    command = str(Path(sys.executable).parent / "airflow")
    os.execve(command, [command, *context.args], {**base_environment(settings), **airflow_environment(settings), **_QUIET})
