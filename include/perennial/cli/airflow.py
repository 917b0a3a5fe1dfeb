"""`perennial airflow …`."""

import os
import sys
from pathlib import Path

import typer


def run(context: typer.Context) -> None:
    from perennial.config.settings import Settings
    from perennial.stack.environment import airflow_environment, base_environment

    settings = Settings.load()
    command = str(Path(sys.executable).parent / "airflow")
    os.execve(command, [command, *context.args], {**base_environment(settings), **airflow_environment(settings)})
