"""The promotion guard in a real Postgres: what plain SQL and the loop itself are refused, and what a force lets through."""

import re
from dataclasses import replace
from datetime import timedelta

import psycopg2
import pytest

from perennial.contracts import Force
from perennial.errors import ReleaseError
from perennial.steps.admission import find_objection, why_not_release
from support.data.state_tables import APRIL, made, promote, register, take_snapshot

pytestmark = pytest.mark.integration

MARCH, MAY = APRIL - timedelta(days=31), APRIL + timedelta(days=30)
FORCE = Force(by="ann", reason="April's data is broken")
OLDER, BACKFILL = "learned from data until 2013-03-01, the champion", "registered by a backfill"


@pytest.fixture
def champion(state, model) -> int:
    """A champion that learned until April."""
    register(state, model, 1)
    promote(state, model, 1)
    return 1


COPY = """INSERT INTO release (model, model_version, state, mode, training_end, dag_run_id, snapshot_id, mlflow_run_id)
          SELECT model, 9, 'champion', mode, training_end, 'x', snapshot_id, 'x' FROM release
          WHERE model = %s AND model_version = %s"""
INSERT = "INSERT INTO champion (model, model_version, dag_run_id, reason{more}) VALUES (%s, %s, 'x', 'x'{values})"


@pytest.mark.parametrize(
    ("version", "message"), [({"until": MARCH}, OLDER), ({"until": MAY, "mode": "backfill"}, BACKFILL)], ids=["older", "backfill"]
)
@pytest.mark.parametrize(
    "statements",
    [
        ("UPDATE release SET state = 'checked' WHERE model = %s AND model_version = %s",
         "UPDATE release SET state = 'champion' WHERE model = %s AND model_version = %s"),
        ("UPDATE champion SET valid_to = now() WHERE model = %s AND model_version < %s", INSERT.format(more="", values="")),
        (COPY,),
    ],
    ids=["by its state", "by its tenure", "as a new row"],
)  # fmt: skip
def test_plain_sql_is_refused_with_the_next_step(cursor, state, model, champion, version, message, statements):
    register(state, model, 2, **version)
    cursor.execute("UPDATE release SET state = 'retired' WHERE model = %s AND model_version = 1", (model,))
    with pytest.raises(psycopg2.errors.CheckViolation, match=message) as refused:
        for statement in statements:
            cursor.execute(statement, (model, 2))
    assert refused.value.diag.message_hint.startswith("a person may force it, with a reason: perennial release")


def test_which_is_older_goes_by_the_judged_models(state, model):
    """A champion that was fitted again has learned more than its successor, as that was judged, ever can have."""
    take_snapshot(state, model)
    state.write_release(replace(made(model, 1, until=MAY), judged_from=MARCH), "retrain1")
    promote(state, model, 1)
    register(state, model, 2, until=MARCH - timedelta(days=1))
    decided = state.read_release(model, 2)
    assert "the champion (version 1) until 2013-03-01" in str(find_objection(state, decided, champion=state.read_champion(model)))
    state.move_release(model, 2, state="checked")
    with pytest.raises(ReleaseError, match="learned from data until 2013-02-28"):
        state.promote(model, 2, dag_run_id="run2", reason="better", actor="test")
    register(state, model, 3, until=APRIL)
    assert find_objection(state, state.read_release(model, 3), champion=state.read_champion(model)) is None


def test_a_rollback_that_is_none_is_refused(cursor, state, model, champion):
    """Who never served cannot come in by the back door, and who serves cannot be exchanged in place."""
    register(state, model, 2, until=MARCH)
    cursor.execute("UPDATE champion SET valid_to = now() WHERE model = %s", (model,))
    with pytest.raises(psycopg2.errors.CheckViolation, match="version 2 never served"):
        cursor.execute(INSERT.format(more=", by_rollback", values=", true"), (model, 2))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE champion SET model_version = 2 WHERE model = %s",
        "UPDATE champion SET by_rollback = true WHERE model = %s",
        "UPDATE champion SET valid_from = valid_from - interval '1 day' WHERE model = %s",
        "UPDATE champion SET valid_to = NULL WHERE model = %s",
        "UPDATE champion SET valid_to = valid_to + interval '1 day' WHERE model = %s",
        "DELETE FROM champion WHERE model = %s",
        "DELETE FROM release WHERE model = %s AND model_version = 2",
    ],
)
def test_who_served_and_what_was_registered_stays_as_it_was(cursor, state, model, champion, statement):
    """Else a challenger would be held against an older champion, against none, or under other facts."""
    register(state, model, 2, until=MARCH)
    cursor.execute("UPDATE champion SET valid_to = now() WHERE model = %s", (model,))
    with pytest.raises(psycopg2.errors.CheckViolation, match="a matter of record"):
        cursor.execute(statement, (model,))


