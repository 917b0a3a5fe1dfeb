"""What a step of a replay is said to have set off, now and when the replay is taken up again."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Self

import pytest

from perennial.adapters.airflow_api import DagRunState
from perennial.contracts.monitoring import RetrainRequest, Verdict
from perennial.contracts.replay import Interval, Sent
from perennial.steps import replay_runs
from perennial.steps.replay_period import _step
from perennial.steps.replay_runs import Aftermath, StepRuns

APRIL, MAY = (datetime(2013, month, 1, tzinfo=UTC) for month in (4, 5))
VERDICT = Verdict(
    model="parcels", window_start=APRIL, window_end=MAY, as_of=MAY, mode="live", dag_run_id="m", model_version=1,
    outcome="drift", reasons=("inputs moved",),
)  # fmt: skip
REQUEST = RetrainRequest(
    model="parcels", request_key="window 2013-04-01T00:00:00+00:00 2013-05-01T00:00:00+00:00", source="monitor", actor="m",
    as_of=MAY, reason="r", outcome="granted", dag_run_id="request__1",
)  # fmt: skip


@dataclass
class FakeState:
    """What is recorded: decision, who promoted what, requests by their key."""

    outcome: str = "accepted"
    promoted: dict[str, int] = field(default_factory=dict)
    requests: dict[str, RetrainRequest] = field(default_factory=lambda: {REQUEST.request_key: REQUEST})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_verdict(self, _model: str, **_window: datetime) -> Verdict:
        return VERDICT

    def find_request(self, _model: str, key: str) -> RetrainRequest | None:
        return self.requests.get(key)

    def read_decision(self, _model: str, _dag_run_id: str) -> object:
        return SimpleNamespace(outcome=self.outcome, reasons=())

    def read_promoted(self, _model: str, dag_run_ids: list[str]) -> int | None:
        return next((self.promoted[each] for each in dag_run_ids if each in self.promoted), None)


class FakeAirflow:
    """Every run is there and has ended."""

    def trigger(self, dag_id: str, dag_run_id: str, _params: object) -> DagRunState:
        return DagRunState(dag_id=dag_id, dag_run_id=dag_run_id, state="success")

    def find_dag_run(self, dag_id: str, dag_run_id: str) -> DagRunState:
        return DagRunState(dag_id=dag_id, dag_run_id=dag_run_id, state="success")

    def find_triggered(self, _dag_id: str, dag_run_id: str) -> list[DagRunState]:
        return [DagRunState(dag_id="release__parcels", dag_run_id=f"release of {dag_run_id}", state="success")]


def follow(state: FakeState, monkeypatch: pytest.MonkeyPatch) -> Aftermath:
    monkeypatch.setattr(replay_runs, "StateStore", lambda _url: state)
    runs = StepRuns("parcels", api=FakeAirflow(), settings=SimpleNamespace(state_url=""), tell=lambda _what: None)
    return runs.follow(Interval(start=APRIL, end=MAY))


@pytest.mark.parametrize(
    ("state", "retraining", "release", "version"),
    [
        (FakeState(promoted={"release of request__1": 2, "a later one": 3}), "accepted", "promoted", 2),
        (FakeState(promoted={"a later one": 3}), "accepted", "stopped", 1),
        (FakeState(outcome="rejected"), "rejected", "", 1),
        (FakeState(requests={}), "", "", 1),
    ],
)
def test_a_step_tells_its_own_champion_whoever_serves_by_now(
    state: FakeState, retraining: str, release: str, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = follow(state, monkeypatch)
    step = _step(Interval(start=APRIL, end=MAY), sent=Sent(n_rows=1, n_requests=1), after=after)
    assert (step.retraining, step.release, step.model_version) == (retraining, release, version)


def test_another_windows_request_is_not_this_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(REQUEST, request_key="window 2013-04-30T00:00:00+00:00 2013-05-01T00:00:00+00:00")
    assert follow(FakeState(requests={other.request_key: other}), monkeypatch).request is None
