"""Verdicts and wishes to retrain in a real Postgres: what is written twice, what may be open at once, what is read back."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.contracts import GateResult
from perennial.contracts.monitoring import Finding, RetrainRequest, Verdict
from perennial.errors import PermanentError, QueryError

pytestmark = pytest.mark.integration

APRIL = datetime(2013, 4, 1, tzinfo=UTC)
DAY = timedelta(days=1)
PASSED = GateResult(gate="cooldown", passed=True, reason="the last one was 20 days before", value=20.0, threshold=1.0)


def verdict_of(model: str, day: int, **changes: object) -> Verdict:
    """The verdict on the day-long window that begins so many days after the first of April."""
    start = APRIL + day * DAY
    verdict = Verdict(
        model=model, window_start=start, window_end=start + DAY, as_of=start + DAY, mode="live", dag_run_id=f"run{day}",
        model_version=1, outcome="healthy", reasons=("nothing moved",), n_rows=500,
    )  # fmt: skip
    return replace(verdict, **changes)


def wish_of(model: str, key: str = "window 1", **changes: object) -> RetrainRequest:
    wish = RetrainRequest(
        model=model, request_key=key, source="monitor", actor=f"monitor__{model}", as_of=APRIL, reason="roc_auc fell",
        evidence={"verdict": "performance"},
    )  # fmt: skip
    return replace(wish, **changes)


def grant(state: StateStore, model: str, key: str) -> RetrainRequest:
    request = state.write_request(wish_of(model, key))
    return state.decide_request(
        request.request_id, outcome="granted", checks=[PASSED], dag_run_id=f"request__{request.request_id}"
    )


def read_audit(settings: Settings, model: str) -> list[tuple[str, str, str]]:
    connection = psycopg2.connect(settings.state_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT actor, action, subject FROM audit WHERE model = %s ORDER BY audit_id", (model,))
        rows = cursor.fetchall()
    connection.close()
    return rows


def test_a_verdict_comes_back_as_it_was_written(state, model):
    finding = Finding(aspect="drift", measure="psi", reason="it moved", subject="wind", breached=True, value=0.31, threshold=0.1)
    verdict = verdict_of(
        model, 0, outcome="drift", reasons=("wind drifted", "so did pressure"), findings=(finding,), diagnosis="covariate",
        is_persistent=True, labels_waiting=True, n_labelled=480, report=f"monitoring/{model}/w/report.html",
    )  # fmt: skip
    state.write_verdict(verdict)
    assert state.read_verdict(model, start=APRIL, end=APRIL + DAY) == verdict
    assert state.read_verdict(model, start=APRIL, end=APRIL + 2 * DAY) is None


def test_a_window_has_one_verdict_and_the_last_word_stays(state, model):
    state.write_verdict(verdict_of(model, 0))
    state.write_verdict(verdict_of(model, 0, outcome="no_traffic", model_version=None, n_rows=0, dag_run_id="again"))
    [verdict] = state.read_verdicts(model, before=APRIL + DAY, limit=10)
    assert (verdict.outcome, verdict.model_version, verdict.dag_run_id) == ("no_traffic", None, "again")


def test_the_latest_verdicts_before_an_instant_are_those_of_one_version(state, model):
    for day, version in enumerate([1, 1, 2, 2, 2]):
        state.write_verdict(verdict_of(model, day, model_version=version))
    days = lambda **choice: [(each.window_start - APRIL).days for each in state.read_verdicts(model, **choice)]  # noqa: E731
    assert days(before=APRIL + 5 * DAY, limit=2) == [4, 3]
    assert days(before=APRIL + 4 * DAY, limit=9, model_version=2) == [3, 2]
    assert days(before=APRIL + 4 * DAY, limit=9) == [3, 2, 1, 0]
    assert days(before=APRIL, limit=9) == []


def test_what_was_decided_before_a_tenure_can_be_left_out(state, model):
    state.write_verdict(verdict_of(model, 0))
    state.write_verdict(verdict_of(model, 1))
    at = datetime.now(UTC)
    state.write_verdict(verdict_of(model, 2))
    state.write_verdict(verdict_of(model, 0, outcome="drift"))
    latest = state.read_verdicts(model, before=APRIL + 9 * DAY, limit=9, decided_since=at)
    assert [(each.window_start - APRIL).days for each in latest] == [2, 0]


def test_of_windows_that_end_together_the_shortest_counts(state, model):
    state.write_verdict(verdict_of(model, 2))
    state.write_verdict(verdict_of(model, 2, window_start=APRIL, outcome="drift"))
    assert [each.outcome for each in state.read_verdicts(model, before=APRIL + 3 * DAY, limit=5)] == ["healthy"]


def test_the_database_refuses_a_window_without_width_or_from_the_future(state, model):
    for changes in ({"window_end": APRIL}, {"as_of": APRIL}):
        with pytest.raises(QueryError, match="violates check constraint"):
            state.write_verdict(verdict_of(model, 0, **changes))


def test_a_wish_is_written_once(state, model):
    first = state.write_request(wish_of(model))
    again = state.write_request(wish_of(model, reason="other words", as_of=APRIL + DAY))
    assert (first.outcome, first.reason, first.evidence, first.decided_at) == (
        "pending", "roc_auc fell", {"verdict": "performance"}, None,
    )  # fmt: skip
    assert again == first
    assert state.find_request(model, "window 1") == first


def test_a_decision_is_final_and_audited_once(settings, state, model):
    granted = grant(state, model, "a")
    assert (granted.outcome, granted.dag_run_id, granted.checks) == ("granted", f"request__{granted.request_id}", (PASSED,))
    failed = replace(PASSED, passed=False)
    assert state.decide_request(granted.request_id, outcome="declined", checks=[failed], dag_run_id="") == granted
    assert state.read_open_request(model) == state.find_request_of_run(model, granted.dag_run_id) == granted
    assert read_audit(settings, model) == [(f"monitor__{model}", "retraining granted", f"request {granted.request_id}")]


def test_while_one_is_open_another_is_declined_for_that(state, model):
    first, second = grant(state, model, "a"), grant(state, model, "b")
    assert (second.outcome, second.dag_run_id, second.ended_at) == ("declined", "", None)
    why = f"the retraining request__{first.request_id} of request {first.request_id} has not ended"
    assert [(check.gate, check.passed, check.reason) for check in second.checks[1:]] == [("one_at_a_time", False, why)]
    assert state.end_request(first.request_id, actor="test", why="it is over")
    assert not state.end_request(first.request_id, actor="test", why="it is over")
    assert not state.end_request(second.request_id, actor="test", why="it never ran")
    assert grant(state, model, "c").outcome == "granted"


def test_of_many_that_ask_at_once_one_is_granted(settings, model):
    def ask(key: str) -> str:
        with StateStore(settings.state_url) as state:
            return grant(state, model, key).outcome

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(ask, [str(number % 8) for number in range(16)]))
    with StateStore(settings.state_url) as state:
        recorded = [request.outcome for request in state.read_requests(model)]
    assert sorted(recorded) == ["declined"] * 7 + ["granted"]
    assert outcomes.count("granted") == 2  # the same wish was asked for twice, and is one


def test_a_run_started_anew_opens_its_request_again_unless_another_is(settings, state, model):
    first = grant(state, model, "a")
    state.end_request(first.request_id, actor="test", why="over")
    assert state.reopen_request(first.request_id, actor="ann")
    assert state.reopen_request(first.request_id, actor="ann")
    state.end_request(first.request_id, actor="test", why="over")
    declined = state.write_request(wish_of(model, "b"))
    state.decide_request(declined.request_id, outcome="declined", checks=[], dag_run_id="")
    assert not state.reopen_request(declined.request_id, actor="ann")
    grant(state, model, "c")
    assert not state.reopen_request(first.request_id, actor="ann")
    actions = [action for _, action, _ in read_audit(settings, model)]
    assert actions == [f"retraining {what}" for what in ("granted", "ended", "reopened", "ended", "declined", "granted")]


def test_requests_are_listed_by_model_outcome_and_time(state, model):
    for day in range(3):
        request = state.write_request(wish_of(model, str(day), as_of=APRIL + day * DAY))
        state.decide_request(request.request_id, outcome="granted" if day == 1 else "declined", checks=[], dag_run_id="r")
    keys = lambda **choice: [each.request_key for each in state.read_requests(model, **choice)]  # noqa: E731
    assert (keys(), keys(limit=1)) == (["2", "1", "0"], ["2"])
    assert (keys(outcome="declined"), keys(outcome="pending")) == (["2", "0"], [])
    assert {each.model for each in state.read_requests(limit=1000)} >= {model}


def test_a_request_that_is_not_there_is_named(state):
    with pytest.raises(PermanentError, match="there is no retrain request 999999"):
        state.end_request(999_999, actor="test", why="x")
    assert state.read_request(999_999) is None
