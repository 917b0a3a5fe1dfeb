"""What a step of a replay waits for, and what it makes of it: the tables are real, Airflow is told what to say."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from perennial.adapters.airflow_api import DagRunState
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.contracts import Decision, GateResult, RegisteredVersion, Snapshot
from perennial.contracts.monitoring import RequestOutcome, RetrainRequest, Verdict
from perennial.contracts.replay import Interval
from perennial.errors import StackError
from perennial.steps import replay_runs
from perennial.steps.replay_runs import Aftermath, StepRuns, window_key

pytestmark = pytest.mark.integration

APRIL = Interval(start=datetime(2013, 4, 1, tzinfo=UTC), end=datetime(2013, 5, 1, tzinfo=UTC))
MONITOR_RUN, RETRAIN_RUN, RELEASE_RUN = "replay__20130401T0000__20130501T0000", "request__7", "released"


class Airflow:
    """Says of each run what it was told to, one word after the other; the last one stays."""

    def __init__(self, **states: tuple[str, ...]) -> None:
        self.states = {name: list(words) for name, words in states.items()}
        self.params: Mapping[str, object] = {}

    def trigger(self, dag_id: str, dag_run_id: str, params: Mapping[str, object]) -> DagRunState:
        self.params = params
        return DagRunState(dag_id=dag_id, dag_run_id=dag_run_id, state="queued")

    def find_dag_run(self, dag_id: str, dag_run_id: str) -> DagRunState | None:
        words = self.states[dag_id.partition("__")[0]]
        word = words.pop(0) if len(words) > 1 else words[0]
        return DagRunState(dag_id=dag_id, dag_run_id=dag_run_id, state=word) if word else None

    def find_triggered(self, dag_id: str, _dag_run_id: str) -> list[DagRunState]:
        release = dag_id.replace("retrain", "release")
        return [DagRunState(dag_id=release, dag_run_id=RELEASE_RUN, state="running")] if "release" in self.states else []

    def read_tasks(self, *_: str) -> list[object]:
        return []


@pytest.fixture(autouse=True)
def _nobody_waits_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_runs, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(replay_runs, "_START_SECONDS", 0.05)


def follow(model: str, settings: Settings, airflow: Airflow) -> Aftermath:
    return StepRuns(model, api=airflow, settings=settings, tell=lambda _: None).follow(APRIL)


def write_verdict(state: StateStore, model: str) -> None:
    state.write_verdict(
        Verdict(
            model=model,
            window_start=APRIL.start,
            window_end=APRIL.end,
            as_of=APRIL.end,
            mode="live",
            dag_run_id=MONITOR_RUN,
            model_version=1,
            outcome="drift",
            reasons=("another season",),
            n_rows=900,
        )
    )


def ask(
    state: StateStore, model: str, outcome: RequestOutcome, *, source: str = "monitor", dag_run_id: str = RETRAIN_RUN
) -> None:
    key = window_key(APRIL.start, APRIL.end) if source == "monitor" else f"{source} wish"
    wish = RetrainRequest(model=model, request_key=key, source=source, actor="test", as_of=APRIL.end, reason="another season")
    check = GateResult(gate="cooldown", passed=outcome == "granted", reason="the last one was 7 days before")
    request = state.write_request(wish)
    state.decide_request(request.request_id, outcome=outcome, checks=(check,), dag_run_id=dag_run_id)


def decide(state: StateStore, model: str, outcome: str) -> None:
    snapshot = Snapshot(
        snapshot_id=f"{model}-s",
        model=model,
        as_of=APRIL.end,
        start=APRIL.start - timedelta(days=90),
        holdout_start=APRIL.end - timedelta(days=14),
        n_rows=100,
        digest="d",
        sql_digest="s",
        dvc_revision="r",
        path="",
    )
    state.write_snapshot(snapshot, ())
    state.write_decision(
        Decision(
            model=model,
            dag_run_id=RETRAIN_RUN,
            snapshot_id=snapshot.snapshot_id,
            outcome=outcome,
            candidate="trees",
            mlflow_run_id="m2",
            gates=(GateResult(gate="improvement", passed=outcome == "accepted", reason="so much"),),
            challenger_metrics={"roc_auc": 0.7},
        )
    )


def promote(state: StateStore, model: str) -> None:
    version = RegisteredVersion(
        model=model, model_version=2, mlflow_run_id="m2", model_uri="u", snapshot_id=f"{model}-s", training_end=APRIL.end
    )
    state.write_release(version, RETRAIN_RUN)
    state.move_release(model, 2, state="checked")
    state.promote(model, 2, dag_run_id=RELEASE_RUN, reason="better", actor="test")


def test_a_window_that_asks_for_nothing_ends_the_step(settings, state, model):
    write_verdict(state, model)
    ask(state, model, "granted", source="person")  # not the window's own wish
    airflow = Airflow(monitor=("", "queued", "running", "success"))
    after = follow(model, settings, airflow)
    assert (after.verdict.outcome, after.request, after.retraining, after.release) == ("drift", None, "", "")
    assert airflow.params == {"start": "2013-04-01T00:00:00+00:00", "end": "2013-05-01T00:00:00+00:00"}


def test_a_declined_wish_says_why(settings, state, model):
    write_verdict(state, model)
    ask(state, model, "declined")
    after = follow(model, settings, Airflow(monitor=("success",)))
    assert after.request is not None
    assert (after.request.outcome, after.request.checks[0].reason) == ("declined", "the last one was 7 days before")
    assert after.retraining == ""


def test_a_challenger_that_is_promoted_was_waited_for(settings, state, model):
    write_verdict(state, model)
    ask(state, model, "granted")
    decide(state, model, "accepted")
    promote(state, model)
    airflow = Airflow(monitor=("success",), retrain=("", "running", "success"), release=("running", "success"))
    after = follow(model, settings, airflow)
    assert (after.retraining, after.release) == ("accepted", "promoted")
    assert {name: len(words) for name, words in airflow.states.items()} == {"monitor": 1, "retrain": 1, "release": 1}


def test_a_challenger_that_was_stopped_on_its_way_is_no_champion(settings, state, model):
    write_verdict(state, model)
    ask(state, model, "granted")
    decide(state, model, "accepted")
    after = follow(model, settings, Airflow(monitor=("success",), retrain=("success",), release=("failed",)))
    assert (after.retraining, after.release) == ("accepted", "stopped")


def test_a_rejected_challenger_is_not_waited_for(settings, state, model):
    write_verdict(state, model)
    ask(state, model, "granted")
    decide(state, model, "rejected")
    after = follow(model, settings, Airflow(monitor=("success",), retrain=("success",)))
    assert (after.retraining, after.release) == ("rejected", "")


def test_a_retraining_that_failed_is_told_and_the_replay_goes_on(settings, state, model):
    write_verdict(state, model)
    ask(state, model, "granted")
    after = follow(model, settings, Airflow(monitor=("success",), retrain=("failed",)))
    assert (after.retraining, after.decision) == ("failed", None)


def test_a_monitor_that_failed_ends_the_replay_with_the_way_to_its_task(settings, model):
    with pytest.raises(StackError, match=f"monitor__{model} run {MONITOR_RUN} failed") as caught:
        follow(model, settings, Airflow(monitor=("failed",)))
    assert f"/dags/monitor__{model}/runs/{MONITOR_RUN}" in caught.value.next_step


def test_a_challenger_without_a_release_is_a_fault_of_the_stack(settings, state, model):
    write_verdict(state, model)
    ask(state, model, "granted")
    decide(state, model, "accepted")
    with pytest.raises(StackError, match="started no release"):
        follow(model, settings, Airflow(monitor=("success",), retrain=("success",)))
