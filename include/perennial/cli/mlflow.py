"""`perennial mlflow …`."""

import os
import sys
from pathlib import Path

import typer

# What the command answers without the stack.
_STANDS_ALONE = frozenset({"--help", "--version"})


def run(context: typer.Context) -> None:
    from perennial.config.settings import Settings
    from perennial.stack.environment import base_environment, mlflow_environment
    from perennial.stack.running import require

    settings = Settings.load()
    if not _STANDS_ALONE.intersection(context.args):
        require(settings, "mlflow")
    command = str(Path(sys.executable).parent / "mlflow")
    os.execve(command, [command, *context.args], {**base_environment(settings), **mlflow_environment(settings)})
