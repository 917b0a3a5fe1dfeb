"""Shadow and canary of a real bento behind the real gateway; what callers did is written into the prediction log by the tests."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import psycopg2
import pytest

from perennial.adapters import bentos, gateway, supervisor
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import RegisteredVersion, ReleaseRow, ServingCheck, Stage
from perennial.errors import Breach, ReleaseError, UnavailableError
from perennial.stack import prediction_log
from perennial.steps import canary, release, serving, shadow
from perennial.steps.observe import Observer
from support.data.state_tables import change_past
from support.predictions.logged_requests import log_requests
from support.serving.served_models import (
    different_rows,
    package_and_check,
    predict_path,
    register,
    release_version,
    short_canary,
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

RUN, SHIPPER = "run", "prediction-log"
ROWS = different_rows(300)
SCORES = np.random.default_rng(1).beta(2, 6, 300)


@dataclass(kw_only=True)
class Released:
    """A champion that serves, and a challenger that was checked."""

    settings: Settings
    spec: ModelSpec
    champion: RegisteredVersion
    challenger: RegisteredVersion
    check: ServingCheck
    row: ReleaseRow

    def asking(self, **values: object) -> ModelSpec:
        """The spec with other stages."""
        return self.spec.model_copy(update={"release": self.spec.release.model_copy(update=values)})

    def shadow(self, spec: ModelSpec) -> Stage | None:
        return shadow.shadow(spec, self.challenger, dag_run_id=RUN, settings=self.settings)

    def canary(self, spec: ModelSpec) -> tuple[Stage, ...]:
        return canary.canary(spec, self.challenger, dag_run_id=RUN, settings=self.settings)

    def read(self) -> ReleaseRow:
        with StateStore(self.settings.state_url) as state:
            row = state.read_release(self.spec.model, self.challenger.model_version)
        assert row is not None
        return row

    def stages(self) -> list[Stage]:
        with StateStore(self.settings.state_url) as state:
            return state.read_stages(self.spec.model, self.challenger.model_version)

    def log(self, version: RegisteredVersion, kind: str, rows: Sequence[dict] = ROWS, scores: Sequence[float] = SCORES, **values):
        predictions = [float(score) for score in scores]
        log_requests(
            self.settings, self.spec.model, version.model_version, kind=kind, rows=rows, predictions=predictions, **values
        )

    def answered_by(self, n: int = 40) -> Counter[str]:
        """Versions that answer live requests, each over a connection of its own."""
        url = f"{self.settings.gateway_url}{predict_path(self.spec)}"
        answers = [httpx.post(url, json={"rows": ROWS[:1]}, timeout=30) for _ in range(n)]
        assert {answer.status_code for answer in answers} == {200}
        return Counter(answer.headers["x-model-version"] for answer in answers)

    def assert_champion_serves(self) -> None:
        assert self.answered_by() == {str(self.champion.model_version): 40}
        with StateStore(self.settings.state_url) as state:
            assert state.read_champion(self.spec.model).model_version == self.champion.model_version
        assert supervisor.program_states(self.settings, self.row.program) == []


@pytest.fixture(scope="module")
def settings(stack) -> Settings:
    return stack.up("postgres", "gateway", "mlflow")


@pytest.fixture(scope="module", autouse=True)
def _nobody_ships(settings) -> Iterator[None]:
    """What callers do, the tests write into the log: beside that, the requests they really send would be counted too."""
    ships = any(program.is_running for program in supervisor.program_states(settings, SHIPPER))
    if ships:
        supervisor.stop_program(settings, SHIPPER)
    yield
    if ships:
        supervisor.start_program(settings, SHIPPER)


@pytest.fixture(scope="module")
def pair(settings) -> Iterator[Released]:
    """Packaged once; the challenger's release is made anew for each test."""
    spec = small_spec(settings, "staged")
    champion, challenger = register(settings, spec, seed=1), register(settings, spec, seed=2)
    release_version(settings, spec, champion, dag_run_id="first")
    check = package_and_check(settings, spec, challenger, dag_run_id=RUN)
    with StateStore(settings.state_url) as state:
        row = state.read_release(spec.model, challenger.model_version)
    assert row is not None
    yield Released(settings=settings, spec=spec, champion=champion, challenger=challenger, check=check, row=row)
    for version in (champion, challenger):
        supervisor.remove_program(settings, serving.program_name(version.model, version.model_version))


