"""Back to a version that served before: warm, stopped, or gone from the disk; and every way that should not get there."""

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import psycopg2
import pytest

from perennial.adapters import bentos, supervisor
from perennial.adapters.registry import Registry
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Champion, RegisteredVersion
from perennial.errors import InputError, ReleaseError
from perennial.steps import release, rollback, shadow
from perennial.steps.serving import program_name
from support.serving.served_models import (
    ROW,
    package_and_check,
    predict_path,
    register,
    release_version,
    short_shadow,
    small_spec,
)
from support.waiting import wait_for

pytestmark = [
    pytest.mark.integration,
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


@dataclass(kw_only=True)
class Line:
    """A model whose versions 1 and 2 were champions one after the other."""

    settings: Settings
    spec: ModelSpec
    versions: list[RegisteredVersion]

    def roll_back(self, to: int | None = None, *, reason: str = "it is wrong", **known: str) -> Champion:
        return rollback.roll_back(self.spec, to=to, reason=reason, actor="ann", settings=self.settings, **known)[0]

    def states(self) -> dict[int, str]:
        with StateStore(self.settings.state_url) as state:
            return {row.model_version: row.state for row in state.read_releases(self.spec.model)}

    def assert_serves(self, version: int) -> None:
        """Callers, table, release states and alias agree."""
        url = f"{self.settings.gateway_url}{predict_path(self.spec)}"
        answers = [httpx.post(url, json={"rows": [ROW]}, timeout=30) for _ in range(10)]
        assert {(answer.status_code, answer.headers["x-model-version"]) for answer in answers} == {(200, str(version))}
        with StateStore(self.settings.state_url) as state:
            assert state.read_champion(self.spec.model).model_version == version
        assert [number for number, state in self.states().items() if state == "champion"] == [version]
        assert Registry(self.settings.mlflow_tracking_url).read_alias(self.spec.model, "champion") == version


@pytest.fixture(scope="module")
def line(stack) -> Iterator[Line]:
    settings = stack.up("postgres", "gateway", "mlflow")
    spec = small_spec(settings, "lined")
    versions = [register(settings, spec, seed=seed) for seed in (1, 2)]
    for version in versions:
        release_version(settings, spec, version)
    release.drain(spec, settings=settings)
    line = Line(settings=settings, spec=spec, versions=versions)
    yield line
    for version in line.versions:
        supervisor.remove_program(settings, program_name(spec.model, version.model_version))


# The tests of this module follow each other: each begins where the one before ended.
def test_the_version_before_is_warm_and_back_within_five_seconds(line):
    started = time.monotonic()
    champion = line.roll_back(reason="it calls everybody late")
    assert time.monotonic() - started < 5
    assert (champion.model_version, line.states()) == (1, {1: "champion", 2: "rolled_back"})
    line.assert_serves(1)
    with StateStore(line.settings.state_url) as state:
        assert state.read_release(line.spec.model, 2).reason == "it calls everybody late"
    connection = psycopg2.connect(line.settings.state_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT actor, subject, detail FROM audit WHERE model = 'lined' AND action = 'rollback'")
        assert cursor.fetchall() == [("ann", "version 1", {"before": 2, "reason": "it calls everybody late"})]
    connection.close()


@pytest.mark.parametrize(
    ("to", "reason", "message"),
    [
        (None, "why", "version 1 replaced nothing to roll back to"),
        (7, "why", "version 7 never served"),
        (2, "  ", "needs a reason"),
    ],
)
def test_what_cannot_be_rolled_back_to_is_refused_by_name(line, to, reason, message):
    with pytest.raises(InputError, match=message):
        line.roll_back(to, reason=reason)
    line.assert_serves(1)


def test_a_model_without_a_champion_has_nothing_to_roll_back(line):
    spec = small_spec(line.settings, "never_served")
    with pytest.raises(ReleaseError, match="no champion"):
        rollback.roll_back(spec, to=None, reason="why", actor="ann", settings=line.settings)


def test_a_rollback_killed_anywhere_is_completed_by_running_it_again(line, monkeypatch):
    for module, name in (
        ("perennial.steps.rollback", "write_gateway"),
        ("perennial.adapters.gateway", "wait_until_reachable"),
        ("perennial.adapters.state.StateStore", "roll_back"),
        ("perennial.steps.reconcile", "reconcile_champion_alias"),
    ):
        for after in (False, True):
            with monkeypatch.context() as patched, pytest.raises(_Killed):
                _kill_at(patched, module, name, after=after)
                line.roll_back(2, dag_run_id="forward")
    line.roll_back(2, dag_run_id="forward")
    line.assert_serves(2)
    # The same Dag run has done it; without its id this would go back to version 1.
    line.roll_back(dag_run_id="forward")
    line.assert_serves(2)


class _Killed(BaseException):
    """What `kill -9` looks like from inside: nothing after it runs."""


def _kill_at(patched: pytest.MonkeyPatch, module: str, name: str, *, after: bool) -> None:
    owner = StateStore if module.endswith("StateStore") else sys.modules.get(module) or __import__(module, fromlist=[name])
    original = getattr(owner, name)

    def killed(*args: object, **kwargs: object) -> None:
        if after:
            original(*args, **kwargs)
        raise _Killed(name)

    patched.setattr(owner, name, killed)


def test_an_older_version_is_built_again_where_its_bento_is_gone(line):
    settings, model = line.settings, line.spec.model
    supervisor.remove_program(settings, program_name(model, 1))
    shutil.rmtree(bentos.bento_path(settings, model, 1))
    line.roll_back(1)
    line.assert_serves(1)


def test_a_release_under_way_ends_with_the_rollback(line):
    """Its watcher notices, says why, and stops its bento."""
    settings, spec = line.settings, line.spec
    spec = spec.model_copy(update={"release": spec.release.model_copy(update={"shadow": short_shadow(60)})})
    challenger = register(settings, spec, seed=3)
    line.versions.append(challenger)
    package_and_check(settings, spec, challenger)
    errors: list[BaseException] = []

    def watch() -> None:
        try:
            shadow.shadow(spec, challenger, dag_run_id="run", settings=settings)
        except BaseException as error:
            errors.append(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    wait_for(lambda: line.states()[3] == "shadow", what="the shadow begins")
    line.roll_back(2)
    watcher.join(timeout=60)
    (error,) = errors
    assert isinstance(error, ReleaseError)
    assert "version 1 was rolled back meanwhile: it is wrong" in str(error)
    assert line.states() == {1: "rolled_back", 2: "champion", 3: "rejected"}
    assert supervisor.program_states(settings, program_name(spec.model, 3)) == []
    line.assert_serves(2)


def test_a_rolled_back_version_is_stopped_by_the_next_release(line):
    settings, model = line.settings, line.spec.model
    newest = register(settings, line.spec, seed=4)
    line.versions.append(newest)
    release_version(settings, line.spec, newest)
    release.drain(line.spec, settings=settings)
    line.assert_serves(4)
    running = {number for number in line.states() if supervisor.program_states(settings, program_name(model, number))}
    assert running == {2, 4}
    line.roll_back()
    line.assert_serves(2)
