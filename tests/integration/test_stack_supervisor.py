"""Programs that are added to a running supervisor, as bentos are."""

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from perennial.adapters import supervisor
from perennial.adapters.supervisor import Program
from perennial.errors import StackError, UnavailableError
from perennial.stack.waiting import wait_until

pytestmark = pytest.mark.integration

# A server that takes its socket from supervisord and answers each connection with its process id and a variable.
SERVER = """
import json, os, socket
listening = socket.socket(fileno=0)
while True:
    connection, _ = listening.accept()
    connection.sendall(json.dumps([os.getpid(), os.environ["X"]]).encode())
    connection.close()
"""


@pytest.fixture
def settings(stack):
    return stack.up("gateway")


@pytest.fixture
def program(settings, tmp_path: Path):
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    made = Program(
        name="bento__test__v1",
        command=[sys.executable, str(script)],
        log=settings.paths.logs / "bento__test__v1.log",
        environment={"X": "50% of 'a, b', =c"},
        listen=("127.0.0.1", settings.bento_port_range[-1]),
    )
    yield made
    supervisor.remove_program(settings, made.name)


def ask(program: Program) -> list[object]:
    with socket.create_connection(program.listen, timeout=20) as connection:
        return json.loads(connection.recv(100))


def test_a_program_runs_until_it_is_removed(settings, program):
    supervisor.add_program(settings, program)
    pid, value = ask(program)
    assert value == "50% of 'a, b', =c"
    wait_until(lambda: supervisor.program_states(settings, program.name)[0].is_running, seconds=10)
    (state,) = supervisor.program_states(settings, program.name)
    assert (state.pid, state.state) == (pid, "RUNNING")
    supervisor.add_program(settings, program)
    assert ask(program)[0] == pid
    supervisor.remove_program(settings, program.name)
    assert supervisor.program_states(settings, program.name) == []
    with pytest.raises(ConnectionRefusedError):
        ask(program)
    supervisor.remove_program(settings, program.name)


def test_connections_wait_while_a_killed_program_restarts(settings, program):
    supervisor.add_program(settings, program)
    pid, _ = ask(program)
    os.kill(int(str(pid)), 9)
    assert wait_until(lambda: not Path(f"/proc/{pid}").exists(), seconds=10)
    answers = [ask(program)[0] for _ in range(3)]
    assert pid not in answers


def test_a_changed_program_replaces_the_old_one(settings, program):
    from dataclasses import replace

    supervisor.add_program(settings, program)
    ask(program)
    supervisor.add_program(settings, replace(program, environment={"X": "new"}))
    assert ask(program)[1] == "new"


def test_a_taken_port_is_named_and_leaves_nothing_behind(settings, program):
    with socket.create_server(program.listen):
        with pytest.raises(StackError, match=f"127.0.0.1:{program.listen[1]}.*\n.*PERENNIAL_BENTO_PORTS"):
            supervisor.add_program(settings, program)
    assert supervisor.program_states(settings, program.name) == []


def test_programs_survive_down_and_up(make_stack, tmp_path: Path):
    stack = make_stack()
    settings = stack.up("gateway")
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    program = Program(
        name="bento__kept__v1",
        command=[sys.executable, str(script)],
        log=settings.paths.logs / "bento__kept__v1.log",
        environment={"X": "kept"},
        listen=("127.0.0.1", settings.bento_port_range[-1]),
    )
    supervisor.add_program(settings, program)
    ask(program)
    stack.down()
    with pytest.raises(UnavailableError, match="perennial up"):
        supervisor.program_states(settings)
    stack.up("gateway")
    assert ask(program)[1] == "kept"
