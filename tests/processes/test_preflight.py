"""Ports that others have, each named with its owner and its setting."""

import os
import socket
import subprocess
import sys

import pytest

from perennial.config.settings import Settings
from perennial.errors import StackError
from perennial.stack import preflight
from perennial.stack.environment import STACK_MARK
from perennial.stack.services import SERVICES


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_is_named_with_its_owner_and_its_setting(taken_port):
    settings = Settings.load({"PERENNIAL_MLFLOW_PORT": str(taken_port)})
    with pytest.raises(StackError) as raised:
        preflight.check_ports(settings, [SERVICES["mlflow"]])
    assert f"127.0.0.1:{taken_port}" in str(raised.value)
    assert f"process {os.getpid()}" in str(raised.value)
    assert "PERENNIAL_MLFLOW_PORT" in str(raised.value)


def test_all_taken_ports_are_named_at_once(taken_port):
    settings = Settings.load({"PERENNIAL_MLFLOW_PORT": str(taken_port), "PERENNIAL_GATEWAY_PORT": str(taken_port)})
    with pytest.raises(StackError) as raised:
        preflight.check_ports(settings, [SERVICES["mlflow"], SERVICES["gateway"]])
    for name in ("MLflow", "Gateway", "PERENNIAL_MLFLOW_PORT", "PERENNIAL_GATEWAY_PORT"):
        assert name in str(raised.value)
    preflight.check_ports(settings, [SERVICES["mlflow"]], held=[taken_port])


def test_a_port_of_another_stack_is_named_with_its_folder():
    serve = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); s.accept()"
    mark = {STACK_MARK: "another", "PERENNIAL_PROJECT": "/its/folder", "PERENNIAL_VAR": "var"}
    command = [sys.executable, "-c", serve]
    with subprocess.Popen(command, env={**os.environ, **mark}, stdout=subprocess.PIPE, text=True) as process:
        settings = Settings.load({"PERENNIAL_MLFLOW_PORT": process.stdout.readline().strip()})
        with pytest.raises(StackError, match=r"of the Perennial stack in /its/folder/var has it\n  → stop that stack"):
            preflight.check_ports(settings, [SERVICES["mlflow"]])
        process.kill()
