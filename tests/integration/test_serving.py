"""From a version in MLflow to answers through the gateway, and every way that should not get there."""

import contextlib
import http.client
import itertools
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from perennial.adapters import bentos, gateway, journal, supervisor
from perennial.adapters.gateway import probing
from perennial.adapters.registry import Registry
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Decision, RegisteredVersion
from perennial.errors import PackagingError, ReleaseError, UnavailableError
from perennial.steps import release, serving
from perennial.steps.admission import why_not_release
from perennial.steps.package import build_bento
from support.serving.served_models import (
    PASSED,
    ROW,
    TRAINING_END,
    package_and_check,
    predict_path,
    register,
    release_version,
    small_spec,
    with_specs,
)
from support.waiting import wait_for

pytestmark = [
    pytest.mark.integration,
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


N_GATEWAY_WORKERS = 2
# What the gateway answers where a bento takes longer than it waits, as one that starts on a busy machine may.
TOO_LATE = 504


@pytest.fixture(scope="session")
def settings(stack) -> Settings:
    return stack.up("postgres", "gateway", "mlflow")


@pytest.fixture(scope="session")
def new_spec(settings) -> Callable[[], ModelSpec]:
    """Specs of models nobody has released yet."""
    numbers = itertools.count(1)
    return lambda: small_spec(settings, f"served_{next(numbers)}")


@pytest.fixture
def spec(new_spec) -> ModelSpec:
    return new_spec()


@pytest.fixture(scope="session")
def served(settings, new_spec) -> tuple[ModelSpec, RegisteredVersion]:
    """A model with a champion; a test that uses it leaves the champion in place."""
    spec = new_spec()
    version = register(settings, spec, seed=1)
    release_version(settings, spec, version)
    return spec, version


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    content: dict


def ask(settings: Settings, path: str, body: object = None, *, method: str = "POST", headers: Mapping[str, str] | None = None):
    connection = http.client.HTTPConnection(settings.gateway_host, settings.gateway_port, timeout=60)
    try:
        text = body if isinstance(body, str) else json.dumps(body)
        connection.request(method, path, body=None if method == "GET" else text, headers=dict(headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, json.loads(answer.read()))
    finally:
        connection.close()


def state_of(settings: Settings, version: RegisteredVersion) -> str:
    with StateStore(settings.state_url) as state:
        return state.read_release(version.model, version.model_version).state


def program_of(version: RegisteredVersion) -> str:
    return serving.program_name(version.model, version.model_version)


def assert_serves(settings: Settings, spec: ModelSpec, version: RegisteredVersion) -> None:
    """Gateway, table and alias agree on one version."""
    answer = ask(settings, predict_path(spec), {"rows": [ROW]})
    assert (answer.status, answer.content["version"]) == (200, version.model_version)
    assert answer.headers["x-model-version"] == str(version.model_version)
    with StateStore(settings.state_url) as state:
        assert state.read_champion(spec.model).model_version == version.model_version
        assert [row.model_version for row in state.read_releases(spec.model, state="champion")] == [version.model_version]
    assert Registry(settings.mlflow_tracking_url).read_alias(spec.model, "champion") == version.model_version


def test_a_version_is_released_and_answers_as_it_did_offline(settings, spec, tmp_path):
    version = register(settings, spec, seed=1)
    bento = build_bento(spec, version, settings=settings)
    assert bento.bento_tag == f"{spec.model}:v1"
    check = release.start_and_check(spec, bento, dag_run_id="run", settings=with_specs(settings, tmp_path, spec.model))
    assert (check.n_rows, check.program) == (2, program_of(version))
    assert check.largest_difference <= 1e-9
    assert state_of(settings, version) == "checked"
    assert ask(settings, predict_path(spec), {"rows": [ROW]}).content["error"]["code"] == "no_champion"

    release.promote(spec, version, check, dag_run_id="run", settings=settings)
    assert_serves(settings, spec, version)
    golden = bentos.read_golden_file(Path(bento.path))
    answer = ask(settings, predict_path(spec), {"rows": golden["rows"]}, headers={"x-request-id": "mine-1"})
    assert [each["probability"] for each in answer.content["predictions"]] == golden["probabilities"]
    assert answer.headers["x-request-id"] == answer.content["request_id"] == "mine-1"
    facts = ask(settings, f"/v1/models/{spec.model}/metadata", method="GET").content
    assert (facts["mlflow_run_id"], facts["snapshot_id"]) == (version.mlflow_run_id, version.snapshot_id)
    carrier = {"type": "category", "nullable": False, "categories": ["DL", "UA"]}
    assert facts["features"]["carrier"].items() >= carrier.items()
    listed = ask(settings, "/v1/models", method="GET").content["models"]
    docs = f"/v1/models/{spec.model}/docs"
    assert {"model": spec.model, "versions": [{"version": 1, "weight": 100}], "docs": docs} in listed


def test_a_caller_may_say_whom_a_row_is_about_and_when(settings, served):
    """The spec's key and event time come as far as the journal, from where they are shipped."""
    spec, version = served
    about = {spec.source.entity_key[0]: 336777, spec.source.event_time: "2013-04-01T08:00:00-04:00"}
    facts = ask(settings, f"/v1/models/{spec.model}/metadata", method="GET").content
    assert facts["identity"] == {"entity_key": spec.source.entity_key, "event_time": spec.source.event_time}
    answers = [
        ask(settings, predict_path(spec), {"rows": [row]}, headers={"x-request-id": f"about-{number}"})
        for number, row in enumerate((ROW, ROW | about, ROW | about | {spec.source.event_time: "2013-04-01"}))
    ]
    assert [answer.status for answer in answers] == [200, 200, 422]
    assert answers[0].content["predictions"] == answers[1].content["predictions"]
    segments = journal.list_segments(settings.paths.predictions)
    lines = [line for segment in segments for line in journal.read_from(segment, 0, max_bytes=2**30)[0]]
    (logged,) = [each for each in map(json.loads, lines) if each["id"] == "about-1"]
    assert (logged["version"], logged["rows"]) == (version.model_version, [ROW])
    assert (logged["entities"], logged["event_at"]) == (["[336777]"], ["2013-04-01T12:00:00+00:00"])


def test_releasing_again_changes_nothing(settings, served):
    spec, version = served
    with StateStore(settings.state_url) as state:
        first = state.read_champion(spec.model)
    built_at = bentos.bento_path(settings, spec.model, 1).stat().st_mtime_ns
    (before,) = supervisor.program_states(settings, program_of(version))
    assert release_version(settings, spec, version) == first
    assert bentos.bento_path(settings, spec.model, 1).stat().st_mtime_ns == built_at
    (after,) = supervisor.program_states(settings, program_of(version))
    assert after.pid == before.pid


def test_a_half_built_bento_is_built_again(settings, spec):
    version = register(settings, spec, seed=1)
    path = bentos.bento_path(settings, spec.model, 1)
    (path / "src").mkdir(parents=True)
    (settings.paths.bentoml / "building" / f"{spec.model}-v1").mkdir(parents=True)
    build_bento(spec, version, settings=settings)
    assert bentos.read_model_file(path)["mlflow_run_id"] == version.mlflow_run_id
    assert (path / "bento.yaml").exists()
    pins = (path / "env" / "python" / "requirements.txt").read_text().split()
    assert {pin.split("==")[0] for pin in pins} >= {"bentoml", "lightgbm", "numpy", "scipy", "uvicorn"}
    assert not [pin for pin in pins if pin.startswith(("mlflow", "apache-airflow"))]


def test_a_version_without_golden_rows_is_not_packaged(settings, spec):
    version = register(settings, spec, seed=1)
    Path(next(settings.paths.mlflow_artifacts.rglob(f"{version.mlflow_run_id}/artifacts/golden.json"))).unlink()
    with pytest.raises(PackagingError, match=r"golden\.json"):
        build_bento(spec, version, settings=settings)
    assert not bentos.bento_path(settings, spec.model, 1).exists()


def test_a_bento_that_answers_differently_is_rejected(settings, served):
    spec, champion = served
    challenger = register(settings, spec, seed=2, shift=0.01)
    with pytest.raises(ReleaseError, match="golden row 0 is predicted differently"):
        release_version(settings, spec, challenger)
    assert (state_of(settings, challenger), supervisor.program_states(settings, program_of(challenger))) == ("rejected", [])
    assert_serves(settings, spec, champion)
    release.withdraw(spec, challenger.model_version, settings=settings)
    with StateStore(settings.state_url) as state:
        assert "predicted differently" in state.read_release(spec.model, challenger.model_version).reason


def test_a_bento_that_does_not_start_is_rejected_with_the_end_of_its_log(settings, spec):
    version = register(settings, spec, seed=1)
    bento = build_bento(spec, version, settings=settings)
    (Path(bento.path) / "src" / "model" / "model.skops").write_bytes(b"broken")
    with pytest.raises(ReleaseError, match=r"it ended 2 times.*BadZipFile"):
        release.start_and_check(spec, bento, dag_run_id="run", settings=settings)
    assert (state_of(settings, version), supervisor.program_states(settings, program_of(version))) == ("rejected", [])


def test_older_data_does_not_replace_the_champion(settings, served):
    spec, champion = served
    older = register(settings, spec, seed=3, training_end=TRAINING_END - timedelta(days=30))
    with pytest.raises(ReleaseError, match="learned from data until 2013-02-16"):
        why_not_release(older, settings=settings)
    assert state_of(settings, older) == "registered"
    with pytest.raises(ReleaseError, match="learned from data until 2013-02-16"):
        release_version(settings, spec, older)
    release.withdraw(spec, older.model_version, settings=settings)
    assert state_of(settings, older) == "rejected"
    assert_serves(settings, spec, champion)


def test_a_challenger_judged_against_another_champion_does_not_replace_this_one(settings, served):
    spec, champion = served
    late = register(settings, spec, seed=4)
    decision = Decision(
        model=spec.model, dag_run_id=f"{spec.model}-4", snapshot_id=f"{spec.model}-4", outcome="accepted", candidate="a",
        mlflow_run_id=late.mlflow_run_id, gates=(), challenger_metrics={}, champion_version=None,
    )  # fmt: skip
    with StateStore(settings.state_url) as state:
        state.write_decision(decision)
    with pytest.raises(ReleaseError, match="judged against no champion"):
        why_not_release(late, settings=settings)
    assert why_not_release(champion, settings=settings) == f"{spec.model} version 1 serves already"
    with pytest.raises(ReleaseError, match="judged against no champion"):
        release.promote(spec, late, PASSED, dag_run_id="run", settings=settings)
    release.withdraw(spec, late.model_version, settings=settings)
    assert state_of(settings, late) == "rejected"
    assert_serves(settings, spec, champion)


class Killed(BaseException):
    """What `kill -9` looks like from inside: nothing after it runs."""


POINTS = (
    "perennial.steps.release.write_gateway",
    "perennial.adapters.gateway.wait_until_reachable",
    "perennial.adapters.state.StateStore.promote",
    "perennial.adapters.gateway.wait_until_taken",
    "perennial.steps.reconcile.reconcile_champion_alias",
)


def test_a_promotion_killed_anywhere_is_completed_by_running_it_again_and_callers_notice_nothing(settings, spec, monkeypatch):
    champion, challenger = register(settings, spec, seed=1), register(settings, spec, seed=2)
    release_version(settings, spec, champion)
    check = package_and_check(settings, spec, challenger)
    with traffic(settings, spec) as answers:
        for point, after in itertools.product(POINTS, (False, True)):
            with monkeypatch.context() as patched, pytest.raises(Killed):
                patched.setattr(point, _killed(point, after=after))
                release.promote(spec, challenger, check, dag_run_id="run", settings=settings)
        release.promote(spec, challenger, check, dag_run_id="run", settings=settings)
        release.drain(spec, settings=settings)
        n_drained = len(answers)
        wait_for(lambda: len(answers) > n_drained + 20)
    assert {answer.status for answer in answers} == {200}
    versions = [answer.content["version"] for answer in answers]
    assert versions == sorted(versions)
    assert set(versions) == {1, 2}
    assert_serves(settings, spec, challenger)
    assert state_of(settings, champion) == "retired"
    assert supervisor.program_states(settings, program_of(champion)), "the predecessor is kept warm"
    with pytest.raises(ReleaseError, match="was the champion once"):
        release.promote(spec, champion, check, dag_run_id="run", settings=settings)


def _killed(point: str, *, after: bool) -> Callable:
    module, _, name = point.rpartition(".")
    owner: object = StateStore if "StateStore" in module else sys.modules.get(module) or __import__(module, fromlist=[name])
    original = getattr(owner, name)

    def killed(*args: object, **kwargs: object) -> None:
        if after:
            original(*args, **kwargs)
        raise Killed(point)

    return killed


def test_a_killed_bento_comes_back_and_keeps_the_connections_that_wait(settings, served):
    spec, version = served
    (process,) = supervisor.program_states(settings, program_of(version))
    killed = psutil.Process(process.pid)
    killed.kill()
    killed.wait(timeout=10)
    # One request of each of the gateway's workers may still go out on a connection whose end the worker has not seen; it may have
    # run, so it is not sent again.
    answers = [ask(settings, predict_path(spec), {"rows": [ROW]}) for _ in range(2 * N_GATEWAY_WORKERS + 1)]
    failed = [answer for answer in answers if answer.status not in (200, TOO_LATE)]
    assert len(failed) <= N_GATEWAY_WORKERS
    assert {(answer.status, answer.content["error"]["code"]) for answer in failed} <= {(503, "unavailable")}
    assert answers[-1].status == 200
    (again,) = supervisor.program_states(settings, program_of(version))
    assert again.pid != process.pid


def test_what_serves_is_made_again_from_the_tables(settings, served, tmp_path):
    spec, version = served
    supervisor.remove_program(settings, program_of(version))
    gateway.write_config(settings, {})
    wait_for(lambda: ask(settings, predict_path(spec), {"rows": [ROW]}).status == 404)
    serving.reconcile_serving(with_specs(settings, tmp_path, spec.model))
    wait_for(lambda: ask(settings, predict_path(spec), {"rows": [ROW]}).status == 200)
    assert_serves(settings, spec, version)


def test_a_champion_that_cannot_start_keeps_no_other_model_from_serving(settings, served, tmp_path, caplog):
    spec, version = served
    there = with_specs(settings, tmp_path, spec.model)
    with StateStore(settings.state_url) as state:
        port = state.read_release(spec.model, version.model_version).port
    supervisor.remove_program(settings, program_of(version))
    cramped = there.model_copy(update={"bento_ports": f"{port}-{port}"})
    with socket.create_server((settings.bind, port)):
        serving.reconcile_serving(cramped)
    assert f"{spec.model} version {version.model_version}, the champion, cannot serve: no port of {port}-{port}" in caplog.text
    wait_for(lambda: ask(settings, predict_path(spec), {"rows": [ROW]}).status == 503)
    serving.reconcile_serving(there)
    wait_for(lambda: ask(settings, predict_path(spec), {"rows": [ROW]}).status == 200)


def test_without_a_gateway_nothing_is_promoted(settings, spec, monkeypatch):
    version = register(settings, spec, seed=1)
    check = package_and_check(settings, spec, version)
    supervisor.stop_program(settings, "gateway")
    try:
        with monkeypatch.context() as patched:
            patched.setattr(probing, "WITHIN_SECONDS", 0.5)
            with pytest.raises(UnavailableError, match="perennial status"):
                release.promote(spec, version, check, dag_run_id="run", settings=settings)
        assert state_of(settings, version) == "checked"
    finally:
        supervisor.start_program(settings, "gateway")
    release.promote(spec, version, check, dag_run_id="run", settings=settings)
    assert_serves(settings, spec, version)


def test_bentoml_serves_the_same_bento(settings, served, tmp_path):
    spec, _ = served
    path = bentos.bento_path(settings, spec.model, 1)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "bentoml", "serve", str(path), "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | bentos.serve_environment(settings) | {"BENTOML_HOME": str(tmp_path)}
    with (tmp_path / "log").open("w") as log:
        process = psutil.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        with bentos.BentoClient("127.0.0.1", port) as client:
            wait_for(lambda: client.get("/readyz").status == 200, what="it is ready")
            answer, metrics = client.predict([ROW]), client.get("/metrics")
            assert (answer.status, answer.headers["x-model-version"], metrics.status) == (200, "1", 200)
    finally:
        children = process.children(recursive=True)
        process.terminate()
        psutil.wait_procs([process, *children], timeout=20)


@contextlib.contextmanager
def traffic(settings: Settings, spec: ModelSpec) -> Iterator[list[Answer]]:
    """One request after the other, from another thread, until the block ends."""
    answers: list[Answer] = []
    stopped = threading.Event()

    def call() -> None:
        while not stopped.is_set():
            answers.append(ask(settings, predict_path(spec), {"rows": [ROW]}))

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield answers
    finally:
        stopped.set()
        thread.join()
