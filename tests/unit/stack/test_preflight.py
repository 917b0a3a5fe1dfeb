import os
import socket
from collections import namedtuple
from pathlib import Path

import pytest

from perennial.adapters.supervisor import conf_folder
from perennial.config.settings import Settings
from perennial.errors import StackError
from perennial.stack import preflight
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


def test_a_port_taken_from_a_bento_is_named_with_its_program(tmp_path: Path, taken_port):
    settings = Settings.load({"PERENNIAL_VAR": str(tmp_path)})
    conf_folder(settings).mkdir(parents=True)
    (conf_folder(settings) / "bento__x__v1.conf").write_text(f"[fcgi-program:x]\nsocket=tcp://127.0.0.1:{taken_port}\n")
    with pytest.raises(StackError, match=f"bento__x__v1 served on 127.0.0.1:{taken_port}"):
        preflight.check_bento_ports(settings)


def test_a_full_disk_is_named_with_its_setting(tmp_path: Path):
    settings = Settings.load({"PERENNIAL_VAR": str(tmp_path)})
    preflight.check_disk(settings, min_free_bytes=1)
    with pytest.raises(StackError, match=r"MiB left(.|\n)*PERENNIAL_VAR"):
        preflight.check_disk(settings, min_free_bytes=2**60)


def test_a_folder_that_cannot_be_made_is_named_with_its_setting(tmp_path: Path):
    (tmp_path / "file").touch()
    settings = Settings.load({"PERENNIAL_VAR": str(tmp_path / "file" / "var")})
    with pytest.raises(StackError, match=r"cannot write(.|\n)*PERENNIAL_VAR"):
        preflight.check_disk(settings)


@pytest.mark.parametrize("minor", [10, 13])
def test_another_python_is_named(monkeypatch, minor):
    version = namedtuple("version", "major minor micro")(3, minor, 0)
    monkeypatch.setattr(preflight.sys, "version_info", version)
    with pytest.raises(StackError, match=rf"Python 3\.{minor}(.|\n)*PYTHON="):
        preflight.check_python()