@pytest.fixture
def released(pair: Released) -> Released:
    """The challenger is checked, and nobody has called yet."""
    model, number = pair.spec.model, pair.challenger.model_version
    for table in ("release_stage", "prediction", "traffic"):
        execute(pair.settings, f"DELETE FROM {table} WHERE model = %s", model)
    change_past(pair.settings, "DELETE FROM release WHERE model = %s AND model_version = %s", model, number)
    with StateStore(pair.settings.state_url) as state:
        state.write_release(pair.challenger, pair.row.dag_run_id)
        row = pair.row
        state.move_release(model, number, state="checked", bento_tag=row.bento_tag, program=row.program, port=row.port)
    return pair


def execute(settings: Settings, sql: str, *values: object) -> None:
    connection = psycopg2.connect(settings.state_url)
    with connection, connection.cursor() as cursor:
        cursor.execute(sql, values)
    connection.close()


@contextmanager
def once_running(released: Released, stage: str, call: Callable[[], object], *, step: int = 1) -> Iterator[None]:
    """Call as soon as a stage runs and requests are led there, from another thread."""
    errors: list[BaseException] = []

    def wait_and_call() -> None:
        try:
            wait_for(lambda: any((s.stage, s.step, s.outcome) == (stage, step, "running") for s in released.stages()))
            call()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=wait_and_call)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        assert not errors, errors


