"""What Dag files may import: Airflow's SDK and our Airflow side, nothing else, and nothing heavy through them."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.dags.dag_files import DAGS

DAG_FILES = sorted(DAGS.glob("*.py"))
HEAVY = {
    "pandas",
    "numpy",
    "sklearn",
    "mlflow",
    "great_expectations",
    "lightgbm",
    "optuna",
    "bentoml",
    "dvc",
    "evidently",
    "pyarrow",
}


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.name)
def test_a_dag_file_imports_declarations_only(path: Path) -> None:
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports}
    assert {module for module in modules if module != "airflow.sdk" and not module.startswith("perennial_airflow")} == set()


def test_our_airflow_side_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import airflow.sdk, sys; before = set(sys.modules);"
        "import perennial_airflow.factory, perennial_airflow.retrain, perennial_airflow.release;"
        "import perennial_airflow.score, perennial_airflow.housekeeping, perennial_airflow.monitor;"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    environ = os.environ | {"AIRFLOW_HOME": str(tmp_path)}
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ).stdout
    assert HEAVY & set(loaded.splitlines()[-1].split()) == set()
