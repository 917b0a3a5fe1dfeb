"""Dag files as modules: their folder is no package, and Airflow loads them the same way."""

import importlib.util
from types import ModuleType

from support.stacks.projects import PROJECT

DAGS = PROJECT / "dags"


def load_dag_file(name: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(f"dag_file_{name}", DAGS / f"{name}.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
