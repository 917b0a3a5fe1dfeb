"""A copy of the project without its models, for stacks with models of a test's own."""

import shutil
from pathlib import Path

PROJECT = Path(__file__).parents[3]


def make_project(folder: Path) -> Path:
    """What a stack needs of the project, in `folder`; the caller adds specs to `include/models`."""
    for name in (".env", "airflow.cfg"):
        shutil.copy(PROJECT / name, folder / name)
    for name in ("bentos", "dags", "include/expectations", "plugins", "sql"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "include" / "models").mkdir()
    return folder
