"""Snapshots in a real registry and a real state database: twice is once, and whoever died is finished."""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.contracts import Cleaned, Run, Snapshot, TrainingSet, Validation
from perennial.stack.postgres import connect
from perennial.steps import snapshot as step
from perennial.steps.parquet import write_frame
from perennial.steps.workspace import run_folder
from spec_of_rows import AS_OF, small_frame, small_run, small_spec

pytestmark = pytest.mark.integration

VALIDATIONS = (Validation(point="raw", suite="s", success=True, n_expectations=3, n_rows=300),)


@pytest.fixture
def settings(stack, tmp_path) -> Settings:
    """The shared state database, and a folder with a registry of the test's own."""
    secrets = stack.up("postgres").paths.secrets
    return Settings.load({**stack.environment, "PERENNIAL_VAR": str(tmp_path / "var"), "PERENNIAL_SECRETS": str(secrets)})


@pytest.fixture
def run(request) -> Run:
    """A run of a model of the test's own, as the database is shared."""
    return replace(small_run(), model=f"snapshots_{request.node.name}"[:60].rstrip("_[]"))


def built(settings: Settings, run: Run, frame: pd.DataFrame | None = None) -> TrainingSet:
    frame = small_frame() if frame is None else frame
    path = run_folder(settings, run) / "training_set.parquet"
    write_frame(frame, path)
    return TrainingSet(
        path=str(path), n_rows=len(frame), n_immature=0, positive_ratio=0.3, holdout_start=AS_OF - timedelta(days=7)
    )


def take(settings: Settings, run: Run, frame: pd.DataFrame | None = None) -> Snapshot:
    return keep(settings, run, built(settings, run, frame))


def keep(settings: Settings, run: Run, training_set: TrainingSet) -> Snapshot:
    n_rows = training_set.n_rows
    cleaned = Cleaned(path="", n_rows_in=n_rows + 5, n_rows=n_rows, dropped={"duplicates": 5})
    return step.take_snapshot(
        small_spec(), run, training_set, sql_digest="q", cleaned=cleaned, validations=VALIDATIONS, settings=settings
    )


def rows(settings: Settings, run: Run) -> list[tuple[str, str]]:
    with connect(settings, "perennial") as opened, opened.cursor() as cursor:
        cursor.execute("SELECT digest, dvc_revision FROM snapshot WHERE model = %s ORDER BY created_at", (run.model,))
        return cursor.fetchall()


def log(settings: Settings) -> list[str]:
    command = ["git", "-C", str(settings.paths.registry), "log", "--format=%H"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_a_snapshot_is_recorded_and_can_be_read(settings, run):
    taken = take(settings, run)
    assert taken.snapshot_id == f"{run.model}__20130102T000000Z__20130201T000000Z__{taken.digest[:12]}"
    assert (taken.start, taken.as_of, taken.n_rows, taken.sql_digest) == (run.start, run.as_of, 300, "q")
    assert log(settings)[0] == taken.dvc_revision
    pd.testing.assert_frame_equal(pd.read_parquet(taken.path), small_frame())
    with StateStore(settings.state_url) as store:
        assert store.read_snapshot(taken.snapshot_id) == replace(taken, path="")


def test_the_same_interval_again_changes_nothing(settings, run):
    first = take(settings, run)
    again = take(settings, replace(run, dag_run_id="manual__2"))
    assert replace(again, path=first.path) == first
    assert Path(again.path).read_bytes() == Path(first.path).read_bytes()
    assert rows(settings, run) == [(first.digest, first.dvc_revision)]
    assert len(log(settings)) == 2


def test_another_holdout_on_the_same_rows_holds_for_its_run(settings, run):
    first = take(settings, run)
    longer = replace(built(settings, run), holdout_start=AS_OF - timedelta(days=10))
    again = keep(settings, run, longer)
    assert again == replace(first, holdout_start=longer.holdout_start)
    assert len(rows(settings, run)) == 1


def test_late_rows_make_another_snapshot_of_the_same_interval(settings, run):
    first = take(settings, run)
    second = take(settings, run, small_frame(301))
    assert rows(settings, run) == [(each.digest, each.dvc_revision) for each in (first, second)]
    assert take(settings, run) == first
    assert len(log(settings)) == 3


def test_runs_at_the_same_time_take_one_after_the_other(settings, run):
    runs = [replace(run, as_of=run.as_of + timedelta(days=day), start=run.start + timedelta(days=day)) for day in range(3)] * 2
    with ThreadPoolExecutor(len(runs)) as pool:
        taken = list(pool.map(lambda each: take(settings, replace(each[1], dag_run_id=f"r{each[0]}")), enumerate(runs)))
    assert len({each.snapshot_id for each in taken}) == len(rows(settings, run)) == 3
    assert len(log(settings)) == 4


class Died(BaseException):
    """Stands for the end of the process: nothing after it runs."""


@pytest.mark.parametrize("where", ["_copy", "_dvc_add", "_write", "_commit"])
def test_a_run_after_one_that_died_finishes_it(settings, run, monkeypatch, where):
    take(settings, replace(run, as_of=run.as_of - timedelta(days=1)))

    def die(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(step.snapshots, where, die)
        with pytest.raises(Died):
            take(settings, run)
    assert len(rows(settings, run)) == 1
    taken = take(settings, run)
    assert rows(settings, run)[1:] == [(taken.digest, taken.dvc_revision)]
    assert log(settings)[0] == taken.dvc_revision


def test_a_row_that_was_never_written_is_written(settings, run, monkeypatch):
    """The data is kept and committed, and the process died before the database heard of it."""

    def die(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(StateStore, "write_snapshot", die)
        with pytest.raises(Died):
            take(settings, run)
    taken = take(settings, run)
    assert rows(settings, run) == [(taken.digest, taken.dvc_revision)]
    assert len(log(settings)) == 2


def test_a_registry_that_was_deleted_is_filled_again(settings, run):
    first = take(settings, run)
    shutil.rmtree(settings.paths.registry)
    again = take(settings, run)
    assert again.snapshot_id == first.snapshot_id
    assert rows(settings, run) == [(first.digest, again.dvc_revision)]
    assert log(settings)[0] == again.dvc_revision
