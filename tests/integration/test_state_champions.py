"""Tenures of champions in a real Postgres: who comes after whom, and who is led back to."""

import pytest

from perennial.adapters.state import StateStore
from perennial.errors import ReleaseError
from support.data.state_tables import change_past, make_champion

pytestmark = pytest.mark.integration


def roll_back(state: StateStore, model: str, to: int) -> None:
    state.roll_back(model, to=to, dag_run_id=f"back to {to}", reason="wrong", actor="ann")


def test_a_version_released_again_leads_back_to_whom_it_replaced_then(state, model):
    for version in (1, 2):
        make_champion(state, model, version)
    roll_back(state, model, 1)
    make_champion(state, model, 3)
    state.reopen_release(model, 2, dag_run_id="again")
    make_champion(state, model, 2, run="again")
    assert [champion.model_version for champion in state.read_champions(model)] == [2, 3, 1, 2, 1]
    assert state.read_predecessor(model) == 3
    roll_back(state, model, 3)
    assert state.read_predecessor(model) == 1


def test_a_former_champion_that_was_tried_again_and_rejected_can_come_back(state, model):
    for version in (1, 2):
        make_champion(state, model, version)
    roll_back(state, model, 1)
    state.reopen_release(model, 2, dag_run_id="again")
    assert state.stop_release(model, 2, reason="slow", actor="test") == "rejected"
    with pytest.raises(ReleaseError, match="champion cannot follow rejected"):
        state.promote(model, 2, dag_run_id="again", reason="better", actor="test")
    roll_back(state, model, 2)
    assert state.read_champion(model).model_version == 2


def test_the_way_back_stays_whatever_became_of_who_was_replaced(state, model):
    for version in (1, 2):
        make_champion(state, model, version)
    assert state.read_release(model, 1).reason == "replaced by version 2"
    roll_back(state, model, 1)
    assert state.read_predecessor(model) is None
    roll_back(state, model, 2)
    assert (state.read_release(model, 1).state, state.read_predecessor(model)) == ("rolled_back", 1)
    state.reopen_release(model, 1, dag_run_id="again")
    state.stop_release(model, 1, reason="slow", actor="test")
    assert (state.read_release(model, 1).state, state.read_predecessor(model)) == ("rejected", 1)
    state.roll_back(model, to=1, dag_run_id="back", reason="2 is late", actor="ann")
    assert (state.read_release(model, 1).state, state.read_release(model, 1).reason) == ("champion", "2 is late")


def test_tenures_follow_each_other_though_the_clock_was_set_back(settings, state, model):
    make_champion(state, model, 1)
    change_past(settings, "UPDATE champion SET valid_from = valid_from + interval '1 hour' WHERE model = %s", model)
    make_champion(state, model, 2)
    roll_back(state, model, 1)
    assert [champion.model_version for champion in state.read_champions(model)] == [1, 2, 1]
    assert state.read_predecessor(model) is None


def test_a_dag_run_promotes_a_version_once(state, model):
    for version in (1, 2):
        make_champion(state, model, version)
    assert state.promote(model, 2, dag_run_id="run2", reason="again", actor="test") is None
    roll_back(state, model, 1)
    state.reopen_release(model, 2, dag_run_id="run2")
    with pytest.raises(ReleaseError, match="version 2 was rolled back by ann meanwhile"):
        make_champion(state, model, 2)
    assert state.read_champion(model).model_version == 1
