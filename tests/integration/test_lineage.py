"""What a version was made from can be followed and built again to the last bit; a missing link is named with its next step."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from perennial.adapters import snapshots
from perennial.adapters.state import StateStore
from perennial.cli.main import app
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_file import load_spec, spec_path
from perennial.contracts import Cleaned, RegisteredVersion, Run, Snapshot, TrainingSet, Validation
from perennial.errors import ConfigurationError
from perennial.steps.evaluate import evaluate
from perennial.steps.lineage import Fact, read_lineage
from perennial.steps.parquet import write_frame
from perennial.steps.provenance import compute_lock_digest
from perennial.steps.register import register
from perennial.steps.reproduce import Reproduction, reproduce
from perennial.steps.snapshot import registry_name, take_snapshot
from perennial.steps.start import record_start
from perennial.steps.train import open_parent_run, train_candidate
from perennial.steps.window_fit import fit_window
from perennial.steps.workspace import run_folder
from support.stacks.git_projects import commit, copy_project, git

pytestmark = [
    pytest.mark.integration,
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

MODEL = "rebuilt"
START = datetime(2013, 1, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=40)
N_ROWS = 4000
ALGORITHMS = ("logistic_regression", "random_forest", "extra_trees", "hist_gradient_boosting", "lightgbm")
# The test of what was fitted again takes `hist_gradient_boosting`, that of the command `logistic_regression`.
AT_LENGTH = ("random_forest", "extra_trees", "hist_gradient_boosting", "logistic_regression")
SPEC = {
    "model": MODEL,
    "description": "made up",
    "owner": {"name": "Tests", "email": "tests@example.com"},
    "task": "binary_classification",
    "schedule": {"cron": "0 6 1 * *", "start": START.date()},
    "source": {"query": "flight_delay/training.sql", "entity_key": ["id"], "event_time": "at"},
    "label": {"column": "is_late", "delay": "1 day"},
    "training": {"window": "40 days", "holdout": "10 days"},
    "features": {"carrier": {"type": "category"}, "hour": {"type": "integer"}, "wind": {"type": "float", "nullable": True}},
    "expectations": {"raw": "a", "clean": "b", "features": "c", "freshness": "2 days"},
    "budget": {"trials": 2, "seconds": 30, "rows": 2000, "folds": 2},
    "candidates": {
        "logistic_regression": {
            "algorithm": "logistic_regression",
            "search": {"C": {"low": 0.01, "high": 1.0, "log": True}},
        },
        "random_forest": {"algorithm": "random_forest", "params": {"n_estimators": 20, "max_features": 0.5}},
        "extra_trees": {"algorithm": "extra_trees", "params": {"n_estimators": 20, "max_features": None}},
        "hist_gradient_boosting": {
            "algorithm": "hist_gradient_boosting",
            "search": {"learning_rate": {"low": 0.01, "high": 0.3}, "max_leaf_nodes": {"choices": [7, 15]}},
        },
        "lightgbm": {
            "algorithm": "lightgbm",
            "params": {"subsample": 0.7, "subsample_freq": 1, "colsample_bytree": 0.7},
            "search": {"num_leaves": {"low": 4, "high": 31, "integer": True}},
        },
    },
    "metric": "roc_auc",
    "gates": {"floors": {"roc_auc": 0.5}, "improvement": {"at_least": -1.0}, "slices": {"max_drop": 1.0}},
    "recipients": ["tests@example.com"],
    "seed": 7,
}


@pytest.fixture(scope="module")
def settings(stack, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The shared MLflow and Postgres; a committed project, a data registry and two threads per task of the tests' own."""
    secrets = stack.up("postgres", "mlflow").paths.secrets
    folder = tmp_path_factory.mktemp("reproduce")
    (folder / "project").mkdir()
    copy_project(folder / "project", specs={MODEL: SPEC})
    changes = {"VAR": folder / "var", "PROJECT": folder / "project", "SECRETS": secrets, "THREADS_PER_TASK": 2}
    return Settings.load({**stack.environment, **{f"PERENNIAL_{name}": str(value) for name, value in changes.items()}})


