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
from perennial.contracts import Champion, Force, RegisteredVersion
from perennial.errors import InputError, ReleaseError
from perennial.steps import release, rollback, serving, shadow
from perennial.steps.admission import why_not_release
from perennial.steps.history import read_history
from perennial.steps.retire import retire
from perennial.steps.rollback_report import roll_back_and_tell
from perennial.steps.serving import program_name
from support.serving.served_models import (
    ROW,
    package_and_check,
    predict_path,
    register,
    release_version,
    short_shadow,
    small_spec,
    with_specs,
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


def test_a_retirement_killed_anywhere_is_completed_by_running_it_again(line, monkeypatch):
    settings, model = line.settings, line.spec.model
    waiting = register(settings, line.spec, seed=5)
    line.versions.append(waiting)
    for module, name in (
        ("perennial.adapters.state.StateStore", "retire"),
        ("perennial.steps.retire", "write_gateway"),
        ("perennial.steps.retire", "stop_bentos"),
        ("perennial.steps.reconcile", "reconcile_champion_alias"),
    ):
        for after in (False, True):
            with monkeypatch.context() as patched, pytest.raises(_Killed):
                _kill_at(patched, module, name, after=after)
                retire(model, reason="nobody needs it", actor="ann", settings=settings)
    with pytest.raises(InputError, match=r"lined is retired already, since .* UTC by ann: nobody needs it.*\n.*--to 2"):
        retire(model, reason="another reason", actor="bob", settings=settings)
    done = retire(model, reason="nobody needs it", actor="bob", settings=settings)
    assert (done.retirement.actor, done.retirement.reason, done.served_last) == ("ann", "nobody needs it", 2)
    answer = httpx.post(f"{settings.gateway_url}{predict_path(line.spec)}", json={"rows": [ROW]}, timeout=30)
    assert (answer.status_code, answer.json()["error"]["message"]) == (410, "model lined was retired: nobody needs it")
    assert [number for number in line.states() if supervisor.program_states(settings, program_name(model, number))] == []
    assert (line.states()[2], line.states()[waiting.model_version]) == ("retired", "rejected")
    assert Registry(settings.mlflow_tracking_url).read_alias(model, "champion") is None
    assert read_history(model, settings=settings).chapters[-1].went == "the model was retired by ann: nobody needs it"
    with StateStore(settings.state_url) as state:
        assert state.has_audit("retire", model=model, subject=model, detail={"before": 2, "reason": "nobody needs it"})


def test_what_was_trained_before_a_retirement_is_not_released_any_more(line):
    version = line.versions[-1]
    with pytest.raises(ReleaseError, match="was trained before the model was retired by ann: nobody needs it"):
        why_not_release(version, settings=line.settings)
    assert why_not_release(version, force=Force(by="ann", reason="we do"), settings=line.settings) == ""


def test_a_rollback_brings_a_retired_model_back(line):
    for _ in ("first", "a retry of its task"):
        done = roll_back_and_tell(
            line.spec, to=None, reason="it is needed after all", actor="ann", settings=line.settings, dag_run_id="back"
        )
        assert (done.before, done.model_version, done.changed) == (None, 2, True)
    line.assert_serves(2)
    with StateStore(line.settings.state_url) as state:
        assert state.read_retirement(line.spec.model) is None


@pytest.mark.parametrize(
    ("model", "reason", "error"),
    [
        ("lined", " ", "a retirement needs a reason"),
        ("nowhere", "why", "there is no model 'nowhere'\n.*flight_delay"),
    ],
)
def test_what_cannot_be_retired_is_refused_by_name(line, model, reason, error):
    with pytest.raises(InputError, match=error):
        retire(model, reason=reason, actor="ann", settings=line.settings)
    line.assert_serves(2)


def test_without_its_spec_a_model_is_neither_listed_nor_served(line, tmp_path):
    """A file that is away for a moment takes a model from nobody: only `perennial up` stops it, after a second look."""
    settings, model, url = line.settings, line.spec.model, f"{line.settings.gateway_url}{predict_path(line.spec)}"
    with StateStore(settings.state_url) as state:
        running = serving.running_programs(settings)
        others = {row.model for row in state.read_releases() if row.program in running} - {model}
        away = with_specs(settings, tmp_path / "without", *others)
        serving.write_gateway(away, state)
    serving.reconcile_serving(away)
    line.assert_serves(2)
    serving.stop_removed(settings.model_copy(update={"project": tmp_path / "unreadable"}))
    back = threading.Timer(0.3, with_specs, (settings, tmp_path / "replaced", model))
    back.start()
    serving.stop_removed(with_specs(settings, tmp_path / "replaced", *others))
    back.join()
    line.assert_serves(2)

    serving.stop_removed(away)
    serving.reconcile_serving(away)
    wait_for(lambda: httpx.post(url, json={"rows": [ROW]}, timeout=30).status_code == 404, what="the gateway takes it")
    assert model not in [each["model"] for each in httpx.get(f"{settings.gateway_url}/v1/models").json()["models"]]
    assert [number for number in line.states() if supervisor.program_states(settings, program_name(model, number))] == []
    serving.reconcile_serving(with_specs(settings, tmp_path / "again", *others, model))
    wait_for(lambda: httpx.post(url, json={"rows": [ROW]}, timeout=30).status_code == 200, what="its bento is ready")
    line.assert_serves(2)