@contextmanager
def shipping(released: Released) -> Iterator[None]:
    """What the bentos wrote into their journals comes into the tables, as in a stack that is whole."""
    stop = threading.Event()
    thread = threading.Thread(target=prediction_log.serve, args=(released.settings, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def failed_measures(stage: Stage) -> list[str]:
    return [each.measure for each in stage.measures if not each.passed]


def test_a_shadow_gets_copies_and_passes_when_enough_were_compared(released):
    spec = released.asking(shadow=short_shadow(30, requests=100))

    def call() -> None:
        wait_until_copied(released)
        released.log(released.champion, "live")
        released.log(released.challenger, "shadow", scores=SCORES + 0.01, milliseconds=6.0)

    with once_running(released, "shadow", call):
        stage = released.shadow(spec)
    assert (stage.outcome, stage.champion_version, stage.n_requests) == ("passed", 1, 300)
    measures = {each.measure: each for each in stage.measures}
    assert measures["error_ratio"].value == 0
    assert (measures["latency"].value, measures["latency"].champion) == (6.0, 5.0)
    assert measures["disagreement"].value < 0.05
    assert 50 < measures["memory"].value < spec.release.memory_mb
    assert (released.read().state, released.read().traffic_percent) == ("shadow", 0)
    # A killed task that runs again finds it passed.
    assert released.shadow(spec) == stage


def wait_until_copied(released: Released) -> None:
    """Until the challenger gets copies of what the champion answers."""
    with bentos.BentoClient(released.settings.serving_host, released.read().port) as client:
        before = answered(client)
        wait_for(lambda: released.answered_by(5) == {"1": 5} and answered(client) > before)


def answered(client: bentos.BentoClient) -> float:
    return sum(value for name, value in client.read_metrics().items() if name.startswith("perennial_requests_total"))


def test_a_shadow_that_fails_is_rejected_at_once_and_stays_so(released, monkeypatch):
    spec = released.asking(shadow=short_shadow(60, requests=1000))

    def call() -> None:
        released.log(released.champion, "live")
        released.log(released.challenger, "shadow", ROWS[20:], SCORES[20:])
        released.log(released.challenger, "shadow", ROWS[:20], status=500)

    # The first time it is killed right after the commit, before the gateway knows.
    with once_running(released, "shadow", call), monkeypatch.context() as patched:
        patched.setattr("perennial.steps.stage_end.stop_bentos", _killed)
        with pytest.raises(_Killed):
            released.shadow(spec)
    assert released.read().state == "rejected"
    reason = r"error_ratio: 20 of 300 requests failed \(6.7%\), more than 1.0% \(champion: 0.0%\)"
    with pytest.raises(Breach, match=reason) as caught:
        released.shadow(spec)
    (stage,) = released.stages()
    assert caught.value.stage == stage
    assert failed_measures(stage) == ["error_ratio"]
    assert stage.ended_at - stage.started_at < spec.release.shadow.at_most
    released.assert_champion_serves()
    release.withdraw(spec, 2, settings=released.settings)
    assert (released.read().state, released.read().reason) == ("rejected", stage.reason)


class _Killed(BaseException):
    """What `kill -9` looks like from inside: nothing after it runs."""


def _killed(*_: object, **__: object) -> None:
    raise _Killed


def test_a_canary_takes_its_share_and_is_promoted(released):
    at_most = timedelta(seconds=60)
    spec = released.asking(canary=short_canary(1, steps=[20, 60], requests=50), quiet="wait", quiet_at_most=at_most)
    shares: list[Counter[str]] = []

    def call(step: int) -> None:
        wait_for(lambda: len(released.answered_by(10)) == 2)
        shares.append(released.answered_by(150))
        released.log(released.champion, "live", prefix=f"c{step}")
        released.log(released.challenger, "live", prefix=f"n{step}")

    with pytest.raises(ReleaseError, match=r"did not pass canary \(step 1\), canary \(step 2\) in run"):
        release.promote(spec, released.challenger, released.check, dag_run_id=RUN, settings=released.settings)
    with once_running(released, "canary", lambda: call(1)), once_running(released, "canary", lambda: call(2), step=2):
        stages = released.canary(spec)
    assert [(stage.step, stage.traffic_percent, stage.outcome) for stage in stages] == [(1, 20, "passed"), (2, 60, "passed")]
    # Of 150. By chance, one run in a million is further from 30 and 90 than this.
    assert 8 <= shares[0]["2"] <= 57
    assert 59 <= shares[1]["2"] <= 119
    assert released.canary(spec) == stages
    assert "shift" in {each.measure for each in stages[0].measures if each.value is not None}
    assert released.read().traffic_percent == 60


@pytest.mark.parametrize(
    ("scores", "milliseconds", "measure"),
    [(np.clip(SCORES + 0.5, 0, 1), 5.0, "shift"), (SCORES, 200.0, "latency")],
    ids=["shifted", "slow"],
)
def test_a_canary_over_a_limit_is_rolled_back(released, scores, milliseconds, measure):
    spec = released.asking(canary=short_canary(30, steps=[50], requests=50))

    def call() -> None:
        wait_for(lambda: len(released.answered_by(20)) == 2)
        released.log(released.champion, "live", prefix="c")
        released.log(released.challenger, "live", scores=scores, milliseconds=milliseconds, prefix="n")

    where = "canary, step 1 with 50 % of the callers"
    with once_running(released, "canary", call), pytest.raises(Breach, match=f"{where}: {measure}"):
        released.canary(spec)
    (stage,) = released.stages()
    assert failed_measures(stage) == [measure]
    assert released.read().state == "rolled_back"
    released.assert_champion_serves()
    with pytest.raises(Breach, match=measure):
        released.canary(spec)


def test_a_challenger_that_hangs_is_noticed_though_it_answers_nothing(released, monkeypatch):
    """Its share of the requests goes there, and nothing comes back."""
    monkeypatch.setattr("perennial.steps.observe._SETTLED_AFTER", timedelta(seconds=1))
    spec = released.asking(shadow=short_shadow(60, requests=1000))

    def call() -> None:
        while released.stages()[0].outcome == "running":
            released.log(released.champion, "live", ROWS[:20], prefix=f"{time.monotonic()}-")
            time.sleep(0.2)

    with once_running(released, "shadow", call), pytest.raises(Breach, match=r"answered_ratio: 0 of about \d+ requests"):
        released.shadow(spec)


def test_nothing_passes_while_the_prediction_log_is_stuck(released, monkeypatch):
    """Without traffic in the tables, a stage would pass on nothing."""
    spec = released.asking(shadow=short_shadow(3, requests=100), quiet="pass")
    monkeypatch.setattr("perennial.steps.observe._LOG_AT_MOST_SECONDS", 2.0)

    def call() -> None:
        wait_until_copied(released)
        released.answered_by(40)

    with once_running(released, "shadow", call), pytest.raises(UnavailableError, match=r"log is behind: \d+ requests") as caught:
        released.shadow(spec)
    assert caught.value.next_step == "see: perennial status"
    assert released.stages()[0].outcome == "running"
    with shipping(released):
        stage = released.shadow(spec)
    assert (stage.outcome, stage.n_requests >= 40) == ("passed", True)


def test_failures_that_only_the_bento_counted_stop_it(released):
    """The observer is shown the counters of a bento that fails, by a page of its own; nothing of it is in the log."""
    counters = {"200": 10, "500": 0}
    with metrics_page(counters) as port, StateStore(released.settings.state_url) as state:
        stage = state.start_stage(released.spec.model, 2, dag_run_id=RUN, stage="canary", step=1, percent=50)
        observer = Observer(released.settings, state, stage, port=port, since=state.read_clock())
        before = observer.look(now=state.read_clock())
        counters["500"] = 5
        after = observer.look(now=state.read_clock())
        released.log(released.challenger, "live", ROWS[:5], status=500)
        logged = observer.look(now=state.read_clock())
    sides = [each.challenger for each in (before, after, logged)]
    assert [(side.n_requests, side.n_failed) for side in sides] == [(0, 0), (5, 5), (5, 5)]


@contextmanager
def metrics_page(counters: dict[str, int]) -> Iterator[int]:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            lines = [f'perennial_requests_total{{path="/predict",status="{key}"}} {n}' for key, n in counters.items()]
            self.send_response(200)
            self.end_headers()
            self.wfile.write("\n".join(lines).encode())

        def log_message(self, *_: object) -> None:
            """Nothing is said."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_a_stage_that_nobody_watched_for_an_hour_waits_for_its_traffic_all_the_same(released):
    spec = released.asking(shadow=short_shadow(20, requests=100), quiet="pass")
    with StateStore(released.settings.state_url) as state:
        state.start_stage(spec.model, 2, dag_run_id=RUN, stage="shadow", step=1, percent=100)
    execute(
        released.settings, "UPDATE release_stage SET started_at = started_at - interval '1 hour' WHERE model = %s", spec.model
    )

    def call() -> None:
        wait_until_copied(released)
        released.log(released.champion, "live")
        released.log(released.challenger, "shadow")

    with once_running(released, "shadow", call):
        stage = released.shadow(spec)
    assert (stage.outcome, stage.n_requests) == ("passed", 300)


def test_too_little_traffic_ends_the_release_where_the_spec_waits(released):
    spec = released.asking(shadow=short_shadow(1, requests=5), quiet="wait", quiet_at_most=timedelta(seconds=2))
    for _ in range(2):
        with pytest.raises(ReleaseError, match=r"too little traffic: 0 of 5 requests within 0:00:02"):
            released.shadow(spec)
    assert (released.read().state, released.stages()[0].outcome) == ("rejected", "ended")
    released.assert_champion_serves()


def test_logged_requests_stand_in_for_live_ones(released):
    values = {"shadow": short_shadow(1, requests=60), "canary": short_canary(1, steps=[50], requests=60), "quiet": "replay"}
    spec = released.asking(**values)
    predictions = predict_offline(released, ROWS[:60])
    released.log(released.champion, "live", ROWS[:60], predictions, milliseconds=40.0, prefix="fit")
    released.log(released.champion, "live", [{"carrier": "UA"}] * 3, [0.5] * 3, prefix="unfit")
    with shipping(released):
        stage = released.shadow(spec)
    measures = {each.measure: each for each in stage.measures}
    assert measures["replayed"].value == 60
    # Both were measured in the bento: ours as the log has it.
    with StateStore(released.settings.state_url) as state:
        latencies = state.read_latencies(spec.model, 2, kind="replay", since=stage.started_at)
    assert len(latencies) == 57
    assert (measures["latency"].value in latencies, measures["latency"].champion) == (True, 40.0)
    assert "3 of them do not fit this version's fields any more" in stage.reason
    assert (stage.outcome, measures["disagreement"].value) == ("passed", 0.0)
    # What was judged in the shadow is not asked again in the canary.
    (step,) = released.canary(spec)
    assert "60 logged requests stood in for them in the shadow" in step.reason


def predict_offline(released: Released, rows: Sequence[dict]) -> list[float]:
    with StateStore(released.settings.state_url) as state:
        serving.start_again(released.settings, state, released.read())
    with bentos.BentoClient(released.settings.serving_host, released.read().port) as client:
        wait_for(lambda: client.predict(list(rows)).status == 200)
        return [each["probability"] for each in client.predict(list(rows)).content["predictions"]]


def test_a_replay_shows_a_challenger_that_is_another_model(released):
    spec = released.asking(canary=short_canary(1, steps=[50], requests=60), quiet="replay")
    released.log(released.champion, "live", ROWS[:60], [0.01] * 60)
    with pytest.raises(Breach, match=r"disagreement: \d+ of \d+ rows got another label"):
        released.canary(spec)
    assert released.read().state == "rolled_back"


def test_with_nothing_to_replay_it_passes_and_says_so(released):
    stage = released.shadow(released.asking(shadow=short_shadow(1, requests=5), quiet="replay"))
    assert "no logged request of the champion could stand in for them" in stage.reason


def test_a_gateway_that_is_away_is_no_fault_of_the_challenger(released, monkeypatch):
    spec = released.asking(shadow=short_shadow(3, requests=5), quiet="pass")

    def stop_gateway() -> None:
        wait_until_copied(released)
        supervisor.stop_program(released.settings, "gateway")

    try:
        with once_running(released, "shadow", stop_gateway), monkeypatch.context() as patched:
            patched.setattr("perennial.steps.observe._GATEWAY_AWAY_SECONDS", 0.5)
            with pytest.raises(UnavailableError, match="the gateway is away"):
                released.shadow(released.asking(shadow=short_shadow(60, requests=5)))
        assert released.stages()[0].outcome == "running"
    finally:
        supervisor.start_program(released.settings, "gateway")
    assert released.shadow(spec).outcome == "passed"


def test_a_release_left_half_way_gives_way_to_the_next_one(released):
    """Another version, or another attempt with this one: what was left behind is over, and callers are led back."""
    settings, spec = released.settings, released.asking(canary=short_canary(1, steps=[50], requests=1))
    with StateStore(settings.state_url) as state:
        state.start_stage(spec.model, 2, dag_run_id=RUN, stage="canary", step=1, percent=50)
        serving.write_gateway(settings, state)
    assert len(released.answered_by()) == 2
    package_and_check(settings, spec, released.challenger, dag_run_id="another run")
    assert released.read().state == "checked"
    assert released.answered_by() == {"1": 40}
    ended, check = released.stages()
    assert (ended.outcome, ended.reason) == ("ended", "superseded by another attempt (another run)")
    assert (check.stage, check.outcome, check.dag_run_id) == ("check", "passed", "another run")
    assert {each.measure for each in check.measures} == {"parity", "p99", "memory", "ready_seconds"}


def test_a_challenger_that_may_not_serve_is_not_shown_to_callers(released):
    spec = released.asking(shadow=short_shadow(1, requests=1), canary=short_canary(1))
    sql = "UPDATE release SET training_end = '2013-01-01' WHERE model = %s AND model_version = 2"
    change_past(released.settings, sql, spec.model)
    for step in (released.shadow, released.canary):
        with pytest.raises(ReleaseError, match="learned from data until 2013-01-01"):
            step(spec)
    assert (released.read().state, released.stages()) == ("checked", [])


def test_without_another_champion_or_a_stage_in_the_spec_there_is_nothing_to_watch(released):
    assert released.shadow(released.spec) is None
    assert released.canary(released.spec) == ()
    spec = released.asking(shadow=short_shadow(1), canary=short_canary(1))
    assert shadow.shadow(spec, released.champion, dag_run_id=RUN, settings=released.settings) is None
    assert canary.canary(spec, released.champion, dag_run_id=RUN, settings=released.settings) == ()


def test_what_was_under_way_runs_again_after_a_restart(released, tmp_path):
    settings = released.settings
    with StateStore(settings.state_url) as state:
        state.start_stage(released.spec.model, 2, dag_run_id=RUN, stage="canary", step=1, percent=50)
    supervisor.remove_program(settings, released.row.program)
    gateway.write_config(settings, {})
    serving.reconcile_serving(with_specs(settings, tmp_path, released.spec.model))
    wait_for(lambda: supervisor.program_states(settings, released.row.program) != [])
    wait_for(lambda: set(answering_versions(released)) == {"1", "2"})


def answering_versions(released: Released) -> list[str]:
    url = f"{released.settings.gateway_url}{predict_path(released.spec)}"
    return [httpx.post(url, json={"rows": ROWS[:1]}, timeout=30).headers["x-model-version"] for _ in range(10)]
