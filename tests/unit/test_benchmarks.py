"""What benchmarks take from the project is there: nothing else looks at them until somebody measures."""

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from support.stacks.projects import PROJECT

FILES = sorted((PROJECT / "benchmarks").rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PROJECT / "benchmarks")))
def test_what_a_benchmark_imports_of_ours_exists(file: Path) -> None:
    nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
    names = [(node.module or "", alias.name) for node in nodes for alias in node.names]
    ours = [(module, name) for module, name in names if module.split(".")[0] in ("perennial", "perennial_airflow", "support")]
    assert [(module, name) for module, name in ours if not exists(module, name)] == []


def exists(module: str, name: str) -> bool:
    return hasattr(import_module(module), name) or find_spec(f"{module}.{name}") is not None
