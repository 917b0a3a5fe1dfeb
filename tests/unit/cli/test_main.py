import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from perennial.cli import main as cli
from perennial.errors import ConfigurationError, UnavailableError

HEAVY = ("pandas", "numpy", "mlflow", "airflow", "rich", "pydantic", "psycopg2")


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "perennial"), *arguments]
    return subprocess.run(command, env={"PATH": "/usr/bin:/bin", **variables}, capture_output=True, text=True, check=False)


def test_help_lists_every_command_with_its_summary():
    said = " ".join(run("--help").stdout.split())
    for name, entry in cli.COMMANDS.items():
        assert f"{name} {entry.summary}" in said


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


@pytest.mark.parametrize("name", [name for name, entry in cli.COMMANDS.items() if not entry.passes_through])
def test_every_command_has_help(name):
    done = run(name, "--help")
    assert done.returncode == 0, done.stderr
    assert cli.COMMANDS[name].summary in " ".join(done.stdout.split())


@pytest.mark.parametrize("entry", cli.COMMANDS.values(), ids=lambda entry: entry.module)
def test_every_command_has_a_module_with_run(entry):
    assert callable(importlib.import_module(f"perennial.cli.{entry.module}").run)


def test_wrong_usage_ends_with_2():
    done = run("frobnicate")
    assert done.returncode == 2
    assert f"error: there is no command 'frobnicate'\n  → commands: {', '.join(cli.COMMANDS)}" in done.stderr
    done = run("up", "--no-such-option")
    assert done.returncode == 2
    assert "\nerror: " in done.stderr


def test_no_command_prints_the_help():
    done = run()
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: perennial") and "error:" not in done.stderr


@pytest.mark.parametrize("command", ["airflow dags list", "mlflow experiments search", "psql -l", "load-flights"])
def test_what_needs_the_stack_says_at_once_that_it_is_down(tmp_path: Path, command):
    done = run(*command.split(), PERENNIAL_VAR=str(tmp_path))
    assert done.returncode == 3
    assert done.stderr.strip() == "error: the stack is down\n  → start it: perennial up"


def test_mlflow_gives_its_version_without_the_stack(tmp_path: Path):
    done = run("mlflow", "--version", PERENNIAL_VAR=str(tmp_path))
    assert (done.returncode, done.stdout.split(",")[0]) == (0, "mlflow"), done.stderr


def test_the_status_of_a_stack_that_is_down_is_one_line(tmp_path: Path):
    done = run("status", PERENNIAL_VAR=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "The stack is down → start it: perennial up\n")


def test_check_says_how_to_start_a_stack_that_is_down(tmp_path: Path):
    done = run("check", PERENNIAL_VAR=str(tmp_path))
    assert done.returncode == 3
    assert done.stdout.count("  → start it: perennial up") == done.stdout.count("–") > 2


def test_an_error_of_ours_is_its_message_and_next_step_without_a_traceback():
    done = run("status", PERENNIAL_NO_SUCH="1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: unknown setting PERENNIAL_NO_SUCH\n  → known settings: ")


@pytest.mark.parametrize(("error", "code"), [(ConfigurationError("wrong"), 1), (UnavailableError("away"), 3)])
def test_exit_codes_tell_whether_trying_again_can_help(monkeypatch, error, code):
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code


def test_an_unknown_service_is_refused_with_the_known_ones():
    done = run("up", "no-such-service")
    assert done.returncode == 1
    assert "no service 'no-such-service'" in done.stderr and "postgres" in done.stderr
