"""`perennial mlflow …`."""

import os
import sys
from pathlib import Path

import typer


def run(context: typer.Context) -> None:
    from perennial.config.settings import Settings
    from perennial.stack.environment import base_environment, mlflow_environment

    settings = Settings.load()
    command = str(Path(sys.executable).parent / "mlflow")
    os.execve(command, [command, *context.args], {**base_environment(settings), **mlflow_environment(settings)})
