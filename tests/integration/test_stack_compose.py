"""Every service of docker-compose.yaml as a plain process, with the file's own commands, environment and health checks.

The images of others are replaced by the same programs from wheels: Postgres by the embedded one, Mailpit by our inbox.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perennial.config.settings import read_env_file
from perennial.stack.status import read_status
from perennial.stack.waiting import wait_until
from support.stacks.compose_file import read_compose_file
from support.stacks.contents import find_differences, read_contents
from support.stacks.projects import PROJECT

pytestmark = [pytest.mark.integration, pytest.mark.soak]

REPLACED = {
    "postgres": ["python", "-m", "perennial.stack.launch", "postgres"],
    "inbox": ["python", "-m", "perennial.stack.launch", "inbox"],
}

# Docker's own before it kills.
GRACE_SECONDS = 10


class Containers:
    """What `docker compose up` and `down` do, with processes: start in order, wait for health or the end, stop in the reverse."""

    def __init__(self, services: dict[str, dict[str, object]], environment: dict[str, str]) -> None:
        self.services = {name: service for name, service in services.items() if "profiles" not in service}
        self.environment = environment
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start_all(self) -> None:
        while waiting := [name for name in self.services if name not in self.processes]:
            ready = [name for name in waiting if all(self._is_met(need) for need in self._needs(name))]
            for name in ready:
                self.processes[name] = self._popen(self._command(name))
            time.sleep(1)

    def _is_met(self, need: tuple[str, str]) -> bool:
        name, condition = need
        if name not in self.processes:
            return False
        code = self.processes[name].poll()
        if condition == "service_completed_successfully":
            assert code in (None, 0), f"{name} ended with {code}"
            return code == 0
        return self.is_healthy(name)

    def is_healthy(self, name: str) -> bool:
        """Ask as the container's health check does; each asking is a process of its own."""
        assert self.processes[name].poll() is None, f"{name} ended"
        check = ["python", "-m", "perennial.stack.health", name] if name in REPLACED else self._check(name)
        return self._popen(check).wait() == 0

    def stop_all(self) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
            # What is left of it goes with its container.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _needs(self, name: str) -> list[tuple[str, str]]:
        return [(need, how["condition"]) for need, how in self.services[name].get("depends_on", {}).items()]

    def _command(self, name: str) -> list[str]:
        return REPLACED.get(name) or self.services[name]["command"]

    def _check(self, name: str) -> list[str]:
        return self.services[name]["healthcheck"]["test"][1:]

    def _popen(self, command: list[str]) -> subprocess.Popen[bytes]:
        log = Path(self.environment["PERENNIAL_VAR"]).parent / "compose.log"
        with log.open("a") as output:
            return subprocess.Popen(command, env=self.environment, cwd="/", stdout=output, stderr=output, start_new_session=True)


@pytest.fixture
def containers(make_stack):
    stack = make_stack(from_nothing=True)
    ports = {name: value for name, value in stack.environment.items() if name.startswith("PERENNIAL_")}
    compose = read_compose_file(read_env_file(PROJECT / ".env") | ports)
    file_environment = compose["services"]["scheduler"]["environment"]
    # Where the containers' names and folders would be, this machine's.
    here = {name: "127.0.0.1" for name in file_environment if name.endswith("_HOST") or name == "PERENNIAL_BIND"}
    folders = {"PERENNIAL_VAR": str(stack.folder / "var"), "PERENNIAL_SECRETS": str(stack.folder / "secrets")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    containers = Containers(compose["services"], {**os.environ, "PATH": path, **file_environment, **here, **folders})
    (stack.folder / "var" / "supervisor").mkdir(parents=True)
    yield containers
    containers.stop_all()


def test_every_service_of_the_file_runs_and_gets_healthy(containers, make_stack, monkeypatch):
    containers.start_all()
    servers = [name for name, service in containers.services.items() if "healthcheck" in service]
    for name in servers:
        assert wait_until(lambda name=name: containers.is_healthy(name), seconds=120, interval=1), name
    for name, value in containers.environment.items():
        if name.startswith("PERENNIAL_"):
            monkeypatch.setenv(name, value)
    from perennial.config.settings import Settings
    from perennial.stack.lifecycle import up

    up(Settings.load())
    assert read_status(Settings.load()).is_healthy
    # It was made from nothing. Most tests begin with a copy of a stack that was prepared once: it has the same in it.
    made, copied = Settings.load(), make_stack().up("postgres")
    assert find_differences(read_contents(copied), read_contents(made)) == {}
    assert list_names(copied.paths.secrets) == list_names(made.paths.secrets)
    stamp = "airflow/migrated"
    assert (copied.paths.var / stamp).read_text() == (made.paths.var / stamp).read_text()


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
