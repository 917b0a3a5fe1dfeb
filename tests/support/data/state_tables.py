"""Rows of the business state for tests: versions without a training, and ways round what the tables hold."""

from datetime import UTC, datetime, timedelta

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.contracts import Mode, RegisteredVersion, Snapshot
from perennial.stack.postgres import connect

APRIL = datetime(2013, 4, 1, tzinfo=UTC)
_TABLES = ("release_stage", "champion", "release", "decision", "snapshot", "verdict", "retrain_request", "prediction", "traffic")


def change_past(settings: Settings, sql: str, *values: object, **named: object) -> None:
    """Change the past, which the tables' own rules forbid."""
    with connect(settings, "perennial") as opened, opened.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(sql, named or values)


def forget(settings: Settings, model: str) -> None:
    """Take a model of a test's own out of the stack's tables, so that no other test meets it."""
    change_past(settings, "; ".join(f"DELETE FROM {table} WHERE model = %(model)s" for table in _TABLES), model=model)


def made(model: str, version: int, *, until: datetime = APRIL) -> RegisteredVersion:
    """A version that learned from data until then."""
    return RegisteredVersion(
        model=model, model_version=version, mlflow_run_id=f"m{version}", model_uri="u", snapshot_id=f"{model}-s",
        training_end=until,
    )  # fmt: skip


def take_snapshot(state: StateStore, model: str) -> None:
    """The training set that all of a model's versions learned from."""
    snapshot = Snapshot(
        snapshot_id=f"{model}-s", model=model, as_of=APRIL + timedelta(days=30), start=APRIL - timedelta(days=60),
        holdout_start=APRIL, n_rows=100, digest="d", sql_digest="s", dvc_revision="r", path="",
    )  # fmt: skip
    state.write_snapshot(snapshot, ())


def register(
    state: StateStore, model: str, version: int, *, until: datetime = APRIL, mode: Mode = "live", run: str = ""
) -> list[int]:
    """A release as a retraining leaves it; returns the versions that it superseded."""
    take_snapshot(state, model)
    return state.write_release(made(model, version, until=until), run or f"retrain{version}", mode=mode)


def promote(state: StateStore, model: str, version: int, *, run: str = "") -> None:
    """A registered version becomes the champion."""
    state.move_release(model, version, state="checked")
    state.promote(model, version, dag_run_id=run or f"run{version}", reason="better", actor="test")


def make_champion(state: StateStore, model: str, version: int, *, run: str = "") -> None:
    """Register a version, if it was not yet, and promote it."""
    register(state, model, version)
    promote(state, model, version, run=run)
