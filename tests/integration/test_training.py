"""From a snapshot to a registered challenger, against a real MLflow and Postgres, on a small made-up training set."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd
import psycopg2
import pytest
from mlflow import MlflowClient

from perennial.adapters.registry import Registry
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Decision, GateResult, Mode, Refit, RegisteredVersion, Run, Snapshot, TrainedCandidate
from perennial.core.candidates import predict
from perennial.core.frames import features_frame
from perennial.errors import ConfigurationError, ReleaseError, TrainingError, UnavailableError
from perennial.steps.champion_model import read_version_model
from perennial.steps.evaluate import evaluate
from perennial.steps.modelling import feature_types
from perennial.steps.reconcile import reconcile_champion_alias
from perennial.steps.register import read_registered, register
from perennial.steps.report_evidence import read_evaluation
from perennial.steps.train import load_pipeline, open_parent_run, read_trained, train_candidate
from perennial.steps.window_fit import fit_window
from perennial.steps.workspace import run_folder
from support.stacks.stack import Stack

pytestmark = [
    pytest.mark.integration,
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

START = datetime(2013, 1, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=40)
HOLDOUT_START = START + timedelta(days=30)
N_ROWS = 4000


def make_spec(model: str, **changes: object) -> ModelSpec:
    values: dict[str, object] = {
        "model": model,
        "description": "made up",
        "owner": {"name": "Tests", "email": "tests@example.com"},
        "task": "binary_classification",
        "schedule": {"cron": "0 6 1 * *", "start": START.date()},
        "source": {"query": "none.sql", "entity_key": ["id"], "event_time": "at"},
        "label": {"column": "is_late", "delay": "1 day"},
        "training": {"window": "40 days", "holdout": "10 days"},
        "features": {
            "carrier": {"type": "category"},
            "hour": {"type": "integer"},
            "wind": {"type": "float", "nullable": True},
        },
        "expectations": {"raw": "a", "clean": "b", "features": "c", "freshness": "2 days"},
        "budget": {"trials": 3, "seconds": 30, "rows": 2000, "folds": 2},
        "candidates": {
            "baseline": {"algorithm": "prior"},
            "logistic": {"algorithm": "logistic_regression", "search": {"C": {"low": 0.01, "high": 1.0, "log": True}}},
        },
        "metric": "roc_auc",
        "gates": {"floors": {"roc_auc": 0.6}, "slices": {"columns": ["carrier"], "min_rows": 100}},
        "recipients": ["tests@example.com"],
        "seed": 7,
    }
    return ModelSpec.model_validate(values | changes)


def make_rows(*, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
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


class Loop:
    """The steps of one model, as its Dag would call them."""

    def __init__(self, spec: ModelSpec, settings: Settings, folder: Path) -> None:
        self.spec = spec
        self.settings = settings
        self.folder = folder
        self.registry = Registry(settings.mlflow_tracking_url)
        self.client = MlflowClient(settings.mlflow_tracking_url)

    def run(self, dag_run_id: str = "r1", *, force_reason: str = "", mode: Mode = "live") -> Run:
        return Run(
            model=self.spec.model, dag_id="retrain", dag_run_id=dag_run_id, as_of=AS_OF, start=START, force_reason=force_reason,
            forced_by="ann" if force_reason else "", mode=mode, backfill_id=7 if mode == "backfill" else None,
        )  # fmt: skip

    def snapshot(self, rows: pd.DataFrame | None = None, *, holdout_start: datetime = HOLDOUT_START) -> Snapshot:
        name = f"{self.spec.model}-{holdout_start:%m%d}"
        path = self.folder / f"{name}.parquet"
        (make_rows() if rows is None else rows).to_parquet(path)
        snapshot = Snapshot(
            snapshot_id=name, model=self.spec.model, as_of=AS_OF, start=START, holdout_start=holdout_start, n_rows=N_ROWS,
            digest=name, sql_digest="abc", dvc_revision="def", path=str(path),
        )  # fmt: skip
        with self.state() as state:
            state.write_snapshot(snapshot, ())
        return snapshot

    def state(self) -> StateStore:
        return StateStore(self.settings.state_url)

    def train(self, run: Run, snapshot: Snapshot) -> tuple[str, list[TrainedCandidate]]:
        parent = open_parent_run(self.spec, run, snapshot, settings=self.settings)
        names = self.spec.candidates
        return parent, [self.train_one(run, snapshot, name, parent=parent) for name in names]

    def train_one(self, run: Run, snapshot: Snapshot, name: str, *, parent: str) -> TrainedCandidate:
        return train_candidate(self.spec, run, snapshot, name, parent_run_id=parent, settings=self.settings)

    def decide(self, run: Run, snapshot: Snapshot) -> Decision:
        parent, candidates = self.train(run, snapshot)
        return evaluate(self.spec, run, snapshot, candidates, parent_run_id=parent, settings=self.settings)

    def release(self, run: Run, snapshot: Snapshot) -> RegisteredVersion:
        """Register the challenger of a run and make it the champion."""
        decision = self.decide(run, snapshot)
        version = register(self.spec, run, snapshot, decision, settings=self.settings)
        with self.state() as state:
            state.move_release(version.model, version.model_version, state="checked")
            state.promote(version.model, version.model_version, dag_run_id=run.dag_run_id, reason="test", actor="test")
        return version


MakeLoop = Callable[..., Loop]


@pytest.fixture
def make_loop(stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> MakeLoop:
    settings = stack.up("postgres", "mlflow")

    def make(**changes: object) -> Loop:
        return Loop(make_spec(f"m_{crc32(request.node.name.encode()):x}", **changes), settings, tmp_path)

    return make


@pytest.fixture
def loop(make_loop: MakeLoop) -> Loop:
    return make_loop()


def failed(decision: Decision) -> list[str]:
    return [gate.gate for gate in decision.gates if not gate.passed]


def gate(decision: Decision, name: str) -> GateResult:
    return next(each for each in decision.gates if each.gate == name)


# training


def test_a_candidate_is_a_run_that_tells_everything(loop: Loop) -> None:
    run, snapshot = loop.run(), loop.snapshot()
    parent, (_, trained) = loop.train(run, snapshot)
    assert (trained.error, trained.n_trials) == ("", 3)
    assert trained.fold_score is not None and trained.fold_score > 0.6
    told = loop.client.get_run(trained.mlflow_run_id)
    assert told.info.status == "FINISHED"
    assert told.data.tags["mlflow.parentRunId"] == parent
    expected = {"dag_run_id": "r1", "task": "train_candidate", "candidate": "logistic", "snapshot_id": snapshot.snapshot_id}
    expected |= {"sql_digest": "abc", "training_end": HOLDOUT_START.isoformat(), "window_start": START.isoformat()}
    assert {name: told.data.tags[f"perennial.{name}"] for name in expected} == expected
    assert told.data.tags["perennial.git_commit"]
    assert {"C", "algorithm", "search_space", "budget", "seed"} <= told.data.params.keys()
    assert {"fold_score", "fit_seconds", "fold_roc_auc", "out_of_fold_calibration_error"} <= told.data.metrics.keys()
    assert len(loop.client.get_metric_history(trained.mlflow_run_id, "fold_roc_auc")) == 2
    files = {file.path for file in loop.client.list_artifacts(trained.mlflow_run_id)}
    assert {"curves.json", "importances.json", "trials.json"} <= files


def test_training_twice_takes_what_is_there(loop: Loop) -> None:
    run, snapshot = loop.run(), loop.snapshot()
    assert loop.train(run, snapshot) == loop.train(run, snapshot)
    assert len(loop.registry.find_runs(loop.spec.model, {"dag_run_id": "r1"})) == 1 + len(loop.spec.candidates)


def test_the_run_of_a_killed_task_is_closed_and_superseded(loop: Loop) -> None:
    run, snapshot = loop.run(), loop.snapshot()
    parent = open_parent_run(loop.spec, run, snapshot, settings=loop.settings)
    killed = loop.registry.start_run(loop.spec.model, "logistic", tags={"dag_run_id": "r1", "candidate": "logistic"})
    trained = loop.train_one(run, snapshot, "logistic", parent=parent)
    assert trained.mlflow_run_id != killed
    told = loop.client.get_run(killed)
    assert (told.info.status, told.data.tags["perennial.superseded"]) == ("KILLED", "true")


def test_a_task_killed_after_its_record_is_not_trained_again(loop: Loop) -> None:
    run, snapshot = loop.run(), loop.snapshot()
    parent, (_, before) = loop.train(run, snapshot)
    loop.client.update_run(before.mlflow_run_id, status="RUNNING")
    assert loop.train_one(run, snapshot, "logistic", parent=parent) == before
    assert loop.client.get_run(before.mlflow_run_id).info.status == "FINISHED"


def test_the_run_of_a_candidate_that_never_came_back_is_closed(loop: Loop) -> None:
    run, snapshot = loop.run(), loop.snapshot()
    parent, candidates = loop.train(run, snapshot)
    lost = loop.registry.start_run(loop.spec.model, "trees", tags={"dag_run_id": "r1", "candidate": "trees"})
    evaluate(loop.spec, run, snapshot, candidates, parent_run_id=parent, settings=loop.settings)
    assert loop.client.get_run(lost).info.status == "KILLED"


def test_another_snapshot_under_the_same_dag_run_is_trained_anew(loop: Loop) -> None:
    run, snapshot = loop.run(), loop.snapshot()
    parent, (_, before) = loop.train(run, snapshot)
    after = loop.train_one(run, replace(snapshot, digest="other"), "logistic", parent=parent)
    assert after.mlflow_run_id != before.mlflow_run_id
    assert loop.client.get_run(before.mlflow_run_id).data.tags["perennial.superseded"] == "true"


def test_a_failing_candidate_does_not_sink_the_others(make_loop: MakeLoop) -> None:
    broken = {"algorithm": "logistic_regression", "params": {"C": -1.0}}
    loop = make_loop(candidates={"broken": broken, "trees": {"algorithm": "extra_trees", "params": {"n_estimators": 5}}})
    run, snapshot = loop.run(), loop.snapshot()
    parent, (bad, good) = loop.train(run, snapshot)
    assert "C" in bad.error and bad.fold_score is None and not bad.model_path
    told = loop.client.get_run(bad.mlflow_run_id)
    assert told.info.status == "FAILED" and "C" in told.data.tags["perennial.error"]
    decision = evaluate(loop.spec, run, snapshot, [bad, good], parent_run_id=parent, settings=loop.settings)
    assert decision.candidate == "trees"
    report = read_evaluation(run_folder(loop.settings, run))
    assert [each.error for each in report.candidates] == [bad.error, ""]


def test_no_candidate_at_all_is_an_error_that_names_each(make_loop: MakeLoop) -> None:
    loop = make_loop(candidates={"broken": {"algorithm": "logistic_regression", "params": {"C": -1.0}}})
    run, snapshot = loop.run(), loop.snapshot()
    with pytest.raises(TrainingError, match=r"broken: .*the last one: InvalidParameterError"):
        loop.decide(run, snapshot)
    told = loop.client.get_run(open_parent_run(loop.spec, run, snapshot, settings=loop.settings))
    assert told.info.status == "FAILED" and "broken" in told.data.tags["perennial.error"]


def test_an_unknown_candidate_names_the_ones_there_are(loop: Loop) -> None:
    with pytest.raises(ConfigurationError, match="baseline, logistic"):
        loop.train_one(loop.run(), loop.snapshot(), "lightgbm", parent="")


# evaluation


def test_the_first_challenger_is_judged_against_the_prior_and_a_slow_row_only_warns(make_loop: MakeLoop) -> None:
    slices = {"columns": ["carrier"], "min_rows": 100}
    loop = make_loop(gates={"floors": {"roc_auc": 0.6}, "slices": slices, "latency_ms": 1e-6})
    run, snapshot = loop.run(), loop.snapshot()
    parent, candidates = loop.train(run, snapshot)
    decision = evaluate(loop.spec, run, snapshot, candidates, parent_run_id=parent, settings=loop.settings)
    assert (decision.outcome, decision.candidate, decision.champion_version) == ("accepted", "logistic", None)
    assert [each.gate for each in decision.gates] == ["floor_roc_auc", "improvement", "slices", "latency"]
    assert gate(decision, "latency").result == "warn"
    assert "the prior baseline" in gate(decision, "improvement").reason
    assert decision.slices.keys() == {"carrier=AA", "carrier=B6", "carrier=UA"}
    told = loop.client.get_run(parent)
    assert (told.info.status, told.data.tags["perennial.decision"]) == ("FINISHED", "accepted")
    assert told.data.metrics["challenger_roc_auc"] == decision.challenger_metrics["roc_auc"]


def test_several_finalists_meet_the_champion_and_each_has_to_be_surer(make_loop: MakeLoop) -> None:
    algorithm = {"algorithm": "logistic_regression"}
    candidates = {"loose": {**algorithm, "params": {"C": 1.0}}, "tight": {**algorithm, "params": {"C": 0.5}}}
    loop = make_loop(gates={"floors": {"roc_auc": 0.6}, "finalists": 2}, candidates=candidates)
    decision = loop.decide(loop.run(), loop.snapshot())
    assert {each.candidate for each in decision.finalists} == {"loose", "tight"}
    assert all(each.passed for each in decision.finalists)
    best = max(decision.finalists, key=lambda each: each.gain or 0.0)
    assert (decision.outcome, decision.candidate) == ("accepted", best.candidate)
    assert "97.5% confidence, as 2 candidates were compared" in gate(decision, "improvement").reason
    with loop.state() as state:
        assert state.read_decision(loop.spec.model, "r1") == decision


def test_evaluating_twice_leaves_one_decision(loop: Loop) -> None:
    run, snapshot = loop.run(), loop.snapshot()
    first, second = loop.decide(run, snapshot), loop.decide(run, snapshot)
    assert first.challenger_metrics == second.challenger_metrics
    with psycopg2.connect(loop.settings.state_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*), max(outcome) FROM decision WHERE model = %s", (loop.spec.model,))
        assert cursor.fetchone() == (1, "accepted")
    connection.close()


def test_the_report_finds_curves_and_tables(loop: Loop) -> None:
    run = loop.run()
    decision = loop.decide(run, loop.snapshot())
    report = read_evaluation(run_folder(loop.settings, run))
    assert report.curves.keys() == {"challenger", "baseline"}
    assert all(len(points) <= 200 for curves in report.curves.values() for points in curves.values())
    chosen = next(each for each in report.candidates if each.name == decision.candidate)
    assert chosen.holdout_metrics == decision.challenger_metrics
    assert report.baseline_metrics["roc_auc"] == 0.5
    rows = make_rows()
    assert report.n_holdout_rows == int((rows["at"] >= HOLDOUT_START).sum())
    assert report.n_train_rows == int((rows["at"] + timedelta(days=1) <= HOLDOUT_START).sum())


def test_a_floor_not_reached_rejects_and_a_force_is_recorded(make_loop: MakeLoop, caplog: pytest.LogCaptureFixture) -> None:
    loop = make_loop(gates={"floors": {"roc_auc": 0.99}})
    snapshot = loop.snapshot()
    decision = loop.decide(loop.run("r1"), snapshot)
    assert (decision.outcome, failed(decision), decision.forced_reason) == ("rejected", ["floor_roc_auc"], "")
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [each for each in warnings if each.startswith("gate floor_roc_auc FAILED: ")]
    with pytest.raises(ReleaseError, match="rejected"):
        register(loop.spec, loop.run("r1"), snapshot, decision, settings=loop.settings)
    forced = loop.decide(loop.run("r2", force_reason="the floor was a typo"), snapshot)
    assert (forced.outcome, failed(forced), forced.forced_reason) == ("accepted", ["floor_roc_auc"], "the floor was a typo")


def test_a_force_that_was_not_needed_is_not_recorded(loop: Loop) -> None:
    assert loop.decide(loop.run(force_reason="just in case"), loop.snapshot()).forced_reason == ""


def test_an_equal_challenger_is_no_improvement_over_the_champion(loop: Loop) -> None:
    snapshot = loop.snapshot()
    version = loop.release(loop.run("r1"), snapshot)
    decision = loop.decide(loop.run("r2"), snapshot)
    assert (decision.outcome, decision.champion_version) == ("rejected", version.model_version)
    assert failed(decision) == ["improvement"]
    assert decision.champion_metrics == decision.challenger_metrics
    assert read_evaluation(run_folder(loop.settings, loop.run("r2"))).curves.keys() == {"challenger", "baseline", "champion"}


def test_the_champion_is_judged_only_on_rows_it_has_not_seen(loop: Loop) -> None:
    loop.release(loop.run("r1"), loop.snapshot())
    older = loop.snapshot(holdout_start=START + timedelta(days=25))
    decision = loop.decide(loop.run("r2"), older)
    assert "not_older" in failed(decision)
    at = make_rows()["at"]
    n_unseen = int((at >= HOLDOUT_START).sum())
    assert gate(decision, "unseen_rows").value == n_unseen
    assert n_unseen < (at >= older.holdout_start).sum()


def test_a_champion_that_saw_all_of_the_holdout_cannot_be_compared(loop: Loop) -> None:
    loop.release(loop.run("r1"), loop.snapshot())
    rows = make_rows()
    older = loop.snapshot(rows[rows["at"] < HOLDOUT_START], holdout_start=START + timedelta(days=20))
    decision = loop.decide(loop.run("r2"), older)
    assert failed(decision) == ["not_older", "unseen_rows"]
    assert decision.champion_metrics == {} and decision.challenger_metrics


def test_a_champion_that_needs_a_column_that_is_gone_is_not_replaced(make_loop: MakeLoop) -> None:
    before = make_loop()
    before.release(before.run("r1"), before.snapshot())
    features = {"hour": {"type": "integer"}, "carrier": {"type": "category"}}
    after = make_loop(features=features)
    decision = after.decide(after.run("r2"), after.snapshot(make_rows().drop(columns="wind")))
    assert failed(decision) == ["champion_scored"]
    assert "'wind' is absent" in gate(decision, "champion_scored").reason


def test_the_champion_is_scored_with_its_own_preprocessing(make_loop: MakeLoop) -> None:
    before = make_loop()
    version = before.release(before.run("r1"), before.snapshot())
    after = make_loop(features={"hour": {"type": "integer"}, "carrier": {"type": "category"}})
    decision = after.decide(after.run("r2"), after.snapshot())
    assert decision.champion_version == version.model_version
    assert decision.champion_metrics != decision.challenger_metrics
    assert {"roc_auc", "brier"} <= decision.champion_metrics.keys()


def test_a_registry_that_is_away_is_not_taken_for_no_champion(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    run, snapshot = loop.run(), loop.snapshot()
    parent, candidates = loop.train(run, snapshot)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = loop.settings.model_copy(update={"mlflow_port": 1})
    with pytest.raises(UnavailableError, match="MLflow does not answer"):
        evaluate(loop.spec, run, snapshot, candidates, parent_run_id=parent, settings=away)
    with loop.state() as state:
        assert state.read_decision(loop.spec.model, run.dag_run_id) is None


def test_a_state_database_that_is_away_is_not_taken_for_no_champion(loop: Loop) -> None:
    run, snapshot = loop.run(), loop.snapshot()
    parent, candidates = loop.train(run, snapshot)
    away = loop.settings.model_copy(update={"postgres_port": 1})
    with pytest.raises(UnavailableError, match="state database"):
        evaluate(loop.spec, run, snapshot, candidates, parent_run_id=parent, settings=away)


# registration


def test_registering_gives_a_tagged_version_and_the_alias_once(loop: Loop) -> None:
    run, snapshot = loop.run(), loop.snapshot()
    decision = loop.decide(run, snapshot)
    version = register(loop.spec, run, snapshot, decision, settings=loop.settings)
    assert register(loop.spec, run, snapshot, decision, settings=loop.settings) == version
    assert (version.model_version, version.training_end) == (1, HOLDOUT_START)
    assert read_registered(loop.spec.model, 1, settings=loop.settings) == version
    assert loop.registry.read_alias(loop.spec.model, "challenger") == 1
    found = loop.registry.read_version(loop.spec.model, 1)
    assert found is not None
    expected = {"snapshot_id": snapshot.snapshot_id, "dag_run_id": "r1", "mode": "live", "serialization": "skops"}
    assert expected.items() <= found.tags.items()
    assert json.loads(found.tags["features"])["wind"] == {"type": "float", "nullable": True}
    with loop.state() as state:
        assert [row.state for row in state.read_releases(loop.spec.model)] == ["registered"]


def test_golden_rows_are_what_the_registered_model_says(loop: Loop) -> None:
    run, snapshot = loop.run(), loop.snapshot()
    version = register(loop.spec, run, snapshot, loop.decide(run, snapshot), settings=loop.settings)
    golden = json.loads(Path(loop.client.download_artifacts(version.mlflow_run_id, "golden.json", str(loop.folder))).read_text())
    assert len(golden["rows"]) == len(golden["probabilities"]) == loop.spec.release.golden_rows
    loaded = loop.registry.load_model(version.model, version.model_version)
    scores = predict(loaded, features_frame(golden["rows"], feature_types(loop.spec)))
    assert scores.tolist() == pytest.approx(golden["probabilities"], abs=1e-12)


def test_what_was_trained_anew_since_it_was_judged_is_not_registered(loop: Loop) -> None:
    run, snapshot = loop.run(), loop.snapshot()
    decision = replace(loop.decide(run, snapshot), mlflow_run_id="0" * 32)
    with pytest.raises(ReleaseError, match="trained anew"):
        register(loop.spec, run, snapshot, decision, settings=loop.settings)
    assert loop.registry.find_version(loop.spec.model, {"dag_run_id": run.dag_run_id}) is None


def test_one_dag_run_registers_one_challenger(loop: Loop) -> None:
    run, snapshot = loop.run(), loop.snapshot()
    decision = loop.decide(run, snapshot)
    register(loop.spec, run, snapshot, decision, settings=loop.settings)
    with pytest.raises(ReleaseError, match=r"registered .* before"):
        register(loop.spec, run, snapshot, replace(decision, mlflow_run_id="other"), settings=loop.settings)


def test_a_backfill_registers_whatever_the_gates_said_and_moves_no_alias(loop: Loop) -> None:
    snapshot = loop.snapshot()
    champion = loop.release(loop.run("live"), snapshot)
    run = loop.run("backfill__1", mode="backfill")
    decision = loop.decide(run, snapshot)
    assert decision.outcome == "rejected"
    for _ in range(2):
        version = register(loop.spec, run, snapshot, decision, settings=loop.settings)
    assert version.model_version == champion.model_version + 1
    assert loop.registry.read_alias(loop.spec.model, "challenger") == champion.model_version
    found = loop.registry.read_version(loop.spec.model, version.model_version)
    assert found is not None
    assert {"mode": "backfill", "backfill_id": "7", "decision": "rejected"}.items() <= found.tags.items()
    with loop.state() as state:
        row = state.read_release(loop.spec.model, version.model_version)
    assert row is not None
    assert (row.state, row.mode) == ("registered", "backfill")


def test_a_backfill_done_over_keeps_what_it_made_and_replaces_what_it_learned_anew(loop: Loop) -> None:
    run, snapshot = loop.run("backfill__1", mode="backfill"), loop.snapshot()

    def do() -> int:
        return register(loop.spec, run, snapshot, loop.decide(run, snapshot), settings=loop.settings).model_version

    assert (do(), do()) == (1, 1)
    shutil.rmtree(run_folder(loop.settings, run))  # as retention does
    assert (do(), do()) == (2, 2)
    before = loop.registry.read_version(loop.spec.model, 1)
    assert before is not None
    assert before.tags["superseded_by"] == "2"
    with loop.state() as state:
        assert [(each.model_version, each.state) for each in state.read_releases(loop.spec.model)] == [
            (2, "registered"),
            (1, "rejected"),
        ]
    assert [each.status for each in loop.registry.find_runs(loop.spec.model, {"dag_run_id": run.dag_run_id})] == ["FINISHED"] * 5


def test_a_version_that_is_not_ours_is_refused(loop: Loop) -> None:
    with pytest.raises(ReleaseError, match="no version 9"):
        read_registered(loop.spec.model, 9, settings=loop.settings)


def test_the_alias_follows_the_table(loop: Loop) -> None:
    model = loop.spec.model
    assert reconcile_champion_alias(model, settings=loop.settings) is None
    version = loop.release(loop.run(), loop.snapshot())
    assert reconcile_champion_alias(model, settings=loop.settings) == version.model_version
    assert loop.registry.read_alias(model, "champion") == version.model_version
    loop.registry.set_alias(model, "champion", None)
    reconcile_champion_alias(model, settings=loop.settings)
    assert loop.registry.read_alias(model, "champion") == version.model_version


def test_a_stale_alias_is_removed_where_nobody_serves(loop: Loop) -> None:
    run, snapshot = loop.run(), loop.snapshot()
    version = register(loop.spec, run, snapshot, loop.decide(run, snapshot), settings=loop.settings)
    loop.registry.set_alias(version.model, "champion", version.model_version)
    assert reconcile_champion_alias(version.model, settings=loop.settings) is None
    assert loop.registry.read_alias(version.model, "champion") is None


# fitting again on the whole window


REFIT = {"window": "40 days", "holdout": "10 days", "refit": True}


def refit_and_register(loop: Loop, run: Run, snapshot: Snapshot) -> tuple[Decision, Refit, RegisteredVersion]:
    decision = loop.decide(run, snapshot)
    refit = fit_window(loop.spec, run, snapshot, decision, settings=loop.settings)
    assert refit is not None
    return decision, refit, register(loop.spec, run, snapshot, decision, refit=refit, settings=loop.settings)


def test_what_was_fitted_again_serves_and_the_judged_model_is_kept(make_loop: MakeLoop) -> None:
    loop = make_loop(training=REFIT)
    run, snapshot = loop.run(), loop.snapshot()
    decision, refit, version = refit_and_register(loop, run, snapshot)
    assert (refit.is_served, refit.n_rows, refit.training_end) == (True, N_ROWS, AS_OF)
    assert (version.training_end, version.judged_from, version.mlflow_run_id) == (AS_OF, HOLDOUT_START, decision.mlflow_run_id)
    assert read_registered(loop.spec.model, version.model_version, settings=loop.settings) == version

    rows = features_frame(make_rows(), feature_types(loop.spec))
    judged = predict(load_pipeline(read_trained(run, decision.candidate, settings=loop.settings)), rows)
    again = predict(load_pipeline(refit), rows)
    with loop.state() as state:
        release = state.read_release(loop.spec.model, version.model_version)
    assert release is not None
    model = read_version_model(release, registry=loop.registry)
    assert not np.allclose(judged, again, atol=1e-6)
    assert predict(model.load(registry=loop.registry), rows).tolist() == again.tolist()
    assert predict(model.load_judged(registry=loop.registry), rows).tolist() == judged.tolist()
    golden = json.loads(Path(loop.client.download_artifacts(version.mlflow_run_id, "golden.json", str(loop.folder))).read_text())
    served = predict(load_pipeline(refit), features_frame(golden["rows"], feature_types(loop.spec)))
    assert golden["probabilities"] == pytest.approx(served.tolist(), abs=1e-12)
    assert loop.client.get_run(version.mlflow_run_id).data.tags["perennial.refit"].startswith("served: ")


def test_a_champion_that_was_fitted_again_is_met_on_rows_after_its_data(make_loop: MakeLoop) -> None:
    loop = make_loop(training=REFIT)
    run, snapshot = loop.run(), loop.snapshot()
    *_, version = refit_and_register(loop, run, snapshot)
    with loop.state() as state:
        state.move_release(loop.spec.model, version.model_version, state="checked")
        state.promote(loop.spec.model, version.model_version, dag_run_id="r1", reason="test", actor="test")
    decision = loop.decide(loop.run("r2"), snapshot)
    assert failed(decision) == ["unseen_rows"]
    assert gate(decision, "not_older").value == 0.0

    later = make_rows().assign(at=lambda rows: rows["at"] + pd.Timedelta(days=4))
    decision = loop.decide(loop.run("r3"), loop.snapshot(later, holdout_start=HOLDOUT_START + timedelta(days=4)))
    assert gate(decision, "unseen_rows").value == float((later["at"] >= AS_OF).sum())
    assert gate(decision, "not_older").value == 4.0


def test_where_the_guard_objects_the_judged_model_serves(make_loop: MakeLoop) -> None:
    loop = make_loop(training={**REFIT, "refit_guard": {"max_shift": 1e-9}})
    _, refit, version = refit_and_register(loop, loop.run(), loop.snapshot())
    assert (refit.is_served, [check.gate for check in refit.checks if not check.passed]) == (False, ["refit_shift"])
    assert (version.training_end, version.judged_from) == (HOLDOUT_START, None)
    found = loop.registry.read_version(loop.spec.model, version.model_version)
    assert found is not None
    assert found.tags["refit"].startswith("not served: its predictions lie")
    assert "judged_model" not in found.tags


def test_a_fit_that_fails_leaves_the_judged_model_and_a_rejection_nothing_to_fit(loop: Loop) -> None:
    run, snapshot = loop.run(), loop.snapshot()
    decision = loop.decide(run, snapshot)
    record = run_folder(loop.settings, run) / "candidates" / f"{decision.candidate}.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"params": {"leaves": 3}}))
    refit = fit_window(loop.spec, run, snapshot, decision, settings=loop.settings)
    assert refit is not None
    assert (refit.is_served, refit.model_path) == (False, "")
    assert "has no parameter 'leaves'" in refit.reason
    assert fit_window(loop.spec, run, snapshot, replace(decision, outcome="rejected"), settings=loop.settings) is None
