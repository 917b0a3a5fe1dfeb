"""A running Envoy with the stack's own bootstrap, for all tests of this folder."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from perennial.adapters import supervisor
from perennial.config.settings import Settings
from perennial.stack import gateway as envoy
from support.free_ports import find_free_port
from support.serving.gateway_calls import Server, start_server


def _settings_in(folder: Path) -> Settings:
    return Settings.load({"PERENNIAL_VAR": str(folder), "PERENNIAL_GATEWAY_PORT": str(find_free_port())})


@pytest.fixture
def unused(tmp_path: Path) -> Iterator[Settings]:
    """Settings of a gateway that does not run."""
    settings = _settings_in(tmp_path)
    yield settings
    supervisor.remove_sockets(settings)


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = _settings_in(tmp_path_factory.mktemp("var"))
    with _running(settings):
        yield settings


@pytest.fixture
def start() -> Iterator[Callable[[Settings], None]]:
    """Starts further gateways, which end with the test."""
    with ExitStack() as stack:
        yield lambda settings: stack.enter_context(_running(settings))


@contextmanager
def _running(settings: Settings) -> Iterator[None]:
    supervisor.make_runtime_folder(settings)
    envoy.write_files(settings)
    settings.paths.logs.mkdir(parents=True)
    with (settings.paths.logs / "gateway.log").open("w") as log:
        # By itself it writes its log every ten seconds.
        command = [*envoy.command(settings), "--file-flush-interval-msec", "100"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)
        supervisor.remove_sockets(settings)


@pytest.fixture
def serve() -> Iterator[Callable[[Server], Server]]:
    """Starts upstreams, which end with the test."""
    listening: list[ThreadingHTTPServer] = []

    def start(server: Server) -> Server:
        listening.append(start_server(server))
        return server

    yield start
    for each in listening:
        each.shutdown()
        each.server_close()
