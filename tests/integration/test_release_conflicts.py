"""A release and a person's rollback in each other's way, in the tables and with real bentos: the person's word stands."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import httpx
import psycopg2
import pytest

from perennial.adapters import supervisor
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import RegisteredVersion, ReleaseRow
from perennial.errors import ReleaseError, UnavailableError
from perennial.steps import canary, release, rollback, serving
from perennial.steps.approval import Answer, record_answer
from perennial.steps.rollback_report import roll_back_and_tell
from support.data.state_tables import change_past
from support.serving.served_models import (
    PASSED,
    ROW,
    package_and_check,
    predict_path,
    register,
    release_version,
    short_canary,
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
    """A model whose versions were champions one after the other, or are on their way."""

    settings: Settings
    spec: ModelSpec
    versions: list[RegisteredVersion]

    def begin(self, version: int) -> None:
        """As its retraining left it."""
        with StateStore(self.settings.state_url) as state:
            state.write_release(self.versions[version - 1], f"retrain {version}")

    def release(self, version: int) -> None:
        release_version(self.settings, self.spec, self.versions[version - 1], dag_run_id=f"release {version}")

    def promote(self, version: int, *, spec: ModelSpec | None = None) -> None:
        """As its Dag run does, also when Airflow tries it again."""
        registered, run = self.versions[version - 1], f"release {version}"
        check = package_and_check(self.settings, self.spec, registered, dag_run_id=run) if spec else PASSED
        release.promote(spec or self.spec, registered, check, dag_run_id=run, settings=self.settings)

    def begin_canary(self, version: int) -> None:
        """Its task is gone: nobody watches."""
        package_and_check(self.settings, self.spec, self.versions[version - 1], dag_run_id=f"release {version}")
        with StateStore(self.settings.state_url) as state:
            state.start_stage(self.spec.model, version, dag_run_id=f"release {version}", stage="canary", step=1, percent=50)
            serving.write_gateway(self.settings, state)
        wait_for(lambda: self.answering() == {"1", str(version)})

    def roll_back(self, to: int) -> None:
        rollback.roll_back(self.spec, to=to, reason="it is wrong", actor="ann", settings=self.settings)

    def row(self, version: int) -> ReleaseRow:
        with StateStore(self.settings.state_url) as state:
            return state.read_release(self.spec.model, version)

    def states(self) -> dict[int, str]:
        with StateStore(self.settings.state_url) as state:
            return {row.model_version: row.state for row in state.read_releases(self.spec.model)}

    def answering(self) -> set[str]:
        url = f"{self.settings.gateway_url}{predict_path(self.spec)}"
        answers = [httpx.post(url, json={"rows": [ROW]}, timeout=30) for _ in range(30)]
        assert {answer.status_code for answer in answers} == {200}
        return {answer.headers["x-model-version"] for answer in answers}


@pytest.fixture(scope="module")
def model(stack) -> Iterator[Line]:
    """Three versions, registered once; the tests make releases of them."""
    settings = stack.up("postgres", "gateway", "mlflow")
    spec = small_spec(settings, "conflict")
    model = Line(settings=settings, spec=spec, versions=[register(settings, spec, seed=seed) for seed in (1, 2, 3)])
    yield model
    stop(model, *model.states())


@pytest.fixture
def line(model: Line) -> Iterator[Line]:
    """Version 1 serves, version 2 is registered, and nothing is known of what tests did before."""
    served = model.row(1)
    for table in ("release_stage", "champion", "release", "audit"):
        change_past(model.settings, f"DELETE FROM {table} WHERE model = %s", model.spec.model)
    model.begin(1)
    if served.port:
        # Its bento runs on, unless a test has ended it.
        with StateStore(model.settings.state_url) as state:
            state.record_program(model.spec.model, 1, bento_tag=served.bento_tag, program=served.program, port=served.port)
    model.begin(2)
    model.release(1)
    yield model
    stop(model, 2, 3)


def stop(model: Line, *versions: int) -> None:
    for version in versions:
        supervisor.remove_program(model.settings, serving.program_name(model.spec.model, version))


def execute(settings: Settings, sql: str, *values: object) -> list[tuple]:
    connection = psycopg2.connect(settings.state_url)
    with connection, connection.cursor() as cursor:
        cursor.execute(sql, values)
        rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows


def test_a_promotion_tried_again_does_not_undo_a_rollback(line):
    line.release(2)
    line.roll_back(1)
    for _ in range(2):
        with pytest.raises(ReleaseError, match="version 2 was rolled back by ann meanwhile: it is wrong"):
            line.promote(2)
    with StateStore(line.settings.state_url) as state, pytest.raises(ReleaseError, match="rolled back by ann"):
        state.promote(line.spec.model, 2, dag_run_id="release 2", reason="again", actor="test")
    assert (line.states(), line.answering()) == ({1: "champion", 2: "rolled_back"}, {"1"})
    # A release of its own may bring it back.
    release_version(line.settings, line.spec, line.versions[1], dag_run_id="another release")
    assert (line.states(), line.answering()) == ({1: "retired", 2: "champion"}, {"2"})


def test_a_bento_that_starts_while_somebody_moves_its_release_does_not_move_it_back(line, monkeypatch):
    line.release(2)
    add_program, row = supervisor.add_program, line.row(1)

    def add_slowly(*args, **kwargs) -> None:
        add_program(*args, **kwargs)
        with StateStore(line.settings.state_url) as state:
            state.roll_back(line.spec.model, to=1, dag_run_id="back", reason="it is wrong", actor="ann")

    monkeypatch.setattr(supervisor, "add_program", add_slowly)
    with StateStore(line.settings.state_url) as state:
        serving.start_again(line.settings, state, row)
        assert state.read_champion(line.spec.model).model_version == 1
    assert line.states() == {1: "champion", 2: "rolled_back"}


def test_a_rollback_to_the_champion_stops_a_canary(line):
    line.begin_canary(2)
    done = roll_back_and_tell(line.spec, to=1, reason="callers complain", actor="ann", settings=line.settings)
    assert (done.changed, done.before, done.model_version, done.stopped) == (False, 1, 1, "the canary of version 2")
    assert (line.states(), line.answering()) == ({1: "champion", 2: "rolled_back"}, {"1"})
    sql = "SELECT actor, action, subject, detail ->> 'reason' FROM audit WHERE model = %s ORDER BY audit_id DESC LIMIT 2"
    said = execute(line.settings, sql, line.spec.model)
    assert ("ann", "rolled_back", "version 2", "version 1 is to serve on: callers complain") in said
    with StateStore(line.settings.state_url) as state:
        assert {stage.outcome for stage in state.read_stages(line.spec.model, 2)} == {"passed", "ended"}
    again = roll_back_and_tell(line.spec, to=1, reason="callers complain", actor="ann", settings=line.settings)
    assert (again.changed, again.stopped) == (False, "")


def test_a_rollback_does_not_wait_for_a_drain(line, monkeypatch):
    """Three bentos run: one of them is over and waits for its last requests, until the test lets it go on."""
    line.release(2)
    line.begin(3)
    line.release(3)
    waits, goes_on = threading.Event(), threading.Event()

    def wait(_: float) -> None:
        waits.set()
        goes_on.wait(120)

    monkeypatch.setattr(release, "time", SimpleNamespace(sleep=wait))
    patient = line.spec.model_copy(update={"release": line.spec.release.model_copy(update={"drain_seconds": 3600.0})})
    drain = threading.Thread(target=lambda: release.drain(patient, settings=line.settings))
    drain.start()
    assert waits.wait(60)
    line.roll_back(2)
    assert drain.is_alive()
    assert len(supervisor.program_states(line.settings, serving.program_name(line.spec.model, 3))) == 1
    hour = "interval '1 hour'"
    sql = f"UPDATE champion SET valid_from = valid_from - {hour}, valid_to = valid_to - {hour} WHERE model = %s"
    change_past(line.settings, sql, line.spec.model)
    goes_on.set()
    drain.join(60)
    assert not drain.is_alive()
    assert line.answering() == {"2"}
    assert supervisor.program_states(line.settings, serving.program_name(line.spec.model, 3)) == []


def test_a_rejection_killed_before_its_bento_was_stopped_is_finished(line, monkeypatch):
    package_and_check(line.settings, line.spec, line.versions[1], dag_run_id="release 2")
    answer = Answer(word="reject", actor="ann", reason="no", answered_at=line_clock(line), by_default=False)

    def record() -> bool:
        return record_answer(line.spec, line.versions[1], answer, dag_run_id="release 2", settings=line.settings)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(release, "stop_bentos", _killed)
        record()
    program = serving.program_name(line.spec.model, 2)
    assert (line.row(2).state, len(supervisor.program_states(line.settings, program))) == ("rejected", 1)
    assert record() is False
    assert supervisor.program_states(line.settings, program) == []


def line_clock(line: Line):
    with StateStore(line.settings.state_url) as state:
        return state.read_clock()


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_without_the_word_that_the_spec_asks_for_no_caller_is_led_to_a_challenger(line):
    """Whatever was marked as done in Airflow."""
    asking = line.spec.release.model_copy(update={"approval": "required", "canary": short_canary(60, steps=[50])})
    spec, challenger = line.spec.model_copy(update={"release": asking}), line.versions[1]
    missing = r"nobody approved .* version 2 in release 2"
    with pytest.raises(ReleaseError, match=missing):
        line.promote(2, spec=spec)
    with pytest.raises(ReleaseError, match=missing):
        canary.canary(spec, challenger, dag_run_id="release 2", settings=line.settings)
    assert (line.states(), line.answering()) == ({1: "champion", 2: "checked"}, {"1"})
    answer = Answer(word="approve", actor="ann", reason="", answered_at=line_clock(line), by_default=False)
    assert record_answer(spec, challenger, answer, dag_run_id="release 2", settings=line.settings)
    with pytest.raises(ReleaseError, match=r"did not pass canary \(step 1\)"):
        line.promote(2, spec=spec)


def test_the_last_recorded_answer_decides_whatever_the_spec_says(line):
    """Of two answers in one run the later counts, and a no is one also where the spec has stopped asking."""
    spec, challenger = line.spec, line.versions[1]
    assert spec.release.approval == "none"
    package_and_check(line.settings, spec, challenger, dag_run_id="release 2")
    said = {"dag_run_id": "release 2"}
    with StateStore(line.settings.state_url) as state:
        for action in ("approved", "declined"):
            state.write_audit("ann", action, model=spec.model, subject="version 2", detail=said)
    with pytest.raises(ReleaseError, match="version 2 was declined in release 2"):
        canary.canary(with_canary(spec), challenger, dag_run_id="release 2", settings=line.settings)
    with pytest.raises(ReleaseError, match="version 2 was declined in release 2"):
        line.promote(2)
    with StateStore(line.settings.state_url) as state:
        state.write_audit("bob", "approved", model=spec.model, subject="version 2", detail=said)
    line.promote(2)


def with_canary(spec: ModelSpec) -> ModelSpec:
    return spec.model_copy(update={"release": spec.release.model_copy(update={"canary": short_canary(60, steps=[50])})})


def test_a_promotion_starts_the_bento_that_is_gone_and_needs_no_registry(line, monkeypatch):
    package_and_check(line.settings, line.spec, line.versions[1], dag_run_id="release 2")
    supervisor.remove_program(line.settings, serving.program_name(line.spec.model, 2))
    monkeypatch.setattr("perennial.steps.reconcile.reconcile_champion_alias", _away)
    line.promote(2)
    assert line.answering() == {"2"}


def _away(*_: object, **__: object) -> None:
    raise UnavailableError("MLflow does not answer")


def test_a_bento_is_not_stopped_unless_the_tables_can_be_read(line, monkeypatch):
    """Only a gateway that is away is overlooked: who cannot say what serves must not stop anything."""
    with StateStore(line.settings.state_url) as state, monkeypatch.context() as patched:
        patched.setattr(StateStore, "read_releases", _away)
        with pytest.raises(UnavailableError):
            serving.stop_bentos(line.settings, state, [line.row(1)])


def test_a_release_left_half_way_is_not_started_only_to_be_ended(line):
    line.begin_canary(2)
    program = serving.program_name(line.spec.model, 2)
    supervisor.remove_program(line.settings, program)
    line.begin(3)
    package_and_check(line.settings, line.spec, line.versions[2], dag_run_id="release 3")
    assert (line.states(), line.answering()) == ({1: "champion", 2: "rolled_back", 3: "checked"}, {"1"})
    assert supervisor.program_states(line.settings, program) == []
