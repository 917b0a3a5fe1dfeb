"""Tenures of champions in a real Postgres: who comes after whom, and who is led back to."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.contracts import RegisteredVersion, Snapshot
from perennial.errors import ReleaseError

pytestmark = pytest.mark.integration

APRIL = datetime(2013, 4, 1, tzinfo=UTC)
TABLES = ("release_stage", "champion", "release", "snapshot")


@pytest.fixture(scope="module")
def settings(stack) -> Settings:
    return stack.up("postgres")


@pytest.fixture
def state(settings) -> Iterator[StateStore]:
    with StateStore(settings.state_url) as store:
        yield store


@pytest.fixture
def model(request: pytest.FixtureRequest, settings) -> Iterator[str]:
    """A model of the test's own, as the stack is shared; gone after it."""
    name = request.node.name
    yield name
    for table in TABLES:
        execute(settings, f"DELETE FROM {table} WHERE model = %s", name)


def execute(settings: Settings, sql: str, *values: object) -> None:
    connection = psycopg2.connect(settings.state_url)
    with connection, connection.cursor() as cursor:
        cursor.execute(sql, values)
    connection.close()


def register(state: StateStore, model: str, version: int) -> None:
    snapshot = Snapshot(
        snapshot_id=f"{model}-s", model=model, as_of=APRIL, start=APRIL - timedelta(days=90),
        holdout_start=APRIL - timedelta(days=14), n_rows=100, digest="d", sql_digest="s", dvc_revision="r", path="",
    )  # fmt: skip
    registered = RegisteredVersion(
        model=model, model_version=version, mlflow_run_id=f"m{version}", model_uri="u", snapshot_id=snapshot.snapshot_id,
        training_end=APRIL,
    )  # fmt: skip
    state.write_snapshot(snapshot, ())
    state.write_release(registered, f"retrain{version}")


def promote(state: StateStore, model: str, version: int, *, run: str = "") -> None:
    register(state, model, version)
    state.move_release(model, version, state="checked")
    state.promote(model, version, dag_run_id=run or f"run{version}", reason="better", actor="test")


def roll_back(state: StateStore, model: str, to: int) -> None:
    state.roll_back(model, to=to, dag_run_id=f"back to {to}", reason="wrong", actor="ann")


def test_a_version_released_again_leads_back_to_whom_it_replaced_then(state, model):
    for version in (1, 2):
        promote(state, model, version)
    roll_back(state, model, 1)
    promote(state, model, 3)
    state.reopen_release(model, 2, dag_run_id="again")
    promote(state, model, 2, run="again")
    assert [champion.model_version for champion in state.read_champions(model)] == [2, 3, 1, 2, 1]
    assert state.read_predecessor(model) == 3
    roll_back(state, model, 3)
    assert state.read_predecessor(model) == 1


def test_a_former_champion_that_was_tried_again_and_rejected_can_come_back(state, model):
    for version in (1, 2):
        promote(state, model, version)
    roll_back(state, model, 1)
    state.reopen_release(model, 2, dag_run_id="again")
    assert state.stop_release(model, 2, reason="slow", actor="test") == "rejected"
    with pytest.raises(ReleaseError, match="champion cannot follow rejected"):
        state.promote(model, 2, dag_run_id="again", reason="better", actor="test")
    roll_back(state, model, 2)
    assert state.read_champion(model).model_version == 2


def test_the_way_back_stays_whatever_became_of_who_was_replaced(state, model):
    for version in (1, 2):
        promote(state, model, version)
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
    promote(state, model, 1)
    execute(settings, "UPDATE champion SET valid_from = valid_from + interval '1 hour' WHERE model = %s", model)
    promote(state, model, 2)
    roll_back(state, model, 1)
    assert [champion.model_version for champion in state.read_champions(model)] == [1, 2, 1]
    assert state.read_predecessor(model) is None


def test_a_dag_run_promotes_a_version_once(state, model):
    for version in (1, 2):
        promote(state, model, version)
    assert state.promote(model, 2, dag_run_id="run2", reason="again", actor="test") is None
    roll_back(state, model, 1)
    state.reopen_release(model, 2, dag_run_id="run2")
    with pytest.raises(ReleaseError, match="version 2 was rolled back by ann meanwhile"):
        promote(state, model, 2)
    assert state.read_champion(model).model_version == 1
