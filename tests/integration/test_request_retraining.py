"""The gatekeeper on a real Postgres: who asks, what speaks for and against it, what is recorded. Airflow's runs are made up."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest

from perennial.adapters.airflow_api import DagRunState
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Decision, RegisteredVersion, Run, Snapshot
from perennial.contracts.monitoring import Finding, RetrainRequest, Verdict, Window
from perennial.errors import ConfigurationError
from perennial.steps import request_retraining as gatekeeper
from perennial.steps.request_retraining import request_by_hand, request_for_window
from perennial.steps.retrain_admission import Starter, end_retraining, why_not_retrain
from support.data.spec_of_rows import small_spec

pytestmark = pytest.mark.integration

MAY = datetime(2013, 5, 1, tzinfo=UTC)
DAY, WEEK = timedelta(days=1), timedelta(weeks=1)


@dataclass
class FakeAirflow:
    """Runs of `retrain__<model>` by id."""

    runs: dict[str, str] = field(default_factory=dict)
    triggered: list[tuple[str, object]] = field(default_factory=list)

    def find_dag_run(self, dag_id: str, dag_run_id: str) -> DagRunState | None:
        return self._run(dag_id, dag_run_id) if dag_run_id in self.runs else None

    def find_unfinished_runs(self, dag_id: str) -> list[DagRunState]:
        newest_first = reversed(list(self.runs.items()))
        return [self._run(dag_id, run) for run, state in newest_first if state in ("queued", "running")]

    def trigger(self, dag_id: str, dag_run_id: str, params: object) -> DagRunState:
        if dag_run_id not in self.runs:
            self.triggered.append((dag_run_id, params))
            self.runs[dag_run_id] = "queued"
        return self._run(dag_id, dag_run_id)

    def close(self) -> None:
        pass

    def _run(self, dag_id: str, dag_run_id: str) -> DagRunState:
        return DagRunState(dag_id=dag_id, dag_run_id=dag_run_id, state=self.runs[dag_run_id])


@dataclass(frozen=True, kw_only=True)
class Desk:
    """One model, its verdicts and its requests."""

    spec: ModelSpec
    settings: Settings
    airflow: FakeAirflow

    def judge(self, outcome: str = "drift", *, end: datetime = MAY, ratio: float | None = 1.0, **changes: object) -> Window:
        """Record a verdict on the week before `end`."""
        labels = Finding(aspect="performance", measure="labels", reason="they came", value=ratio)
        verdict = Verdict(
            model=self.spec.model, window_start=end - WEEK, window_end=end, as_of=end, mode="live", dag_run_id=f"w{end:%m%d}",
            model_version=1, outcome=outcome, reasons=(f"it is {outcome}",), findings=(labels,), is_persistent=True, n_rows=500,
        )  # fmt: skip
        with StateStore(self.settings.state_url) as state:
            state.write_verdict(replace(verdict, **changes))
        return Window(
            model=self.spec.model,
            start=end - WEEK,
            end=end,
            as_of=end,
            dag_id=f"monitor__{self.spec.model}",
            dag_run_id=f"w{end:%m%d}",
        )

    def ask(self, window: Window, **retrain: object) -> RetrainRequest | None:
        policy = self.spec.retrain.model_copy(update=retrain)
        return request_for_window(self.spec.model_copy(update={"retrain": policy}), window, settings=self.settings)

    def admit(
        self, dag_run_id: str, source: str = "schedule", *, as_of: datetime = MAY, request_id: int = 0, mode: str = "live"
    ) -> str:
        run = Run(model=self.spec.model, dag_id="retrain", dag_run_id=dag_run_id, as_of=as_of, start=as_of - WEEK, mode=mode)
        return why_not_retrain(self.spec, run, Starter(source=source, actor="ann", request_id=request_id), settings=self.settings)

    def requests(self) -> list[tuple[str, str, str]]:
        with StateStore(self.settings.state_url) as state:
            return [(each.source, each.outcome, each.dag_run_id) for each in state.read_requests(self.spec.model)]


@pytest.fixture
def desk(settings, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    airflow = FakeAirflow()
    monkeypatch.setattr(gatekeeper, "_open_airflow", lambda _settings: airflow)
    spec = small_spec(model=request.node.name.replace("[", "_").strip("]").replace("-", "_")[:60])
    make_champion(settings, spec.model, as_of=MAY - 5 * WEEK)
    yield Desk(spec=spec, settings=settings, airflow=airflow)


def make_champion(settings: Settings, model: str, *, as_of: datetime) -> None:
    snapshot = Snapshot(
        snapshot_id=f"{model}-s", model=model, as_of=as_of, start=as_of - 4 * WEEK, holdout_start=as_of - WEEK, n_rows=100,
        digest="d", sql_digest="s", dvc_revision="r", path="",
    )  # fmt: skip
    version = RegisteredVersion(
        model=model, model_version=1, mlflow_run_id="m", model_uri="u", snapshot_id=snapshot.snapshot_id, training_end=as_of
    )
    with StateStore(settings.state_url) as state:
        state.write_snapshot(snapshot, ())
        state.write_release(version, "first")
        state.move_release(model, 1, state="checked")
        state.promote(model, 1, dag_run_id="first", reason="first", actor="test")


def failed(request: RetrainRequest | None) -> list[str]:
    assert request is not None
    return [check.gate for check in request.checks if not check.passed]


def test_a_persistent_verdict_is_granted_once(desk: Desk) -> None:
    window = desk.judge("performance")
    request = desk.ask(window)
    assert request is not None
    assert (request.outcome, request.reason, request.as_of) == ("granted", "it is performance", MAY)
    assert request.dag_run_id == f"request__{request.request_id}"
    assert desk.ask(window) == request
    assert desk.requests() == [("monitor", "granted", request.dag_run_id)]


@pytest.mark.parametrize(
    "changes", [{"outcome": "healthy"}, {"outcome": "data_fault"}, {"outcome": "no_traffic"}, {"is_persistent": False}]
)
def test_a_verdict_that_wants_nothing_asks_for_nothing(desk: Desk, changes: dict[str, object]) -> None:
    assert desk.ask(desk.judge(**changes)) is None
    assert desk.requests() == []


def test_a_verdict_that_the_spec_does_not_retrain_on_asks_for_nothing(desk: Desk) -> None:
    assert desk.ask(desk.judge("drift"), on=["performance"]) is None


def test_a_champion_that_is_too_old_is_asked_to_be_retrained_whatever_the_verdict(desk: Desk) -> None:
    request = desk.ask(desk.judge("healthy"), max_age=30 * DAY)
    assert request is not None
    assert request.outcome == "granted"
    assert request.reason == "the champion learned from data up to 35.0 days ago; 30 days are the most"


def test_labels_that_are_late_and_broken_data_decline(desk: Desk) -> None:
    assert failed(desk.ask(desk.judge("drift", ratio=0.4))) == ["labels_mature"]
    later = desk.judge("data_fault", end=MAY + WEEK, findings=(
        Finding(aspect="quality", measure="missing", reason="a fifth of weight is missing", breached=True, blocks=True),
        Finding(aspect="performance", measure="labels", reason="they came", value=1.0),
    ))  # fmt: skip
    request = desk.ask(later, max_age=30 * DAY)
    assert failed(request) == ["data_healthy"]
    assert request is not None
    assert "a fifth of weight is missing" in gatekeeper.describe_refusal(request)


def test_the_cooldown_is_of_the_datas_time(desk: Desk) -> None:
    first = desk.ask(desk.judge("drift"), cooldown=2 * WEEK)
    assert first is not None
    desk.airflow.runs[first.dag_run_id] = "success"
    assert failed(desk.ask(desk.judge("drift", end=MAY + WEEK), cooldown=2 * WEEK)) == ["cooldown"]
    third = desk.ask(desk.judge("drift", end=MAY + 2 * WEEK), cooldown=2 * WEEK)
    assert third is not None
    assert third.outcome == "granted"


def decide(desk: Desk, request: RetrainRequest | None) -> None:
    """The retraining has ended, its challenger was rejected."""
    assert request is not None
    desk.airflow.runs[request.dag_run_id] = "success"
    decision = Decision(
        model=desk.spec.model, dag_run_id=request.dag_run_id, snapshot_id=f"{desk.spec.model}-s", outcome="rejected",
        candidate="c", mlflow_run_id=request.dag_run_id, gates=(), challenger_metrics={},
    )  # fmt: skip
    with StateStore(desk.settings.state_url) as state:
        state.write_decision(decision)


def test_after_a_rejection_the_same_drift_is_not_asked_for_each_week(desk: Desk) -> None:
    labels = Finding(aspect="performance", measure="labels", reason="they came", value=1.0)
    wind = Finding(
        aspect="drift", measure="psi", subject="wind", reason="wind", value=0.3, breached=True, importance=0.4, threshold=0.1
    )
    granted = []
    for week in range(8):
        window = desk.judge("drift", end=MAY + week * WEEK, findings=(labels, wind), n_rows=10)
        request = desk.ask(window, cooldown=DAY, new_rows_ratio=0.25)
        if failed(request) == []:
            granted.append(week)
            decide(desk, request)
        else:
            assert failed(request) == ["new_evidence"]
    # A quarter of the training set's four weeks is new each week: the next waits for one, then two, then four of them.
    assert granted == [0, 1, 3, 7]
    fell = Finding(aspect="performance", measure="roc_auc", reason="it fell", value=0.6, reference=0.7, breached=True)
    window = desk.judge("performance", end=MAY + 8 * WEEK, findings=(labels, fell))
    assert failed(desk.ask(window, cooldown=DAY)) == []


def test_nothing_is_granted_while_a_retraining_waits_or_a_release_is_under_way(desk: Desk) -> None:
    desk.airflow.runs["by hand"] = "queued"
    request = desk.ask(desk.judge("drift"))
    assert failed(request) == ["not_running"]
    assert "the retraining by hand is queued and comes first" in gatekeeper.describe_refusal(request)
    desk.airflow.runs.clear()
    with StateStore(desk.settings.state_url) as state:
        version = RegisteredVersion(
            model=desk.spec.model,
            model_version=2,
            mlflow_run_id="m2",
            model_uri="u",
            snapshot_id=f"{desk.spec.model}-s",
            training_end=MAY,
        )
        state.write_release(version, "second")
        state.move_release(desk.spec.model, 2, state="checked")
    assert failed(desk.ask(desk.judge("drift", end=MAY + WEEK))) == ["not_running"]
    assert desk.admit("by ann", "person") == ""


def test_a_run_that_could_not_end_its_request_is_healed(desk: Desk) -> None:
    first = desk.ask(desk.judge("drift"))
    assert first is not None
    # Not started yet: who triggers it may be on the way.
    assert failed(desk.ask(desk.judge("drift", end=MAY + 2 * WEEK))) == ["not_running"]
    desk.airflow.runs[first.dag_run_id] = "failed"
    later = desk.ask(desk.judge("drift", end=MAY + 4 * WEEK))
    assert later is not None
    assert later.outcome == "granted"
    # Never started, and decided long ago.
    age(desk.settings, later.request_id)
    assert desk.ask(desk.judge("drift", end=MAY + 6 * WEEK)).outcome == "granted"


def age(settings: Settings, request_id: int) -> None:
    connection = psycopg2.connect(settings.state_url)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "UPDATE retrain_request SET decided_at = decided_at - interval '1 hour' WHERE request_id = %s", (request_id,)
        )
    connection.close()


def test_a_scheduled_run_asks_for_itself_and_ends_its_request(desk: Desk) -> None:
    desk.judge("healthy")
    assert desk.admit("scheduled__1") == ""
    assert desk.admit("scheduled__1") == ""  # tried again
    assert desk.requests() == [("schedule", "granted", "scheduled__1")]
    assert end_retraining(desk.spec.model, "scheduled__1", settings=desk.settings)
    assert not end_retraining(desk.spec.model, "scheduled__1", settings=desk.settings)
    why = desk.admit("scheduled__2", as_of=MAY + timedelta(hours=1))
    assert "the nearest retraining that was granted is 1.0 hours away" in why
    assert not end_retraining(desk.spec.model, "scheduled__2", settings=desk.settings)


def test_a_person_waits_for_no_cooldown_but_for_another_retraining(desk: Desk) -> None:
    assert desk.admit("scheduled__1") == ""
    assert "scheduled__1 of request" in desk.admit("manual__1", "person", as_of=MAY + DAY)
    end_retraining(desk.spec.model, "scheduled__1", settings=desk.settings)
    assert desk.admit("manual__2", "person", as_of=MAY + DAY) == ""
    assert desk.requests()[0] == ("person", "granted", "manual__2")


def test_of_two_runs_that_are_started_at_once_the_earlier_one_goes_on(desk: Desk) -> None:
    desk.airflow.runs |= {"manual__1": "running", "manual__2": "running"}
    assert desk.admit("manual__1", "person") == ""
    assert "manual__1" in desk.admit("manual__2", "person")


def test_a_run_that_was_triggered_goes_on_with_its_own_request(desk: Desk) -> None:
    request = desk.ask(desk.judge("drift"))
    assert request is not None
    assert desk.admit(request.dag_run_id, "person", request_id=request.request_id) == ""
    assert desk.requests() == [("monitor", "granted", request.dag_run_id)]
    with pytest.raises(ConfigurationError, match="is not that of run other"):
        desk.admit("other", "person", request_id=request.request_id)
    with pytest.raises(ConfigurationError, match="request 999999"):
        desk.admit("other", "person", request_id=999_999)


def test_a_run_that_is_started_anew_opens_its_request_unless_another_runs(desk: Desk) -> None:
    assert desk.admit("first") == ""
    end_retraining(desk.spec.model, "first", settings=desk.settings)
    assert desk.admit("first") == ""
    end_retraining(desk.spec.model, "first", settings=desk.settings)
    assert desk.admit("second", "person") == ""
    assert "another retraining" in desk.admit("first")


def test_a_backfill_needs_no_request(desk: Desk) -> None:
    assert desk.admit("backfill__1", mode="backfill") == ""
    assert desk.requests() == []


def test_asked_for_by_hand_twice_it_is_one_request_and_one_run(desk: Desk) -> None:
    ask = lambda **changes: request_by_hand(  # noqa: E731
        desk.spec,
        **{"reason": "new depot", "actor": "cli:ann", "as_of": MAY, "is_forced": False, "settings": desk.settings, **changes},
    )
    first = ask()
    assert ask() == first
    assert desk.airflow.triggered == [
        (f"request__{first.request_id}", {"as_of": MAY.isoformat(), "request_id": str(first.request_id)})
    ]
    assert ask(reason="another").outcome == "declined"
    assert len(desk.airflow.triggered) == 1


def test_broken_data_is_gone_over_by_force_only(desk: Desk) -> None:
    fault = Finding(aspect="quality", measure="missing", reason="gone", breached=True, blocks=True)
    desk.judge("data_fault", findings=(fault,))
    ask = lambda forced: request_by_hand(  # noqa: E731
        desk.spec, reason=f"forced {forced}", actor="ann", as_of=MAY, is_forced=forced, settings=desk.settings
    )
    assert (failed(ask(False)), ask(True).outcome) == (["data_healthy"], "granted")


def test_a_verdict_that_the_next_window_should_have_replaced_says_nothing(desk: Desk) -> None:
    fault = Finding(aspect="quality", measure="missing", reason="gone", breached=True, blocks=True)
    desk.judge("data_fault", findings=(fault,))
    assert "the data is broken: gone" in desk.admit("scheduled__1", as_of=MAY + WEEK)
    assert desk.admit("scheduled__2", as_of=MAY + WEEK + DAY) == ""
