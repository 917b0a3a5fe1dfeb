"""`perennial` as a program: what only a process of its own shows. All else is in `unit/cli/test_main.py`."""

import subprocess
import sys
from pathlib import Path

from support import programs

HEAVY = ("pandas", "numpy", "mlflow", "airflow", "rich", "pydantic", "psycopg2")


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return programs.perennial({"PATH": "/usr/bin:/bin", **variables}, *arguments)


def test_help_loads_nothing_heavy():
    code = f"""
import sys
from perennial.cli.main import app
try:
    app(["--help"])
except SystemExit:
    pass
sys.exit(",".join(name for name in {HEAVY} if name in sys.modules) or None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_command_prints_the_help():
    done = run()
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: perennial") and "error:" not in done.stderr


def test_an_error_of_ours_is_its_message_and_next_step_without_a_traceback():
    done = run("status", PERENNIAL_NO_SUCH="1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: unknown setting PERENNIAL_NO_SUCH\n  → known settings: ")


def test_mlflow_gives_its_version_without_the_stack(tmp_path: Path):
    done = run("mlflow", "--version", PERENNIAL_VAR=str(tmp_path))
    assert (done.returncode, done.stdout.split(",")[0]) == (0, "mlflow"), done.stderr
