"""The command line, called in this process. What needs a process of its own is in `processes/test_command_line.py`."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from perennial.cli import main as cli
from perennial.errors import ConfigurationError, UnavailableError
from support.command_line import Ended, call

Run = Callable[..., Ended]


@pytest.fixture
def run() -> Run:
    """Runs `perennial` with arguments."""
    return lambda *arguments: call(os.environ, *arguments)


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The settings of a stack that was never started."""
    monkeypatch.setenv("PERENNIAL_VAR", str(tmp_path))


def test_help_lists_every_command_with_its_summary(run: Run):
    said = " ".join(run("--help").stdout.split())
    for name, entry in cli.COMMANDS.items():
        assert f"{name} {entry.summary}" in said


@pytest.mark.parametrize("name", [name for name, entry in cli.COMMANDS.items() if not entry.passes_through])
def test_every_command_has_help(run: Run, name: str):
    done = run(name, "--help")
    assert done.returncode == 0, done.stderr
    assert cli.COMMANDS[name].summary in " ".join(done.stdout.split())


@pytest.mark.parametrize("entry", cli.COMMANDS.values(), ids=lambda entry: entry.module)
def test_every_command_has_a_module_with_run(entry):
    assert callable(importlib.import_module(f"perennial.cli.{entry.module}").run)


def test_wrong_usage_ends_with_2(run: Run):
    done = run("frobnicate")
    assert done.returncode == 2
    assert f"error: there is no command 'frobnicate'\n  → commands: {', '.join(cli.COMMANDS)}" in done.stderr
    done = run("up", "--no-such-option")
    assert done.returncode == 2
    assert "\nerror: " in done.stderr


@pytest.mark.parametrize("command", ["airflow dags list", "mlflow experiments search", "psql -l", "load-flights"])
def test_what_needs_the_stack_says_at_once_that_it_is_down(run: Run, down: None, command: str):
    done = run(*command.split())
    assert done.returncode == 3
    assert done.stderr.strip() == "error: the stack is down\n  → start it: perennial up"


def test_the_status_of_a_stack_that_is_down_is_one_line(run: Run, down: None):
    done = run("status")
    assert (done.returncode, done.stdout) == (1, "The stack is down → start it: perennial up\n")


def test_check_says_how_to_start_a_stack_that_is_down(run: Run, down: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("perennial.steps.check.read_commit", lambda _project: "unknown")
    done = run("check")
    assert "! stack  code: there is no git repository here, so what is trained cannot be reproduced: commit first" in done.stdout
    assert done.returncode == 3
    assert done.stdout.count("  → start it: perennial up") == done.stdout.count("–") > 2


@pytest.mark.parametrize(("error", "code"), [(ConfigurationError("wrong"), 1), (UnavailableError("away"), 3)])
def test_exit_codes_tell_whether_trying_again_can_help(run: Run, monkeypatch, error, code):
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    assert run().returncode == code


def test_an_unknown_service_is_refused_with_the_known_ones(run: Run):
    done = run("up", "no-such-service")
    assert done.returncode == 1
    assert "no service 'no-such-service'" in done.stderr and "postgres" in done.stderr
