"""Snapshots in a real registry and a real state database: twice is once, and whoever died is finished."""

import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from perennial.adapters import snapshots
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.contracts import Run
from perennial.errors import ConfigurationError
from perennial.stack.environment import settings_environment
from perennial.stack.postgres import connect
from perennial.steps import snapshot as step
from support import programs
from support.data import snapshot_process
from support.data.data_registry import dvc
from support.data.snapshot_process import built, keep, take
from support.data.spec_of_rows import AS_OF, small_frame, small_run

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(stack, begun_registry, tmp_path) -> Settings:
    """The shared state database, and a folder with a registry of the test's own."""
    places = {"PERENNIAL_VAR": str(tmp_path / "var"), "PERENNIAL_SECRETS": str(stack.up("postgres").paths.secrets)}
    settings = Settings.load({**stack.environment, **places})
    shutil.copytree(begun_registry, settings.paths.registry)
    return settings


@pytest.fixture
def run(request) -> Run:
    """A run of a model of the test's own, as the database is shared."""
    return replace(small_run(), model=f"snapshots_{request.node.name}"[:60].rstrip("_[]"))


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
    content = snapshots.content_path(settings.paths.registry, first.digest)
    os.utime(content, (0, 0))
    again = take(settings, replace(run, dag_run_id="manual__2"))
    assert replace(again, path=first.path) == first
    assert content.stat().st_mtime > 0  # so that housekeeping does not take it for old
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
    """Stands for the end of the process: nothing after it runs. What is killed outright is in the registry's own tests."""


@pytest.mark.parametrize("n_days", [2, pytest.param(5, marks=pytest.mark.soak)])
def test_processes_at_once_lose_nothing(settings, run, n_days):
    """Intervals, each with the same rows twice but for one, whose rows came late in its second run; nobody began the registry."""
    shutil.rmtree(settings.paths.registry)
    environment = programs.environment({**os.environ, **settings_environment(settings)})
    jobs = [(day, 301 if (day, again) == (0, 1) else 300) for again in range(2) for day in range(n_days)]
    writers = [
        subprocess.Popen(
            programs.command(snapshot_process, run.model, number, day, n_rows),
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number, (day, n_rows) in enumerate(jobs)
    ]  # fmt: skip
    ended = [(*writer.communicate(), writer.returncode) for writer in writers]
    assert [code for _, _, code in ended] == [0] * len(jobs), ended
    taken = [json.loads(out.splitlines()[-1]) for out, _, _ in ended]
    registry = settings.paths.registry
    assert git(registry, "fsck", "--strict", "--no-dangling") == git(registry, "status", "--porcelain") == ""
    assert dvc(registry, "status") == "Data and pipelines are up to date."
    for each in taken:
        assert f"md5: {each['digest']}" in git(registry, "show", f"{each['dvc_revision']}:{each['name']}.parquet.dvc")
        assert snapshots.has_content(registry, each["digest"], n_bytes=each["n_bytes"])
    assert sorted(rows(settings, run)) == sorted({(each["digest"], each["dvc_revision"]) for each in taken})
    assert (len({each["snapshot_id"] for each in taken}), len(log(settings))) == (n_days + 1, n_days + 2)


def git(registry: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(registry), *arguments], capture_output=True, text=True, check=True).stdout.strip()


def test_the_remote_gets_each_snapshot_and_a_run_goes_on_while_it_is_away(settings, run, tmp_path, monkeypatch):
    monkeypatch.setattr(step, "_PAUSES_SECONDS", (0,))
    remote = tmp_path / "remote"
    remote.write_text("no folder can be here")
    settings = settings.model_copy(update={"data_remote": str(remote)})
    first = take(settings, run)
    assert rows(settings, run) == [(first.digest, first.dvc_revision)]
    remote.unlink()
    second = take(settings, run, small_frame(301))
    kept = {"".join(path.parts[-2:]) for path in (remote / "files" / "md5").glob("??/*")}
    assert kept == {first.digest, second.digest}


def test_a_remote_that_cannot_be_reached_for_good_stops_the_run_before_anything_is_kept(settings, run, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match="needs DVC's plugin dvc-gs"):
        take(settings.model_copy(update={"data_remote": "gs://bucket"}), run)
    assert rows(settings, run) == []


def test_a_description_says_how_many_rows_there_were_at_each_point(settings, run):
    taken = take(settings, run)
    described = snapshots.read_description(settings.paths.registry, step.registry_name(taken), taken.dvc_revision)
    assert described["rows"] == {
        "extracted": 305, "dropped": {"duplicates": 5}, "mended": {}, "clean": 300, "immature": 0, "training_set": 300,
    }  # fmt: skip
    assert (described["digest"], described["query"]) == (taken.digest, "parcels/training.sql")


@pytest.mark.parametrize("where", ["_copy", "_dvc_add", "write_file", "commit"])
def test_a_run_after_one_that_died_finishes_it(settings, run, monkeypatch, where):
    take(settings, replace(run, as_of=run.as_of - timedelta(days=1)))

    def die(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(snapshots, where, die)
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