@pytest.mark.parametrize("change", ["training_end = now()", "mode = 'live'", "snapshot_id = 'x'", "mlflow_run_id = 'x'"])
def test_what_a_version_learned_from_cannot_be_rewritten(cursor, state, model, change):
    register(state, model, 1, until=MARCH, mode="backfill")
    with pytest.raises(psycopg2.errors.CheckViolation, match="a matter of record"):
        cursor.execute(f"UPDATE release SET {change} WHERE model = %s", (model,))


@pytest.mark.parametrize(
    ("by", "reason"), [("ann", ""), ("", "because"), (" ", "because"), ("ann", " "), (" ", ""), ("\t", "\n")]
)
def test_a_force_has_a_name_and_a_reason(cursor, state, model, by, reason):
    register(state, model, 1)
    with pytest.raises(psycopg2.errors.CheckViolation, match="release_force"):
        cursor.execute("UPDATE release SET forced_by = %s, forced_reason = %s WHERE model = %s", (by, reason, model))


@pytest.mark.parametrize("version", [{"until": MARCH}, {"until": MAY, "mode": "backfill"}], ids=["older", "backfill"])
def test_a_promotion_is_refused_until_a_person_forces_it(settings, cursor, state, model, champion, version):
    register(state, model, 2, **version)
    challenger = made(model, 2, until=version["until"])
    with pytest.raises(ReleaseError, match=re.escape(f"perennial release {model} 2 --force REASON")):
        why_not_release(challenger, settings=settings)
    state.move_release(model, 2, state="checked")
    with pytest.raises(ReleaseError, match=re.escape(f"perennial release {model} 2 --force REASON")):
        state.promote(model, 2, dag_run_id="run2", reason="better", actor="test")
    assert state.read_champion(model).model_version == 1
    for _ in range(2):
        assert why_not_release(challenger, force=FORCE, settings=settings) == ""
    assert state.promote(model, 2, dag_run_id="run2", reason="better", actor="test") == 1
    row = state.read_release(model, 2)
    assert (row.state, row.forced_by, row.forced_reason) == ("champion", FORCE.by, FORCE.reason)
    cursor.execute("SELECT actor, subject, detail ->> 'reason' FROM audit WHERE model = %s AND action = 'force'", (model,))
    assert cursor.fetchall() == [(FORCE.by, "version 2", FORCE.reason)]


def test_a_force_that_is_not_needed_is_not_recorded(settings, state, model, champion):
    register(state, model, 2, until=MAY)
    assert why_not_release(made(model, 2, until=MAY), force=FORCE, settings=settings) == ""
    assert state.read_release(model, 2).forced_by == ""
    assert not state.has_audit("force", model=model, subject="version 2")


def test_data_that_ends_at_the_same_time_is_not_older(state, model, champion):
    register(state, model, 2)
    promote(state, model, 2)
    assert state.read_champion(model).model_version == 2


def test_a_first_champion_of_a_backfill_is_forced_too(settings, state, model):
    register(state, model, 1, mode="backfill")
    with pytest.raises(ReleaseError, match=BACKFILL):
        why_not_release(made(model, 1), settings=settings)
    with pytest.raises(ReleaseError, match=BACKFILL):
        promote(state, model, 1)


def test_a_rollback_leads_to_older_data_without_a_force(state, model, champion):
    register(state, model, 2, until=MAY)
    promote(state, model, 2)
    state.roll_back(model, to=1, dag_run_id="back", reason="2 is wrong", actor="ann")
    assert state.read_champion(model).model_version == 1
    # Whoever comes next is held against who serves now, not against who was rolled back.
    register(state, model, 3)
    promote(state, model, 3)
    assert state.read_champion(model).model_version == 3


def test_a_backfill_that_does_an_interval_over_supersedes_what_it_registered(state, model):
    assert register(state, model, 1, mode="backfill", run="backfill__1") == []
    for _ in range(2):
        assert register(state, model, 2, mode="backfill", run="backfill__1") == [1]
    rows = {row.model_version: (row.state, row.mode, row.superseded_by) for row in state.read_releases(model)}
    assert rows == {1: ("rejected", "backfill", 2), 2: ("registered", "backfill", None)}
    with pytest.raises(ReleaseError, match="recorded version 2"):
        register(state, model, 3, run="backfill__1")