class Versions(dict[str, RegisteredVersion]):
    """A registered version per algorithm, made when it is first asked for. The first of them serves; the others, of older data,
    were judged on rows it has not seen."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __missing__(self, name: str) -> RegisteredVersion:
        settings, spec, number = self._settings, load_spec(spec_path(self._settings, MODEL)), ALGORITHMS.index(name)
        later = timedelta(days=2 * (number > 0))
        run = replace(build_run(spec, f"r{number}"), cause="schedule", force_reason="to compare", forced_by="ann")
        self[name] = made = make_version(spec, run, name, holdout_start=AS_OF - spec.training.holdout - later, settings=settings)
        return made


@pytest.fixture(scope="module")
def versions(settings) -> Versions:
    made = Versions(settings)
    champion = made[ALGORITHMS[0]].model_version
    with StateStore(settings.state_url) as state:
        state.move_release(MODEL, champion, state="checked")
        state.promote(MODEL, champion, dag_run_id="r", reason="first", actor="test")
    made["lightgbm"]
    return made


def build_run(spec: ModelSpec, dag_run_id: str) -> Run:
    return Run(model=spec.model, dag_id=f"retrain__{spec.model}", dag_run_id=dag_run_id, as_of=AS_OF, start=START)


def make_version(
    spec: ModelSpec, run: Run, name: str, *, holdout_start: datetime, settings: Settings, refit: bool = False
) -> RegisteredVersion:
    """What the tasks of a retraining do from the snapshot on, with one candidate."""
    record_start(run, settings=settings)
    snapshot = make_snapshot(spec, run, holdout_start=holdout_start, settings=settings)
    parent = open_parent_run(spec, run, snapshot, settings=settings)
    trained = train_candidate(spec, run, snapshot, name, parent_run_id=parent, settings=settings)
    assert trained.error == ""
    decision = evaluate(spec, run, snapshot, [trained], parent_run_id=parent, settings=settings)
    again = fit_window(spec, run, snapshot, decision, settings=settings) if refit else None
    return register(spec, run, snapshot, decision, refit=again, settings=settings)


def make_snapshot(spec: ModelSpec, run: Run, *, holdout_start: datetime, settings: Settings) -> Snapshot:
    path = run_folder(settings, run) / "training_set.parquet"
    write_frame(make_rows(), path)
    training_set = TrainingSet(path=str(path), n_rows=N_ROWS, n_immature=3, positive_ratio=0.3, holdout_start=holdout_start)
    cleaned = Cleaned(path="", n_rows_in=N_ROWS + 8, n_rows=N_ROWS + 3, dropped={"duplicates": 5})
    validation = Validation(point="raw", suite="a", success=True, n_expectations=3, n_rows=N_ROWS + 8)
    return take_snapshot(spec, run, training_set, sql_digest="q", cleaned=cleaned, validations=(validation,), settings=settings)


def make_rows() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": np.arange(N_ROWS).astype(str),
            "at": pd.Timestamp(START) + pd.to_timedelta(np.sort(generator.random(N_ROWS)) * 40 * 86400, unit="s"),
            "carrier": generator.choice(["AA", "UA", "B6"], N_ROWS),
            "hour": generator.integers(0, 24, N_ROWS),
            "wind": np.where(generator.random(N_ROWS) < 0.1, np.nan, generator.gamma(2, 5, N_ROWS)),
        }
    )
    risk = 0.05 + 0.3 * (frame["carrier"] == "UA") + 0.02 * frame["hour"]
    return frame.assign(is_late=(generator.random(N_ROWS) < risk).astype(np.int8))


def again(version: RegisteredVersion, settings: Settings) -> Reproduction:
    return reproduce(version.model, version.model_version, settings=settings, tell=lambda _: None)


def missing(done: Reproduction) -> dict[str, tuple[str, str]]:
    assert done.outcome == "link missing"
    return {link.name: (link.detail, link.next_step) for link in done.links if not link.holds}


@pytest.mark.parametrize(
    "algorithm", [pytest.param(name, marks=[pytest.mark.soak] if name in AT_LENGTH else []) for name in ALGORITHMS]
)
def test_the_same_comes_out_to_the_last_bit(settings, versions, algorithm, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = again(versions[algorithm], settings)
    assert (done.outcome, done.largest_difference) == ("identical", 0.0), done
    assert {each.metric for each in done.metrics} >= {"roc_auc", "brier", "holdout_roc_auc"}
    assert all(each.again == each.recorded for each in done.metrics)
    assert [link.name for link in done.links] == ["training", "decision", "commit", "code", "lock", "snapshot"]
    assert list(tmp_path.iterdir()) == []
    if algorithm != "logistic_regression":  # it has no champion, whose own rows are left out as they were then
        by_name = {each.metric: each.recorded for each in done.metrics}
        assert by_name["roc_auc"] != by_name["holdout_roc_auc"]


@pytest.fixture(scope="module")
def refitted(settings, versions) -> RegisteredVersion:
    """A version that was fitted again on the whole window."""
    spec = load_spec(spec_path(settings, MODEL))
    run = replace(build_run(spec, "refitted"), force_reason="to compare", forced_by="ann")
    holdout_start = AS_OF - spec.training.holdout - timedelta(days=2)
    return make_version(spec, run, "hist_gradient_boosting", holdout_start=holdout_start, settings=settings, refit=True)


def test_what_was_fitted_again_comes_out_the_same_and_so_do_the_figures_of_the_judged_model(settings, refitted):
    done = again(refitted, settings)
    assert (done.outcome, done.largest_difference, done.n_training_rows) == ("identical", 0.0, N_ROWS), done
    assert {each.metric for each in done.metrics} >= {"roc_auc", "brier", "holdout_roc_auc"}


def test_lineage_says_which_model_serves_and_which_was_judged(settings, refitted):
    sections = read_lineage(MODEL, refitted.model_version, settings=settings)
    facts = {fact.name: fact.value for section in sections for fact in section.facts}
    assert facts["learned_until"] == AS_OF.isoformat()
    assert str(facts["refit"]).startswith("on the whole window, served: its predictions lie")
    assert refitted.judged_from is not None
    assert str(facts["judged_model"]).endswith(f", which learned until {refitted.judged_from.isoformat()}")
    assert facts["holdout_start"] == refitted.judged_from.isoformat()


def test_the_command_says_what_it_compared(settings, versions, monkeypatch):
    lead_to(settings, monkeypatch)
    number = str(versions["logistic_regression"].model_version)
    told = CliRunner().invoke(app, ["reproduce", MODEL, number])
    assert told.exit_code == 0, told.output
    assert "identical: every prediction on the holdout and every metric is the same to the last bit" in told.output


def lead_to(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    values = settings.model_dump(mode="json")
    for name, value in values.items():
        monkeypatch.setenv(f"PERENNIAL_{name.upper()}", "" if value is None else str(value))


# lineage


@pytest.fixture(scope="module")
def lineage(settings, versions) -> dict[str, dict[str, Fact]]:
    sections = read_lineage(MODEL, versions["lightgbm"].model_version, settings=settings)
    return {each.title: {fact.name: fact for fact in each.facts} for each in sections}


def test_everything_is_recorded(lineage):
    assert [fact.name for facts in lineage.values() for fact in facts.values() if fact.value is None] == []


def test_what_is_recorded_is_what_was(settings, versions, lineage):
    data, code = lineage["data"], lineage["code"]
    assert (lineage["cause"]["caused_by"].value, lineage["cause"]["retraining"].value) == ("schedule", "r4")
    assert data["rows"].value == {
        "extracted": 4008, "dropped": {"duplicates": 5}, "mended": {}, "clean": 4003, "immature": 3, "training_set": 4000,
    }  # fmt: skip
    assert data["suite_raw"].value == "a: passed, 3 expectations on 4008 rows"
    assert code["git_commit"].value == git(settings.project, "rev-parse", "HEAD")
    assert code["lock_digest"].value == compute_lock_digest(settings.project)
    assert (code["threads"].value, lineage["training"]["seed"].value) == ("2", "7")
    assert lineage["training"]["search_space"].value["num_leaves"]["high"] == 31
    assert lineage["training"]["params"].value.keys() == {"subsample", "subsample_freq", "colsample_bytree", "num_leaves"}
    assert lineage["decision"]["champion_version"].value == versions["logistic_regression"].model_version
    assert lineage["decision"]["forced"].value == "by ann: to compare"
    assert lineage["predictions"]["rows"].value == 0


def test_every_id_can_be_followed(settings, lineage, tmp_path):
    data, code = lineage["data"], lineage["code"]
    assert "flight" in shell(data["query"].follow)
    assert json.loads(shell(data["rows"].follow))["digest"] == data["snapshot_digest"].value
    assert str(data["snapshot_id"].value) in shell(data["dvc_revision"].follow)
    assert str(code["git_commit"].value) in shell(code["git_commit"].follow)
    assert shell(code["lock_digest"].follow).split()[0] == code["lock_digest"].value
    shell(f"{data['snapshot_digest'].follow} --out {tmp_path / 'got.parquet'}")
    assert snapshots.compute_digest(tmp_path / "got.parquet") == data["snapshot_digest"].value
    assert lineage["cause"]["retraining"].follow == f"{settings.airflow_link}/dags/retrain__{MODEL}/runs/r4"
    assert httpx.get(lineage["training"]["mlflow_run_id"].follow).is_success


def test_what_would_fail_is_not_printed(settings, versions, tagged):
    """A commit that is not here, changes that are in none, a training set that housekeeping removed."""
    version = versions["logistic_regression"]

    def follow() -> dict[str, str]:
        sections = read_lineage(MODEL, version.model_version, settings=settings)
        return {fact.name: fact.follow for each in sections if each.title != "predictions" for fact in each.facts}

    before = follow()
    assert all(before[name] for name in ("query", "git_commit", "lock_digest", "rows", "snapshot_digest", "dvc_revision"))
    assert (before["bento_tag"], before["suite_raw"]) == ("", "")
    commit_of = git(settings.project, "rev-parse", "HEAD")
    tagged.set_tag(version.mlflow_run_id, "perennial.git_commit", f"{commit_of}-dirty")
    changed = follow()
    assert (changed["query"], changed["lock_digest"], commit_of in changed["git_commit"]) == ("", "", True)
    tagged.set_tag(version.mlflow_run_id, "perennial.git_commit", "0" * 40)
    elsewhere = follow()
    assert [elsewhere[name] for name in ("query", "git_commit", "lock_digest")] == ["", "", ""]
    content = snapshots.content_path(
        settings.paths.registry, tagged.get_run(version.mlflow_run_id).data.tags["perennial.snapshot_digest"]
    )
    kept = content.rename(content.with_name("kept"))
    try:
        assert follow()["snapshot_digest"] == ""
    finally:
        kept.rename(content)


def shell(command: str) -> str:
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout


def test_the_command_tells_people_and_machines(settings, versions, lineage, monkeypatch):
    lead_to(settings, monkeypatch)
    number = str(versions["lightgbm"].model_version)
    told = CliRunner().invoke(app, ["lineage", MODEL, number])
    assert told.exit_code == 0, told.output
    assert f"→ {lineage['data']['snapshot_digest'].follow}" in told.output
    record = json.loads(CliRunner().invoke(app, ["lineage", MODEL, number, "--json"]).stdout)
    commit_of = lineage["code"]["git_commit"]
    assert record["code"]["git_commit"] == {"value": commit_of.value, "follow": commit_of.follow}


# links


@pytest.fixture
def tagged(settings, versions) -> Iterator[MlflowClient]:
    """A client that may tag the training of the first version; its tags are as before afterwards."""
    client = MlflowClient(settings.mlflow_tracking_url)
    run_id = versions["logistic_regression"].mlflow_run_id
    before = client.get_run(run_id).data.tags
    yield client
    for name, value in before.items():
        client.set_tag(run_id, name, value)


@pytest.mark.parametrize(
    ("tag", "value", "link", "detail", "step"),
    [
        ("git_commit", "unknown", "commit", "no commit was recorded", "from a git repository"),
        ("git_commit", "0" * 40, "commit", "is not in", "fetch --all"),
        ("git_commit", f"{'a' * 40}-dirty", "commit", "aaaaaaaaaaaa with changes that nobody kept", "commit what lies in"),
        ("lock_digest", "0" * 64, "lock", "recorded is 000000000000", "train again"),
    ],
)
def test_a_link_of_the_code_that_is_missing_is_named(settings, versions, tagged, tag, value, link, detail, step):
    tagged.set_tag(versions["logistic_regression"].mlflow_run_id, f"perennial.{tag}", value)
    found = missing(again(versions["logistic_regression"], settings))
    assert found.keys() == {link}
    assert detail in found[link][0]
    assert step in found[link][1]


def test_a_commit_that_cannot_train_again_is_named(settings, versions, tagged):
    project = settings.project
    entry = project / "include" / "perennial" / "steps" / "refit.py"
    kept = entry.read_bytes()
    entry.unlink()
    tagged.set_tag(versions["logistic_regression"].mlflow_run_id, "perennial.git_commit", commit(project))
    entry.write_bytes(kept)
    commit(project)
    found = missing(again(versions["logistic_regression"], settings))
    assert "has no include/perennial/steps/refit.py" in found["code"][0]


def test_a_version_from_before_it_was_recorded_is_named(settings, versions, tagged):
    run_id, number = versions["lightgbm"].mlflow_run_id, versions["lightgbm"].model_version
    told = tagged.get_run(run_id).data.tags["perennial.params"]
    tagged.delete_tag(run_id, "perennial.params")
    tagged.delete_model_version_tag(MODEL, str(number), "perennial.params")
    assert "does not say its params" in missing(again(versions["lightgbm"], settings))["training"][0]
    tagged.set_tag(run_id, "perennial.params", told)


def test_a_version_that_there_is_not_is_refused_with_those_there_are(settings, versions):
    with pytest.raises(ConfigurationError, match="no version 99 of rebuilt") as caught:
        reproduce(MODEL, 99, settings=settings, tell=lambda _: None)
    assert caught.value.next_step.startswith("versions: 1, 2")


def test_a_snapshot_that_was_deleted_is_named_unless_a_remote_has_it(settings, versions, tmp_path, monkeypatch):
    """The last test: it leaves the data registry without its data."""
    spec, run = load_spec(spec_path(settings, MODEL)), build_run(load_spec(spec_path(settings, MODEL)), "r9")
    remote = settings.model_copy(update={"data_remote": str(tmp_path / "remote")})
    snapshot = make_snapshot(spec, run, holdout_start=AS_OF - spec.training.holdout, settings=remote)
    shutil.rmtree(settings.paths.registry / ".dvc" / "cache")
    (settings.paths.registry / f"{registry_name(snapshot)}.parquet").unlink()
    assert again(versions["lightgbm"], remote).outcome == "identical"
    shutil.rmtree(tmp_path / "remote")
    found = missing(again(versions["lightgbm"], settings))
    assert found.keys() == {"snapshot"}
    assert f"{snapshot.snapshot_id} is gone: the data registry no longer has MD5 {snapshot.digest}" in found["snapshot"][0]
    assert f"perennial airflow dags trigger retrain__{MODEL}" in found["snapshot"][1]
    lead_to(settings, monkeypatch)
    told = CliRunner().invoke(app, ["reproduce", MODEL, str(versions["lightgbm"].model_version), "--json"])
    assert (told.exit_code, json.loads(told.stdout)["outcome"]) == (1, "link missing")
