"""`kill -9` of a release in every state of its way, and the same release run again."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import httpx
import pytest

from perennial.adapters import supervisor
from perennial.adapters.registry import Registry
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.contracts import RegisteredVersion
from perennial.steps.package import build_bento
from perennial.steps.serving import program_name
from support import programs
from support.serving import release_process
from support.serving.served_models import ROW, predict_path, register, release_version, small_spec

pytestmark = [
    pytest.mark.integration,
    # In-process, step by step: `test_release_conflicts.py`, `test_serving.py`, `test_rollback.py`.
    pytest.mark.soak,
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

# In this order: where the release is when it is killed, by state of the release and number of stages that it has begun.
MOMENTS = {
    "in its check": ("registered", 1),
    "in its shadow": ("shadow", 2),
    "in the first step of its canary": ("canary", 3),
    "in the second step of its canary": ("canary", 4),
    "as a champion": ("champion", 4),
}


class Releasing:
    """A process that releases the challenger in children."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self) -> int:
        """Begin a release; returns the process to kill."""
        self._process.stdin.write("release\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def wait(self) -> int:
        return int(self._process.stdout.readline())


@contextmanager
def releasing(stack_environment: Mapping[str, str], version: RegisteredVersion) -> Iterator[Releasing]:
    command = programs.command(release_process, version.model, version.model_version)
    environment = programs.environment(stack_environment)
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Releasing(process)
        process.stdin.close()


def test_a_release_killed_in_every_state_is_completed_by_running_it_again(stack):
    settings = stack.up("postgres", "gateway", "mlflow")
    model = "killed"
    spec = small_spec(settings, model)
    champion, challenger = register(settings, spec, seed=1), register(settings, spec, seed=2)
    release_version(settings, spec, champion)
    build_bento(spec, challenger, settings=settings)
    with releasing(stack.environment, challenger) as process:
        for moment, (state, n_stages) in MOMENTS.items():
            pid = process.start()
            wait_for(lambda wanted=(state, n_stages): where(settings, model) == wanted, what=moment)
            os.kill(pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL, moment
            assert_one_champion(settings, model, 2 if state == "champion" else 1)
        process.start()
        assert process.wait() == 0
    assert_one_champion(settings, model, 2)
    assert where(settings, model) == ("champion", 4)
    assert Registry(settings.mlflow_tracking_url).read_alias(model, "champion") == 2
    with StateStore(settings.state_url) as store:
        assert {stage.outcome for stage in store.read_stages(model, 2)} == {"passed"}
    wait_for(
        lambda: {answer.headers["x-model-version"] for answer in ask(settings, model)} == {"2"}, what="the champion serves all"
    )
    for version in (1, 2):
        supervisor.remove_program(settings, program_name(model, version))


def where(settings: Settings, model: str) -> tuple[str, int]:
    with StateStore(settings.state_url) as state:
        return state.read_release(model, 2).state, len(state.read_stages(model, 2))


def assert_one_champion(settings: Settings, model: str, version: int) -> None:
    """In the table; and callers are answered, whoever may have been killed."""
    with StateStore(settings.state_url) as state:
        assert state.read_champion(model).model_version == version
        assert [row.model_version for row in state.read_releases(model, state="champion")] == [version]
    assert {answer.status_code for answer in ask(settings, model)} == {200}


def ask(settings: Settings, model: str) -> list[httpx.Response]:
    url = f"{settings.gateway_url}{predict_path(small_spec(settings, model))}"
    return [httpx.post(url, json={"rows": [ROW]}, timeout=30) for _ in range(20)]


def wait_for(condition: Callable[[], bool], *, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: it did not come to pass in time"
        time.sleep(0.02)
