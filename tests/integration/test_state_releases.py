"""The way of a release in a real Postgres: which moves there are, what one transaction does, and what is read of the log."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest

from perennial.adapters.state import StateStore
from perennial.contracts import Measure, Rollback
from perennial.errors import ReleaseError
from support.data.state_tables import make_champion, register, take_snapshot
from support.predictions.logged_requests import log_requests

pytestmark = pytest.mark.integration

STATES = ("registered", "checked", "shadow", "canary", "champion", "retired", "rejected", "rolled_back")
MOVES = {
    "registered": {"checked", "rejected"},
    "checked": {"shadow", "canary", "champion", "rejected"},
    "shadow": {"canary", "champion", "rejected"},
    "canary": {"champion", "rolled_back"},
    "champion": {"retired", "rolled_back"},
    "retired": {"champion"},
    "rejected": {"registered", "champion"},
    "rolled_back": {"registered", "champion"},
}
SLOW = Measure(measure="latency", passed=False, reason="too slow", value=90.0, threshold=25.0, champion=5.0)


def insert(cursor, state: StateStore, model: str, version: int, release_state: str, *, served: bool = False) -> None:
    """A release in any state, as if it had come there."""
    take_snapshot(state, model)
    cursor.execute(
        """INSERT INTO release (model, model_version, state, dag_run_id, snapshot_id, mlflow_run_id, training_end)
           VALUES (%s, %s, %s, %s, %s, 'm', now())""",
        (model, version, release_state, f"retrain{version}", f"{model}-s"),
    )
    if served:
        sql = "INSERT INTO champion (model, model_version, valid_to, dag_run_id, reason) VALUES (%s, %s, %s, 'r', 'r')"
        cursor.execute(sql, (model, version, datetime.now(UTC) + timedelta(seconds=1)))


def states(state: StateStore, model: str) -> dict[int, str]:
    return {row.model_version: row.state for row in state.read_releases(model)}


@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(STATES, 2)))
def test_the_database_takes_these_moves_and_no_others(cursor, state, model, before, after):
    """Every pair of states, in plain SQL."""
    insert(cursor, state, model, 1, before, served=True)
    move = "UPDATE release SET state = %s WHERE model = %s"
    if after in MOVES[before]:
        cursor.execute(move, (after, model))
    else:
        with pytest.raises(psycopg2.errors.CheckViolation, match=f"{after} cannot follow {before}"):
            cursor.execute(move, (after, model))


@pytest.mark.parametrize("stopped", ["rolled_back", "rejected"])
def test_who_was_stopped_before_it_served_cannot_be_brought_back(cursor, state, model, stopped):
    insert(cursor, state, model, 1, stopped)
    with pytest.raises(psycopg2.errors.CheckViolation, match="it never served"):
        cursor.execute("UPDATE release SET state = 'champion' WHERE model = %s", (model,))


def test_one_release_of_a_model_is_on_its_way(state, model):
    for version in (1, 2):
        register(state, model, version)
    state.move_release(model, 1, state="checked")
    with pytest.raises(ReleaseError, match="another version"):
        state.move_release(model, 2, state="checked")
    state.stop_release(model, 1, reason="superseded", actor="test")
    state.move_release(model, 2, state="checked")
    assert states(state, model) == {1: "rejected", 2: "checked"}


def start(state: StateStore, model: str, stage: str, *, step: int = 1, percent: int = 50, run: str = "run"):
    return state.start_stage(model, 1, dag_run_id=run, stage=stage, step=step, percent=percent)


def end(state: StateStore, stage, outcome: str, *, to: str = "", measures: tuple[Measure, ...] = ()):
    return state.end_stage(stage, outcome=outcome, reason=f"it {outcome}", n_requests=7, measures=measures, state=to)


def test_a_stage_and_the_state_of_its_release_are_one(state, model):
    register(state, model, 1)
    check = start(state, model, "check", percent=0)
    assert states(state, model) == {1: "registered"}
    end(state, check, "passed", to="checked")
    assert states(state, model) == {1: "checked"}
    shadow = start(state, model, "shadow")
    assert (state.read_release(model, 1).state, state.read_release(model, 1).traffic_percent) == ("shadow", 50)
    end(state, shadow, "passed")
    assert (state.read_release(model, 1).state, state.read_release(model, 1).traffic_percent) == ("shadow", 0)
    canary = start(state, model, "canary", percent=5)
    assert (state.read_release(model, 1).state, state.read_release(model, 1).traffic_percent) == ("canary", 5)
    end(state, canary, "breached", to="rolled_back", measures=(SLOW,))
    row = state.read_release(model, 1)
    assert (row.state, row.traffic_percent, row.reason) == ("rolled_back", 0, "it breached")
    assert state.read_stages(model, 1)[-1].measures == (SLOW,)
    for action in ("checked", "shadow passed", "rolled_back"):
        assert state.has_audit(action, model=model, subject="version 1")


def test_a_stage_begun_or_ended_twice_is_as_it_was_the_first_time(state, model):
    register(state, model, 1)
    state.move_release(model, 1, state="checked")
    first = start(state, model, "shadow", percent=50)
    assert start(state, model, "shadow", percent=70) == first
    ended = end(state, first, "passed")
    assert end(state, first, "breached", to="rejected") == ended == start(state, model, "shadow")
    assert states(state, model) == {1: "shadow"}


def test_a_move_that_is_not_allowed_begins_no_stage(state, model):
    register(state, model, 1)
    with pytest.raises(ReleaseError, match="shadow cannot follow registered"):
        start(state, model, "shadow")
    assert state.read_stages(model, 1) == []


@pytest.mark.parametrize(("stage", "expected"), [("shadow", "rejected"), ("canary", "rolled_back")])
def test_a_release_that_is_stopped_leaves_no_stage_open(state, model, stage, expected):
    register(state, model, 1)
    state.move_release(model, 1, state="checked")
    start(state, model, stage)
    for _ in range(2):
        assert state.stop_release(model, 1, reason="somebody said so", actor="test") == expected
    assert [(each.outcome, each.reason) for each in state.read_stages(model, 1)] == [("ended", "somebody said so")]


def test_a_release_taken_up_again_keeps_the_record_of_before(state, model):
    register(state, model, 1)
    end(state, start(state, model, "check", percent=0), "breached", to="rejected", measures=(SLOW,))
    state.reopen_release(model, 1, dag_run_id="run")
    again = start(state, model, "check", percent=0)
    before, now = state.read_stages(model, 1)
    assert (before.outcome, before.measures) == ("breached", (SLOW,))
    assert before.dag_run_id.startswith("run until ")
    assert now == again
    assert again.outcome == "running"


def test_a_rollback_is_one_transaction(state, model):
    for version in (1, 2):
        make_champion(state, model, version)
    register(state, model, 3)
    state.move_release(model, 3, state="checked")
    state.start_stage(model, 3, dag_run_id="run3", stage="canary", step=1, percent=5)
    assert state.roll_back(model, to=1, dag_run_id="back", reason="wrong", actor="ann").before == 2
    assert states(state, model) == {1: "champion", 2: "rolled_back", 3: "rolled_back"}
    assert state.read_champion_run(model) == "back"
    assert (state.read_promoted(model, ["other", "run2"]), state.read_promoted(model, ["back"])) == (2, None)
    assert state.read_stages(model, 3)[0].reason == "version 2 was rolled back meanwhile: wrong"
    assert state.roll_back(model, to=1, dag_run_id="back", reason="wrong", actor="ann") == Rollback()
    with pytest.raises(ReleaseError, match="version 3 never served"):
        state.roll_back(model, to=3, dag_run_id="back", reason="wrong", actor="ann")
    assert [champion.model_version for champion in state.read_champions(model)] == [1, 2, 1]


def test_the_way_back_leads_to_who_served_before_and_was_not_rolled_back(state, model):
    for version in (1, 2, 3):
        make_champion(state, model, version)
    assert state.read_predecessor(model) == 2
    state.roll_back(model, to=2, dag_run_id="back", reason="wrong", actor="ann")
    assert state.read_predecessor(model) == 1
    make_champion(state, model, 4)
    assert state.read_predecessor(model) == 2
    state.roll_back(model, to=1, dag_run_id="far back", reason="wrong", actor="ann")
    assert state.read_predecessor(model) is None


def test_requests_are_counted_by_how_they_were_answered(settings, state, model):
    since = state.read_clock()
    rows = [{"miles": number} for number in range(3)]
    log_requests(settings, model, 1, kind="live", rows=rows, predictions=[0.1, 0.2, 0.3], milliseconds=7.0)
    log_requests(settings, model, 1, kind="live", rows=rows[:2], status=503)
    log_requests(settings, model, 1, kind="live", rows=rows[:1], status=422)
    log_requests(settings, model, 1, kind="shadow", rows=rows, status=500)
    counts = state.read_counts(model, 1, kind="live", since=since)
    assert (counts.n_requests, counts.n_failed, counts.n_refused) == (6, 2, 1)
    assert state.read_counts(model, 1, kind="live", since=since, until=since - timedelta(seconds=1)).n_requests == 0
    assert state.read_latencies(model, 1, kind="live", since=since) == [7.0, 7.0, 7.0]


def test_predictions_are_read_once_for_each_different_row(settings, state, model):
    since, row = state.read_clock(), {"miles": 1, "carrier": "UA"}
    log_requests(settings, model, 1, kind="live", rows=[row, row, {**row, "miles": 2}], predictions=[0.1, 0.1, 0.7])
    predictions, n_requests = state.read_predictions(model, 1, kind="live", since=since)
    assert (sorted(predictions), n_requests) == ([0.1, 0.7], 3)


def test_pairs_are_of_the_same_request_row_and_content(settings, state, model):
    """Callers may use one id for two requests; a request whose copy is not there yet is no pair."""
    since, rows = state.read_clock(), [{"miles": number} for number in range(4)]
    log_requests(settings, model, 1, kind="live", rows=rows, predictions=[0.1, 0.2, 0.3, 0.4])
    log_requests(settings, model, 1, kind="live", rows=[{"miles": 99}], predictions=[0.9])
    log_requests(settings, model, 2, kind="shadow", rows=rows[:3], predictions=[0.15, 0.25, 0.35])
    pairs = state.read_pairs(model, challenger=2, champion=1, since=since)
    assert sorted(pairs) == [(0.15, 0.1, 1), (0.25, 0.2, 1), (0.35, 0.3, 1)]


def test_the_latest_requests_come_whole_and_newest_first(settings, state, model):
    for number in range(3):
        log_requests(settings, model, 1, kind="live", rows=[{"miles": number}], predictions=[number / 10], prefix=f"{number}-")
    latest = state.read_latest_requests(model, 1, limit=2)
    assert [(request.request_id, request.rows, request.predictions) for request in latest] == [
        ("2-0", ({"miles": 2},), (0.2,)),
        ("1-0", ({"miles": 1},), (0.1,)),
    ]
    assert replace(latest[0], milliseconds=5.0) == latest[0]
