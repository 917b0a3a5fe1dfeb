"""The business state in a real Postgres: what twice means, and what the database itself refuses."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest

from perennial.adapters.state import StateStore
from perennial.adapters.state.training import ROW_COUNT
from perennial.config.settings import Settings
from perennial.contracts import Decision, FailedExpectation, GateResult, RegisteredVersion, Snapshot, Validation
from perennial.errors import ReleaseError, UnavailableError

pytestmark = pytest.mark.integration

APRIL = datetime(2013, 4, 1, tzinfo=UTC)


def snapshot(model: str, *, as_of: datetime = APRIL, n_rows: int = 100) -> Snapshot:
    return Snapshot(
        snapshot_id=f"{model}-{as_of:%Y%m%d}",
        model=model,
        as_of=as_of,
        start=as_of - timedelta(days=90),
        holdout_start=as_of - timedelta(days=14),
        n_rows=n_rows,
        digest="d",
        sql_digest="s",
        dvc_revision="r",
        path="",
    )


def decision(model: str, outcome: str = "accepted") -> Decision:
    gate = GateResult(gate="floor roc_auc", passed=outcome == "accepted", reason="why", value=0.7, threshold=0.6)
    return Decision(
        model=model,
        dag_run_id="run",
        snapshot_id=snapshot(model).snapshot_id,
        outcome=outcome,
        candidate="lightgbm",
        mlflow_run_id="m",
        gates=(gate,),
        challenger_metrics={"roc_auc": 0.7},
    )


def registered(model: str, version: int, *, mlflow_run_id: str = "") -> RegisteredVersion:
    return RegisteredVersion(
        model=model,
        model_version=version,
        mlflow_run_id=mlflow_run_id or f"m{version}",
        model_uri="u",
        snapshot_id=snapshot(model).snapshot_id,
        training_end=APRIL,
    )


def release(state: StateStore, model: str, version: int) -> None:
    state.write_snapshot(snapshot(model), ())
    state.write_release(registered(model, version), dag_run_id=f"run{version}")


def promote(state: StateStore, model: str, version: int) -> int | None:
    return state.promote(model, version, dag_run_id=f"run{version}", reason="better", actor="test")


def test_the_same_snapshot_twice_is_one_row(state: StateStore, model: str) -> None:
    for _ in range(2):
        state.write_snapshot(snapshot(model), ())
    assert state.read_snapshot(snapshot(model).snapshot_id) == snapshot(model)


def raw_validation(n_rows: int, covered_days: float | None = 10.0, *, failed: tuple[str, ...] = ()) -> Validation:
    faults = tuple(FailedExpectation(expectation=each, column="", expected="", observed="") for each in failed)
    return Validation(
        point="raw", suite="s", success=not failed, n_expectations=1, n_rows=n_rows, failed=faults, covered_days=covered_days
    )


def test_row_rates_are_of_covered_days_and_of_failed_row_counts_too_newest_first(state: StateStore, model: str) -> None:
    def fail(days: int, validation: Validation) -> None:
        detail = asdict(validation) | {"as_of": (APRIL + timedelta(days=days)).isoformat()}
        state.write_audit("retrain", "validation failed", model=model, subject="run", detail=detail)

    def take(days: int, validation: Validation) -> None:
        state.write_snapshot(snapshot(model, as_of=APRIL + timedelta(days=days)), (validation,))

    take(0, raw_validation(100, 10.0))
    take(1, raw_validation(100, covered_days=None))  # recorded by an earlier version
    take(2, raw_validation(90, 30.0))
    fail(3, raw_validation(5, failed=(ROW_COUNT,)))
    fail(3, raw_validation(50, failed=(ROW_COUNT,)))  # the same run, cleared
    fail(4, raw_validation(1_000, failed=(ROW_COUNT, "expect_column_values_to_be_unique")))
    fail(5, raw_validation(0, covered_days=None, failed=(ROW_COUNT,)))
    take(6, raw_validation(70))
    assert state.read_row_rates(model, APRIL + timedelta(days=6), limit=5) == [5.0, 3.0, 10.0]
    assert state.read_row_rates(model, APRIL + timedelta(days=7), limit=2) == [7.0, 5.0]


def test_a_decision_is_recorded_once_and_the_last_word_stays(state: StateStore, model: str) -> None:
    state.write_snapshot(snapshot(model), ())
    state.write_decision(decision(model))
    state.write_decision(decision(model, "rejected"))
    assert state.read_decision(model, "run") == decision(model, "rejected")


def test_a_promotion_retires_the_champion_before(state: StateStore, model: str) -> None:
    before = []
    for version in (1, 2, 2):
        release(state, model, version)
        if len(before) < 2:
            state.move_release(model, version, state="checked")
        before.append(promote(state, model, version))
    assert before == [None, 1, None]
    champion = state.read_champion(model)
    assert champion is not None
    assert champion.model_version == 2
    assert [(row.model_version, row.state) for row in state.read_releases(model)] == [(2, "champion"), (1, "retired")]


def test_a_version_that_was_not_checked_cannot_serve(state: StateStore, model: str) -> None:
    release(state, model, 1)
    with pytest.raises(ReleaseError, match="champion cannot follow registered"):
        promote(state, model, 1)
    assert state.read_champion(model) is None


def test_a_release_is_recorded_once(state: StateStore, model: str) -> None:
    for _ in range(2):
        release(state, model, 1)
    assert [(row.model_version, row.mlflow_run_id, row.training_end) for row in state.read_releases(model)] == [(1, "m1", APRIL)]


@pytest.mark.parametrize(
    ("version", "mlflow_run_id", "dag_run_id"),
    [(1, "another", "run9"), (1, "another", "run1"), (2, "m2", "run1")],
    ids=["number taken", "number taken by this run", "another version of this run"],
)
def test_a_registry_that_disagrees_is_noticed(
    state: StateStore, model: str, version: int, mlflow_run_id: str, dag_run_id: str
) -> None:
    release(state, model, 1)
    with pytest.raises(ReleaseError, match="run1 recorded version 1 of MLflow run m1"):
        state.write_release(registered(model, version, mlflow_run_id=mlflow_run_id), dag_run_id=dag_run_id)
    assert len(state.read_releases(model)) == 1


def test_a_rejection_and_its_reason_are_one_write(state: StateStore, model: str) -> None:
    release(state, model, 1)
    assert state.stop_release(model, 1, reason="too slow", actor="test") == "rejected"
    row = state.read_release(model, 1)
    assert row is not None
    assert (row.state, row.reason) == ("rejected", "too slow")
    assert state.has_audit("rejected", model=model, subject="version 1")
    with pytest.raises(ReleaseError, match="no release"):
        state.stop_release(model, 2, reason="too slow", actor="test")
    assert not state.has_audit("rejected", model=model, subject="version 2")


def test_instants_are_utc_whatever_the_server_says(settings: Settings, state: StateStore, model: str) -> None:
    with psycopg2.connect(settings.state_url) as connection, connection.cursor() as cursor:
        cursor.execute("ALTER ROLE perennial SET timezone = 'Asia/Tokyo'")
    try:
        release(state, model, 1)
        with StateStore(settings.state_url) as another:
            (row,) = another.read_releases(model)
        assert str(row.training_end) == "2013-04-01 00:00:00+00:00"
    finally:
        with connection, connection.cursor() as cursor:
            cursor.execute("ALTER ROLE perennial RESET timezone")
        connection.close()


def test_an_unknown_release_cannot_move(state: StateStore, model: str) -> None:
    with pytest.raises(ReleaseError, match="no release"):
        state.move_release(model, 7, state="checked")


def test_the_database_allows_one_open_champion(settings: Settings, state: StateStore, model: str) -> None:
    release(state, model, 1)
    state.move_release(model, 1, state="checked")
    promote(state, model, 1)
    with psycopg2.connect(settings.state_url) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.errors.UniqueViolation):
            cursor.execute("INSERT INTO champion (model, model_version, dag_run_id, reason) VALUES (%s, 1, 'x', 'x')", (model,))
    connection.close()


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'me'", "DELETE FROM audit", "TRUNCATE audit"])
def test_the_audit_trail_only_grows(settings: Settings, state: StateStore, model: str, statement: str) -> None:
    state.write_audit("test", "look", model="m", subject="s", detail={})
    with psycopg2.connect(settings.state_url) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="append-only"):
            cursor.execute(statement)
    connection.close()


def test_a_lock_is_held_by_one(settings: Settings, state: StateStore, model: str) -> None:
    with state.lock(model), psycopg2.connect(settings.state_url) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (model,))
        assert cursor.fetchone() == (False,)
    other.close()


def test_a_database_that_is_away_can_be_tried_again() -> None:
    with pytest.raises(UnavailableError), StateStore("postgresql://nobody@127.0.0.1:1/none"):
        pass
