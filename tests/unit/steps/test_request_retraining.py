"""Which runs a retraining waits for, and what a window asks for."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from perennial.adapters.airflow_api import DagRunState
from perennial.contracts import Champion, ReleaseRow, Snapshot
from perennial.contracts.monitoring import RetrainRequest, Verdict, Window
from perennial.steps.request_retraining import find_earlier, wish_for_window
from support.data.spec_of_rows import AS_OF, small_spec

NEWEST_FIRST = [DagRunState(dag_id="retrain__parcels", dag_run_id=name, state="running") for name in ("c", "b", "a")]
WEEK = timedelta(days=7)
SNAPSHOT = Snapshot(
    snapshot_id="s", model="parcels", as_of=AS_OF, start=AS_OF - 10 * WEEK, holdout_start=AS_OF - WEEK, n_rows=10_000,
    digest="", sql_digest="", dvc_revision="", path="",
)  # fmt: skip
RELEASE = ReleaseRow(
    model="parcels", model_version=2, state="champion", dag_run_id="request__1", snapshot_id="s", mlflow_run_id="",
    training_end=AS_OF, bento_tag="", program="", port=None, reason="", traffic_percent=100,
)  # fmt: skip
CAUSE = RetrainRequest(
    model="parcels", request_key="w", source="monitor", actor="monitor__parcels", as_of=AS_OF, reason="it fell",
    evidence={"outcome": "performance", "model_version": 1}, outcome="granted", request_id=1, dag_run_id="request__1",
)  # fmt: skip


@pytest.mark.parametrize(
    ("own", "earlier"), [("a", []), ("b", ["a"]), ("c", ["b", "a"]), ("", ["c", "b", "a"]), ("request__7", ["c", "b", "a"])]
)
def test_of_two_runs_only_the_later_one_waits(own: str, earlier: list[str]) -> None:
    assert [run.dag_run_id for run in find_earlier(NEWEST_FIRST, own)] == earlier


@dataclass
class State:
    """What the state database says of a champion that a request led to."""

    cause: RetrainRequest | None = CAUSE
    granted: list[RetrainRequest] = field(default_factory=list)

    def read_champion(self, model: str) -> Champion:
        return Champion(model=model, model_version=2, valid_from=AS_OF)

    def read_release(self, _model: str, _version: int) -> ReleaseRow:
        return RELEASE

    def read_snapshot(self, _snapshot_id: str) -> Snapshot:
        return SNAPSHOT

    def find_request_of_run(self, _model: str, dag_run_id: str) -> RetrainRequest | None:
        return self.cause if dag_run_id == "request__1" else None

    def read_requests(self, _model: str, **_which: object) -> list[RetrainRequest]:
        return self.granted

    def read_decision(self, _model: str, _dag_run_id: str) -> bool:
        return True


def ask(state: State, *, weeks: int, outcome: str = "healthy", **retrain: object) -> RetrainRequest | None:
    end = AS_OF + weeks * WEEK
    window = Window(model="parcels", start=end - WEEK, end=end, as_of=end, dag_id="monitor__parcels", dag_run_id="m")
    verdict = Verdict(
        model="parcels", window_start=window.start, window_end=end, as_of=end, mode="live", dag_run_id="m", model_version=2,
        outcome=outcome, reasons=("it is",), n_rows=1000,
    )  # fmt: skip
    spec = small_spec(retrain={"follow_up_ratio": 0.2, "new_rows_ratio": 0.25} | retrain)
    return wish_for_window(state, spec, window, verdict)


def test_a_champion_of_a_bad_verdict_is_followed_up_once_enough_rows_are_new() -> None:
    assert ask(State(), weeks=1) is None
    wish = ask(State(), weeks=2)
    assert wish is not None
    assert wish.reason == (
        "the champion came of request 1, and since 2013-02-01 about 20.0% of its training rows are new, limit 20.0%"
    )
    assert wish.evidence["is_follow_up"] is True
    assert ask(State(), weeks=2, follow_up_ratio=None) is None
    assert ask(State(), weeks=2, cooldown="15 days") is None


def test_a_follow_up_in_vain_is_followed_by_another_once_its_new_rows_are_there() -> None:
    state = State(granted=[replace(CAUSE, as_of=AS_OF + 2 * WEEK, evidence={"is_follow_up": True, "model_version": 2})])
    assert ask(state, weeks=4) is None
    assert ask(state, weeks=5) is not None


@pytest.mark.parametrize(
    "cause",
    [None, replace(CAUSE, source="schedule"), replace(CAUSE, source="person"), replace(CAUSE, evidence={"outcome": "healthy"})],
)
def test_a_champion_that_no_bad_verdict_led_to_is_not_followed_up(cause: RetrainRequest | None) -> None:
    assert ask(State(cause=cause), weeks=9) is None


@pytest.mark.parametrize("outcome", ["data_fault", "too_few", "no_traffic"])
def test_a_window_that_says_nothing_asks_for_no_follow_up(outcome: str) -> None:
    assert ask(State(), weeks=9, outcome=outcome) is None
