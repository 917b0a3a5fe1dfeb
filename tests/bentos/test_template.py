"""What a bento is made of, and what it must not need."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from perennial.adapters.bentos import pin_requirements
from perennial.config.settings import Settings
from perennial.errors import PackagingError

TEMPLATE = Settings.load({}).project / "bentos" / "perennial_bento"
OWN = {"perennial.core", "perennial.contracts", "perennial.errors", "perennial.adapters"}
ADAPTERS = {"perennial.adapters.journal", "perennial.adapters.pipeline_files"}


def imports_of(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def test_the_template_imports_of_the_library_only_what_a_bento_holds():
    imported = {name for file in TEMPLATE.glob("*.py") for name in imports_of(file) if name.split(".")[0] == "perennial"}
    assert imported
    assert {".".join(name.split(".")[:2]) for name in imported} <= OWN
    assert {name for name in imported if name.startswith("perennial.adapters")} <= ADAPTERS


def test_the_service_runs_on_its_own_copy_of_the_library_without_mlflow(built_bento):
    code = "import json, sys, perennial, perennial_bento.service; print(json.dumps([perennial.__file__, *sys.modules]))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=built_bento / "src", capture_output=True, text=True, check=True)
    library, *modules = json.loads(answer.stdout.splitlines()[-1])
    assert Path(library).is_relative_to(built_bento)
    assert not {"mlflow", "airflow", "psycopg2", "sqlalchemy", "perennial.config"} & set(modules)
    assert {name for name in modules if name.startswith("perennial.adapters.")} == ADAPTERS


def test_every_requirement_is_pinned_exactly(built_bento):
    pins = (built_bento / "env" / "python" / "requirements.txt").read_text().split()
    names = [pin.partition("==")[0] for pin in pins]
    assert {"bentoml", "numpy", "orjson", "pandas", "scikit-learn", "scipy", "skops", "starlette"} <= set(names)
    assert all("==" in pin for pin in pins)
    assert "mlflow" not in names


def test_a_missing_requirement_is_named():
    with pytest.raises(PackagingError, match="no-such-distribution, which is not installed"):
        pin_requirements(["no-such-distribution"])


def test_containerize_finds_all_it_needs(built_bento):
    info = yaml.safe_load((built_bento / "bento.yaml").read_text())
    assert (info["name"], info["version"], info["service"]) == ("late", "v3", "perennial_bento.service:ModelService")
    dockerfile = (built_bento / "env" / "docker" / "Dockerfile").read_text()
    assert "libgomp1" in dockerfile
    assert {path.name for path in (built_bento / "src").iterdir()} >= {"model", "model.json", "golden.json", "perennial"}
    assert not [path for path in built_bento.rglob("*") if path.is_symlink()]
