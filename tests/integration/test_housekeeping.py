"""Housekeeping in a real stack: what nobody needs goes, what a version needs stays, and half of it is finished the next time."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest
import yaml
from mlflow import MlflowClient

from perennial.adapters import bentos, folders
from perennial.adapters.registry import Registry
from perennial.adapters.snapshots import contents
from perennial.adapters.state import StateStore
from perennial.adapters.state.predictions import PredictionStore
from perennial.config.settings import Settings
from perennial.contracts.housekeeping import Found, Kind, Removal
from perennial.errors import ConfigurationError, UnavailableError
from perennial.stack.postgres import connect
from perennial.steps import housekeeping
from perennial.steps.housekeeping import kinds
from perennial.steps.housekeeping.scope import read_scope
from support.data.state_tables import change_past
from support.predictions.prediction_tables import query
from support.serving.served_models import register, small_spec
from support.stacks.services import perennial
from support.stacks.stack import Stack

pytestmark = [
    pytest.mark.integration,
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    # MLflow's own tables use what SQLAlchemy will drop.
    pytest.mark.filterwarnings("ignore:.*loader strategy is deprecated"),
]

MODEL = "housekept"
YEAR_AGO, YESTERDAY = timedelta(days=365), timedelta(days=1)
OLD_DAY = date(2024, 5, 7)
# What of version 1 (it served a year ago), 2 (it serves since), 3 (rejected a year ago) and 4 (rejected yesterday) may go.
OVER = (1, 3)


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class World:
    """A stack with versions of all ages, and things that belong to them or to nobody."""

    settings: Settings
    mlflow_run_ids: dict[str, str]
    digests: dict[int, str]

    def find(self, *only: Kind) -> Found:
        return housekeeping.find(as_of=now(), settings=self.settings, only=only)

    def remove(self, found: Found) -> dict[Kind, Removal]:
        removals = housekeeping.remove(found, actor="test", dag_run_id="r1", settings=self.settings)
        return {removal.kind: removal for removal in removals}


def names(found: Found, kind: Kind) -> set[str]:
    (finding,) = (each for each in found.findings if each.kind == kind)
    return {item.name for item in finding.removable}


@pytest.fixture(scope="module")
def settings(stack) -> Settings:
    # The model whose metadata Airflow keeps needs Airflow's database only.
    return stack.up("postgres", "mlflow", "airflow-metadata")


@pytest.fixture(scope="module")
def world(settings) -> World:
    spec = small_spec(settings, MODEL)
    versions = {number: register(settings, spec, seed=number) for number in (1, 2, 3, 4)}
    with StateStore(settings.state_url) as state:
        for number in (1, 2):
            state.move_release(MODEL, number, state="checked")
            state.promote(MODEL, number, dag_run_id=f"release{number}", reason="better", actor="test")
        for number in (3, 4):
            state.move_release(MODEL, number, state="rejected")
    digests = {number: keep_content(settings, f"{MODEL}/rows {number}", number) for number in versions}
    for number, digest in digests.items():
        change_past(settings, "UPDATE snapshot SET digest = %s WHERE snapshot_id = %s", digest, versions[number].snapshot_id)
        write_bento(settings, number)
        write_report(settings, number)
        docs = json.dumps([{"point": "raw", "data_docs": f"data_docs/{MODEL}/run {number}/raw.html"}])
        change_past(settings, "UPDATE snapshot SET validation = %s WHERE snapshot_id = %s", docs, versions[number].snapshot_id)
    for name, age in {"unused": YEAR_AGO, "of use": YESTERDAY}.items():
        write(settings.paths.bentoml / bentos.SHELLS / name / "bento.yaml", age=age)
    for number in (1, 2, 3):
        years = 2 if number != 3 else 1
        before = now() - years * YEAR_AGO
        change_past(settings, "UPDATE release SET created_at = %s, updated_at = %s WHERE model = %s AND model_version = %s",
            before, before, MODEL, number)  # fmt: skip
        change_past(settings, "UPDATE snapshot SET created_at = %s WHERE snapshot_id = %s", before, versions[number].snapshot_id)
    a_year_ago = now() - YEAR_AGO
    change_past(settings, "UPDATE champion SET valid_from = %s, valid_to = %s WHERE model = %s AND model_version = 1",
        a_year_ago - YEAR_AGO, a_year_ago, MODEL)  # fmt: skip
    change_past(settings, "UPDATE champion SET valid_from = %s WHERE model = %s AND model_version = 2", a_year_ago, MODEL)
    change_past(settings, "UPDATE champion SET by_rollback = true WHERE model = %s", MODEL)  # so that none is the way back
    return World(settings=settings, mlflow_run_ids=open_runs(settings, versions[2].mlflow_run_id), digests=digests)


def touch(path: Path, at: datetime) -> None:
    for each in (path, *path.rglob("*")):
        os.utime(each, (at.timestamp(), at.timestamp()))


def write(path: Path, text: str = "12345", *, age: timedelta = YEAR_AGO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    touch(path.parent, now() - age)
    return path


def write_bento(settings: Settings, number: int) -> None:
    path = bentos.bento_path(settings, MODEL, number)
    write(path / "src" / "model.json", "{}")
    touch(path, now() - YEAR_AGO)


def write_report(settings: Settings, number: int) -> None:
    write(settings.paths.reports / "data_docs" / MODEL / f"run {number}" / "raw.html")


def keep_content(settings: Settings, name: str, number: int, *, years: int = 1) -> str:
    """Rows in the data registry, as old as they are to be."""
    from perennial.adapters import snapshots

    source = write(settings.paths.runs / "source" / f"{number}.parquet", f"rows of {MODEL} {number}" * 100, age=YESTERDAY)
    stored = snapshots.store(settings.paths.registry, name, source, metadata={"n_rows": 1}, message=name)
    for path in (settings.paths.registry / ".dvc" / "cache").rglob(stored.digest[2:]):
        touch(path, now() - years * YEAR_AGO)
    touch(settings.paths.registry / f"{name}.parquet", now() - years * YEAR_AGO)
    return stored.digest


def open_runs(settings: Settings, champions_run: str) -> dict[str, str]:
    """Runs of candidates a year ago, under a parent each: nobody was chosen, and one became the champion."""
    client, made = MlflowClient(settings.mlflow_tracking_url), {}
    experiment = client.get_experiment_by_name(MODEL).experiment_id
    for family in ("rejected", "champion"):
        parent = client.create_run(experiment, tags={"perennial.model": MODEL}).info.run_id
        loser = client.create_run(experiment, tags={"perennial.model": MODEL, "mlflow.parentRunId": parent}).info.run_id
        client.log_text(loser, "x" * 5000, "evidence.txt")
        made |= {f"parent of {family}": parent, f"loser of {family}": loser}
    client.set_tag(champions_run, "mlflow.parentRunId", made["parent of champion"])
    client.set_tag(champions_run, "perennial.model", MODEL)
    made["deleted before"] = client.create_run(experiment, tags={"perennial.model": MODEL}).info.run_id
    client.delete_run(made["deleted before"])
    made["of somebody else"] = client.create_run(experiment).info.run_id
    made["young"] = client.create_run(experiment, tags={"perennial.model": MODEL}).info.run_id
    with connect(settings, "mlflow") as opened, opened.cursor() as cursor:
        old = [run_id for name, run_id in made.items() if name != "young"] + [champions_run]
        cursor.execute("UPDATE runs SET start_time = %s WHERE run_uuid = ANY (%s)",
                       (int((now() - YEAR_AGO).timestamp() * 1000), old))  # fmt: skip
    return made


def has_run(settings: Settings, run_id: str) -> bool:
    with connect(settings, "mlflow") as opened, opened.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM runs WHERE run_uuid = %s", (run_id,))
        return bool(cursor.fetchone()[0])


@pytest.fixture(scope="module")
def found(world) -> Found:
    """What may go at first."""
    return world.find()


@pytest.fixture(scope="module")
def removed(world, found) -> dict[Kind, Removal]:
    """It goes; what was written after it was found does not."""
    write(world.settings.paths.runs / MODEL / "found too late" / "extract.parquet")
    return world.remove(found)


# what is found


def test_versions_are_kept_for_reasons_that_are_told(found):
    kept = {name: why for name, why in found.kept.items() if name.startswith(MODEL)}
    assert kept == {f"{MODEL} version 2": "serves", f"{MODEL} version 4": f"registered {now():%Y-%m-%d}"}


def test_training_sets_that_no_kept_version_needs_may_go(world, found):
    assert names(found, "snapshots") & set(world.digests.values()) == {world.digests[number] for number in OVER}


def test_bentos_and_reports_of_versions_that_are_over_may_go(found):
    assert {name for name in names(found, "bentos") if MODEL in name} == {f"bentos/{MODEL}/v{number}" for number in (1, 3)}
    assert {name for name in names(found, "reports") if MODEL in name} == {f"data_docs/{MODEL}/run {number}" for number in OVER}


def test_a_shell_of_bentos_that_no_build_used_for_long_may_go(found):
    assert {name for name in names(found, "bentos") if name.startswith(f"{bentos.SHELLS}/")} == {f"{bentos.SHELLS}/unused"}


def test_runs_that_no_version_came_of_may_go_but_for_a_kept_versions_whole_training(world, found):
    over = names(found, "mlflow_runs")
    assert {name for name, run_id in world.mlflow_run_ids.items() if run_id in over} == {
        "parent of rejected", "loser of rejected", "deleted before",
    }  # fmt: skip


def test_an_instant_that_has_not_come_yet_is_refused(world):
    with pytest.raises(ConfigurationError, match="lies in the future"):
        housekeeping.find(as_of=now() + timedelta(days=400), settings=world.settings)


def test_a_service_that_is_away_is_not_taken_for_nothing_needed(world, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UnavailableError, match="MLflow does not answer"):
        housekeeping.find(as_of=now(), settings=world.settings.model_copy(update={"mlflow_port": 1}))


def test_what_was_found_comes_back_from_its_file(world, found):
    path = housekeeping.write_found(found, dag_run_id="manual__2026-01-01T00:00:00+00:00", settings=world.settings)
    assert housekeeping.read_found(path) == found


# what is removed


def test_exactly_what_was_found_goes_and_is_on_record(world, found, removed):
    settings, left = world.settings, world.find()
    for finding in found.findings:
        assert names(left, finding.kind) & {item.name for item in finding.removable} <= {"log"}
        assert removed[finding.kind].n_left == 0
        if finding.removable and finding.kind not in ("airflow", "predictions"):
            assert removed[finding.kind].before_bytes - removed[finding.kind].after_bytes >= finding.removable_bytes > 0
    assert f"{MODEL}/found too late" in names(left, "run_files")
    with connect(settings, "perennial") as opened, opened.cursor() as cursor:
        cursor.execute("SELECT subject, detail FROM audit WHERE action = 'removed' AND detail ->> 'dag_run_id' = 'r1'")
        audit = dict(cursor.fetchall())
    assert {kind: (detail["n"], detail["n_bytes"]) for kind, detail in audit.items()} == {
        kind: (removal.n, removal.n_bytes) for kind, removal in removed.items() if removal.n
    }


def test_what_a_kept_version_needs_is_there_afterwards(world, removed):
    settings = world.settings
    assert Registry(settings.mlflow_tracking_url).load_model(MODEL, 2) is not None
    left = {content.digest for content in contents.list_contents(settings.paths.registry)}
    assert left & set(world.digests.values()) == {world.digests[2], world.digests[4]}
    assert [bentos.bento_path(settings, MODEL, number).exists() for number in (1, 2, 3, 4)] == [False, True, False, True]
    pages = [settings.paths.reports / "data_docs" / MODEL / f"run {number}" / "raw.html" for number in (1, 2, 3, 4)]
    assert [page.exists() for page in pages] == [False, True, False, True]
    gone = {name for name, run_id in world.mlflow_run_ids.items() if not has_run(settings, run_id)}
    assert gone == {"parent of rejected", "loser of rejected", "deleted before"}
    assert not list(settings.paths.mlflow_artifacts.rglob(world.mlflow_run_ids["loser of rejected"]))


def test_git_goes_on_after_a_content_is_gone_and_the_same_rows_can_be_kept_again(world, removed):
    settings = world.settings
    check = ["git", "-C", str(settings.paths.registry), "fsck", "--strict"]
    assert subprocess.run(check, capture_output=True, text=True, check=False).returncode == 0
    again = keep_content(settings, f"{MODEL}/rows 1", 1, years=0)
    assert again == world.digests[1]
    assert (settings.paths.registry / MODEL / "rows 1.parquet").read_text().startswith(f"rows of {MODEL} 1")


# one kind at a time


@contextmanager
def keeper_of(settings: Settings, kind: Kind) -> Iterator[kinds.Keeper]:
    with StateStore(settings.state_url) as state:
        scope = read_scope(state, as_of=now(), settings=settings)
        yield next(keeper for keeper in kinds.keepers(scope) if keeper.kind == kind)


class Died(BaseException):
    """Stands for the end of the process: nothing after it runs."""


def dying(function: Callable[..., object]) -> Callable[..., object]:
    """A function that does its work and never comes back."""

    def die(*arguments: object, **options: object) -> object:
        function(*arguments, **options)
        raise Died

    return die


@pytest.mark.parametrize(
    ("owner", "name"),
    [(folders, "_delete"), (kinds.folders, "remove"), (StateStore, "write_audit")],
    ids=["tree", "item", "audit"],
)
def test_killed_half_way_it_is_finished_by_the_next(world, monkeypatch, owner: object, name: str):
    settings = world.settings
    runs = [write(settings.paths.runs / MODEL / f"{name} {number}" / "x").parent for number in range(3)]
    found = world.find("run_files")
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying(getattr(owner, name)))
        with pytest.raises(Died):
            world.remove(found)
    world.remove(found)
    assert [path for path in runs if path.exists()] == []
    assert not list(settings.paths.runs.rglob(".leaving-*"))


def test_a_run_killed_after_each_of_its_parts_is_still_found(world, monkeypatch):
    settings, client = world.settings, MlflowClient(world.settings.mlflow_tracking_url)
    run_id = client.create_run(client.get_experiment_by_name(MODEL).experiment_id, tags={"perennial.model": MODEL}).info.run_id
    client.log_text(run_id, "text", "evidence.txt")
    with connect(settings, "mlflow") as opened, opened.cursor() as cursor:
        cursor.execute("UPDATE runs SET start_time = 0 WHERE run_uuid = %s", (run_id,))
    for part in ("mlflow.MlflowClient.delete_run", "perennial.adapters.registry.unregistered._delete_artifacts"):
        with monkeypatch.context() as patch, keeper_of(settings, "mlflow_runs") as keeper:
            owner, _, name = part.rpartition(".")
            module = sys.modules["mlflow"].MlflowClient if owner == "mlflow.MlflowClient" else sys.modules[owner]
            patch.setattr(module, name, dying(getattr(module, name)))
            (item,) = (each for each in keeper.find() if each.name == run_id)
            with pytest.raises(Died):
                list(keeper.remove([item]))
        assert has_run(settings, run_id)
    with keeper_of(settings, "mlflow_runs") as keeper:
        assert [each.name for each in keeper.remove([item, item])] == [run_id, run_id]
    assert not has_run(settings, run_id)


def make_old_day(settings: Settings) -> str:
    with PredictionStore(settings.state_url) as store:
        store.make_days([OLD_DAY])
    columns = "predicted_at, model, model_version, kind, request_id, row_number, features, prediction, milliseconds"
    values = f"'{OLD_DAY} 12:00+00', '{MODEL}', 1, 'live', 'r', 0, '{{}}', 0.5, 1"
    query(settings, f"INSERT INTO prediction ({columns}) VALUES ({values})")
    query(settings, f"INSERT INTO traffic VALUES ('{MODEL}', 1, 'live', '{OLD_DAY} 12:00+00', 200, 1, 1) ON CONFLICT DO NOTHING")
    return f"prediction_{OLD_DAY:%Y%m%d}"


def count_old(settings: Settings) -> tuple[object, ...]:
    sql = "SELECT (SELECT count(*) FROM prediction WHERE model = '{0}'), (SELECT count(*) FROM traffic WHERE model = '{0}')"
    return query(settings, sql.format(MODEL))[0]


def test_old_days_of_predictions_go_with_their_traffic(world):
    settings, name = world.settings, make_old_day(world.settings)
    with keeper_of(settings, "predictions") as keeper:
        found = [item for item in keeper.find() if item.name in (name, "traffic")]
        assert len(found) == 2
        assert len(list(keeper.remove(found))) == 2
    assert count_old(settings) == (0, 0)
    assert query(settings, f"SELECT to_regclass('{name}')") == [(None,)]


def test_a_day_whose_detaching_broke_off_goes_the_next_time(world):
    settings, name = world.settings, make_old_day(world.settings)
    with closing(psycopg2.connect(settings.state_url)) as reader, reader.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM prediction")
        with pytest.raises(psycopg2.errors.QueryCanceled):
            query(settings, f"ALTER TABLE prediction DETACH PARTITION {name} CONCURRENTLY", timeout="300ms")
    with StateStore(settings.state_url) as state:
        state.drop_prediction_day(name)
        state.drop_prediction_day(name)
    assert query(settings, f"SELECT to_regclass('{name}')") == [(None,)]


@pytest.mark.parametrize("is_broken", [False, True], ids=["a season", "nobody knows"])
def test_what_a_monitor_may_look_back_to_is_kept(world, tmp_path, is_broken: bool):
    folder = tmp_path / "include" / "models"
    folder.mkdir(parents=True)
    for name in (".env", "airflow.cfg"):
        (tmp_path / name).write_text((world.settings.project / name).read_text())
    example = yaml.safe_load((world.settings.project / "include" / "models" / "flight_delay.yaml").read_text())
    example["monitoring"] = {"reference": "season", "season_lag": "3650 days"}
    if is_broken:
        example = {"model": "flight_delay"}
    (folder / "flight_delay.yaml").write_text(yaml.safe_dump(example))
    make_old_day(world.settings)
    with keeper_of(world.settings.model_copy(update={"project": tmp_path}), "predictions") as keeper:
        assert keeper.find() == ()


def test_finished_runs_of_airflow_go_with_their_logs(world):
    settings = world.settings
    logs = write(settings.paths.logs / "airflow" / f"dag_id=retrain__{MODEL}" / "run_id=old" / "task_id=x" / "attempt=1.log")
    touch(logs.parents[1], now() - YEAR_AGO)
    with connect(settings, "airflow") as opened, opened.cursor() as cursor:
        cursor.execute("INSERT INTO log (dttm, event) VALUES (now() - interval '1 year', 'old'), (now(), 'new')")
        cursor.execute("CREATE TABLE _airflow_deleted__log__20200101000000 AS SELECT 1 AS n")
    with keeper_of(settings, "airflow") as keeper:
        found = {item.name: item for item in keeper.find()}
        assert found["log"].n == 1
        assert f"logs of dag_id=retrain__{MODEL}/run_id=old" in found
        list(keeper.remove(found.values()))
    assert not logs.exists()
    with connect(settings, "airflow") as opened, opened.cursor() as cursor:
        cursor.execute("SELECT event FROM log WHERE event IN ('old', 'new')")
        assert cursor.fetchall() == [("new",)]
        cursor.execute(r"SELECT count(*) FROM pg_class WHERE relname LIKE '\_airflow\_deleted%'")
        assert cursor.fetchone() == (0,)


def test_a_run_that_is_under_way_keeps_what_is_as_old_as_it_is(world):
    settings = world.settings
    write(settings.paths.runs / MODEL / "long" / "x", age=timedelta(days=100))
    with StateStore(settings.state_url) as state:
        scope = read_scope(state, as_of=now(), settings=settings)
        since = now() - timedelta(days=110)
        waiting, idle = (kinds.RunFiles(replace(scope, under_way_since=at)) for at in (since, now()))
        assert f"{MODEL}/long" not in {item.name for item in waiting.find()}
        assert f"{MODEL}/long" in {item.name for item in idle.find()}


def test_a_shell_that_a_build_uses_after_it_was_found_stays(world):
    description = write(world.settings.paths.bentoml / bentos.SHELLS / "used again" / "bento.yaml")
    with keeper_of(world.settings, "bentos") as keeper:
        (item,) = (item for item in keeper.find() if item.name == f"{bentos.SHELLS}/used again")
        os.utime(description)
        assert list(keeper.remove([item])) == []
    assert description.exists()


# the command


def test_the_command_says_what_would_go_and_removes_it_only_when_told(world, stack):
    settings = world.settings
    folder = write(settings.paths.runs / MODEL / "by command" / "x").parent
    (finding,) = command(stack, "--only", "run_files", "--json")["findings"]
    assert f"{MODEL}/by command" in {item["name"] for item in finding["removable"]}
    assert folder.exists()
    (removal,) = command(stack, "--only", "run_files", "--apply", "--json")
    assert removal["before_bytes"] - removal["after_bytes"] >= 5
    assert not folder.exists()


def command(stack: Stack, *arguments: str) -> object:
    done = perennial(stack, "housekeeping", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
