"""Small models in MLflow and in the state database, registered as `retrain` does it, for tests of what comes after."""

import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from perennial.adapters.registry import Registry
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.contracts import Decision, GateResult, RegisteredVersion, Snapshot
from perennial.core.candidates import build_pipeline, fit, predict
from perennial.core.frames import features_frame

FEATURES = {"carrier": ("category", False), "miles": ("integer", False), "wind": ("float", True)}
ROW = {"carrier": "UA", "miles": 500, "wind": None}
_TRAINING_END = datetime(2013, 3, 18, tzinfo=UTC)


def register_version(settings: Settings, model: str, *, seed: int, champion: int | None = None) -> RegisteredVersion:
    """Train a small model and register it, accepted against `champion`."""
    inputs, labels = _sample(seed)
    pipeline = fit(build_pipeline("lightgbm", features=FEATURES, params={"n_estimators": 5}, seed=seed), inputs, labels)
    rows = [ROW, {"carrier": "DL", "miles": 800, "wind": 7.5}]
    golden = {"rows": rows, "probabilities": predict(pipeline, features_frame(rows, FEATURES)).tolist()}
    registry, key = Registry(settings.mlflow_tracking_url), f"{model}-{seed}"
    run_id = registry.start_run(model, key, tags={"git_commit": "0" * 40})
    registry.log(run_id, metrics={"roc_auc": 0.7})
    registry.log_text(run_id, json.dumps(golden), "golden.json")
    packages = ("scikit-learn", "pandas", "lightgbm")
    logged = registry.log_model(run_id, pipeline, features=FEATURES, example=inputs.head(2), packages=packages)
    types = {name: {"type": kind, "nullable": nullable} for name, (kind, nullable) in FEATURES.items()}
    tags = {"features": json.dumps(types), "snapshot_id": key, "training_end": _TRAINING_END.isoformat()}
    made = registry.create_version(model, logged, run_id=run_id, tags=tags)
    version = RegisteredVersion(
        model=model,
        model_version=made.model_version,
        mlflow_run_id=run_id,
        model_uri=made.model_uri,
        snapshot_id=key,
        training_end=_TRAINING_END,
    )
    _record(settings, version, champion)
    return version


def _sample(seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"carrier": random.choice(["UA", "DL"], 400), "miles": random.integers(100, 900, 400)})
    frame["wind"] = random.normal(10, 3, 400)
    return features_frame(frame, FEATURES), (frame["miles"] + random.normal(0, 200, 400) > 500).to_numpy().astype("int8")


def _record(settings: Settings, version: RegisteredVersion, champion: int | None) -> None:
    key = version.snapshot_id
    snapshot = Snapshot(
        snapshot_id=key,
        model=version.model,
        as_of=datetime(2013, 4, 1, tzinfo=UTC),
        start=datetime(2013, 1, 1, tzinfo=UTC),
        holdout_start=_TRAINING_END,
        n_rows=400,
        digest=key,
        sql_digest="s",
        dvc_revision="r",
        path="",
    )
    decision = Decision(
        model=version.model,
        dag_run_id=key,
        snapshot_id=key,
        outcome="accepted",
        candidate="lightgbm",
        mlflow_run_id=version.mlflow_run_id,
        gates=(GateResult(gate="improvement", passed=True, reason="better"),),
        challenger_metrics={"roc_auc": 0.72},
        champion_version=champion,
        champion_metrics={"roc_auc": 0.7} if champion else {},
    )
    with StateStore(settings.state_url) as state:
        state.write_snapshot(snapshot, ())
        state.write_decision(decision)
        state.write_release(version, key)
