import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from perennial.config.settings import Settings
from perennial.stack.environment import SERVICE_MARK, STACK_MARK, stack_id
from perennial.stack.processes import end_processes, find_processes

# Says when it is ready, and does not end when it is asked to.
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"PERENNIAL_VAR": str(tmp_path)})


@pytest.fixture
def start():
    started: list[subprocess.Popen[str]] = []

    def start(code: str = "print('ready', flush=True); input()", **variables: str) -> int:
        command = [sys.executable, "-c", code]
        process = subprocess.Popen(
            command, env={**os.environ, **variables}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout and process.stdout.readline() == "ready\n"
        return process.pid

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_only_processes_of_this_stack_are_found(settings, start):
    ours = start(**{STACK_MARK: stack_id(settings)})
    start(**{STACK_MARK: "another"})
    start()
    assert [process.pid for process in find_processes(settings)] == [ours]


def test_processes_of_one_service_are_found(settings, start):
    marks = {STACK_MARK: stack_id(settings)}
    start(**marks, **{SERVICE_MARK: "mlflow"})
    scheduler = start(**marks, **{SERVICE_MARK: "scheduler"})
    assert [process.pid for process in find_processes(settings, service="scheduler")] == [scheduler]


def test_a_process_that_does_not_end_is_killed(settings, start, monkeypatch):
    monkeypatch.setattr("perennial.stack.processes._PATIENCE_SECONDS", 0.5)
    pid = start(STUBBORN, **{STACK_MARK: stack_id(settings)})
    assert end_processes(find_processes(settings)) == 1
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert find_processes(settings) == []
