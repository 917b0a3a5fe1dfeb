"""The keeper starts bentos by forks of itself, which are equal to new processes; and what a fork would not be equal to, anew."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from perennial.adapters import bentos, supervisor
from perennial.adapters.supervisor import Program
from perennial.config.settings import Settings
from perennial.stack.keeper import SERVER
from perennial.stack.supervision import start_supervisor, write_configuration
from support.free_ports import find_free_port
from support.serving.bento_sample import ROW, RunningBento
from support.waiting import wait_for

FORKED, ANEW = "bento", Path(sys.executable).name


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = Settings.load({"PERENNIAL_VAR": str(tmp_path_factory.mktemp("kept") / "var")})
    start_supervisor(settings, write_configuration(settings, ()))
    yield settings
    psutil.wait_procs([psutil.Process(supervisor.shut_down(settings))], timeout=30)
    supervisor.remove_sockets(settings)


@pytest.fixture
def own_code(built_bento: Path, tmp_path: Path) -> Path:
    """The bento with code of its own, which says so."""
    shutil.copytree(built_bento, tmp_path / "late")
    with (tmp_path / "late" / "src" / "perennial" / "adapters" / "pipeline_files.py").open("a") as module:
        module.write("\nprint('its own code')\n")
    return tmp_path / "late"


def start(settings: Settings, bento: Path, name: str, **environment: str) -> Program:
    program = Program(
        name=name,
        command=bentos.serve_command(),
        environment=bentos.serve_environment(settings) | environment,
        directory=bento / "src",
        log=settings.paths.logs / f"{name}.log",
        listen=("127.0.0.1", find_free_port()),
    )
    supervisor.add_program(settings, program)
    return program


def ask(program: Program) -> bentos.Answer:
    host, port = program.listen
    with bentos.BentoClient(host, port, timeout_seconds=120) as client:
        return client.predict([ROW])


def process_of(settings: Settings, program: Program) -> psutil.Process:
    [state] = supervisor.program_states(settings, program.name)
    return psutil.Process(state.pid)


def test_the_keeper_knows_the_command_of_a_bento() -> None:
    assert bentos.serve_command()[1:] == ["-m", SERVER]


def test_a_fork_answers_as_a_new_process_with_the_bentos_own_code_and_environment(
    settings: Settings, bento: RunningBento, own_code: Path
) -> None:
    forked, anew = start(settings, own_code, "forked", MARK="1"), start(settings, own_code, "anew", OMP_NUM_THREADS="7")
    answers = [ask(each).content["predictions"] for each in (forked, anew)]
    assert answers == [bento.predict(ROW).content["predictions"]] * 2
    assert [process_of(settings, each).name() for each in (forked, anew)] == [FORKED, ANEW]
    assert process_of(settings, forked).cwd() == str(own_code / "src")
    assert forked.log.read_text().count("its own code") == 1


def test_a_fork_ends_when_it_is_told_to_and_comes_back_when_it_is_killed(settings: Settings, built_bento: Path) -> None:
    program = start(settings, built_bento, "killed")
    assert ask(program).status == 200
    first = process_of(settings, program)
    os.kill(first.pid, signal.SIGKILL)
    assert ask(program).status == 200
    second = process_of(settings, program)
    assert (second.pid != first.pid, second.name()) == (True, FORKED)
    supervisor.stop_program(settings, program.name)
    assert wait_for(lambda: not second.is_running(), what="the fork ends")
    assert "Traceback" not in program.log.read_text()
