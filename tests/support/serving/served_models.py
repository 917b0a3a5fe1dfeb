"""Small models, registered in MLflow as `retrain` does it, and the real steps that lead them to callers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from perennial.adapters.registry import Registry
from perennial.adapters.registry.pipelines import LoggedModel
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_file import load_spec, spec_folder, spec_path
from perennial.config.spec_release import Canary, Shadow
from perennial.contracts import Champion, Decision, GateResult, RegisteredVersion, ServingCheck, Snapshot
from perennial.core.candidates import build_pipeline, fit, predict
from perennial.core.frames import FeatureTypes, features_frame
from perennial.steps import release
from perennial.steps.canary import canary
from perennial.steps.package import build_bento
from perennial.steps.shadow import shadow

FEATURES = {"carrier": ("category", False), "miles": ("integer", False), "wind": ("float", True)}
ROW = {"carrier": "UA", "miles": 500, "wind": None}
GOLDEN_ROWS = [ROW, {"carrier": "DL", "miles": 800, "wind": 7.5}]
TRAINING_END = datetime(2013, 3, 18, tzinfo=UTC)
# What a bento's check says that nothing can be said against.
PASSED = ServingCheck(program="p", port=1, n_rows=2, largest_difference=0.0, ready_seconds=1.0, p99_ms=1.0, memory_mb=1.0)


def small_spec(settings: Settings, model: str, **release_values: object) -> ModelSpec:
    """The example's spec under another name: from the check straight to all callers, unless told otherwise."""
    spec = load_spec(spec_path(settings, "flight_delay"))
    values = {"drain_seconds": 0.2, "shadow": None, "canary": None, **release_values}
    return spec.model_copy(update={"model": model, "release": spec.release.model_copy(update=values)})


def with_specs(settings: Settings, folder: Path, *models: str) -> Settings:
    """Settings of a project that has specs of these models; what is in them does not matter to what is served."""
    there = settings.model_copy(update={"project": folder})
    spec_folder(there).mkdir(parents=True, exist_ok=True)
    for model in models:
        spec_path(there, model).touch()
    return there


def short_shadow(seconds: float = 10.0, **values: object) -> Shadow:
    return Shadow(at_most=timedelta(seconds=seconds), **values)


def short_canary(seconds: float = 1.0, **values: object) -> Canary:
    return Canary(bake=timedelta(seconds=seconds), **values)


def different_rows(n: int, *, seed: int = 0) -> list[dict[str, object]]:
    """Rows as callers send them, none twice and none a golden one."""
    random = np.random.default_rng(seed)
    miles, winds = random.permutation(np.arange(1000, 1000 + n)) - 500, random.normal(10, 3, n).round(3).tolist()
    return [{"carrier": str(random.choice(["UA", "DL"])), "miles": int(m), "wind": w} for m, w in zip(miles, winds, strict=True)]


def register(
    settings: Settings,
    spec: ModelSpec,
    *,
    seed: int,
    data_seed: int | None = None,
    shift: float = 0.0,
    training_end: datetime = TRAINING_END,
) -> RegisteredVersion:
    """Register a small model as `retrain` does.

    Parameters
    ----------
    data_seed
        Of the rows that it is trained on; default: `seed`. Models of the same rows predict alike.
    shift
        Spoils the offline predictions that are kept with it.
    """
    saved = _save_small(settings.mlflow_tracking_url, seed, seed if data_seed is None else data_seed)
    return register_saved(settings, spec, saved, number=seed, shift=shift, training_end=training_end)


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """A model that is saved to MLflow, what it takes, and its predictions for its golden rows."""

    logged: LoggedModel
    features: FeatureTypes
    golden: Sequence[Mapping[str, object]]
    offline: Sequence[float]


def register_saved(
    settings: Settings,
    spec: ModelSpec,
    saved: SavedModel,
    *,
    number: int,
    shift: float = 0.0,
    training_end: datetime = TRAINING_END,
) -> RegisteredVersion:
    """Make a version of a model that is saved; `number` tells its run and its training set from those of other versions."""
    registry, key = Registry(settings.mlflow_tracking_url), f"{spec.model}-{number}"
    run_id = registry.start_run(spec.model, key, tags={"git_commit": "0" * 40})
    registry.log(run_id, metrics={"roc_auc": 0.7})
    golden = {"rows": saved.golden, "probabilities": [each + shift for each in saved.offline]}
    registry.log_text(run_id, json.dumps(golden), "golden.json")
    types = {name: {"type": kind, "nullable": nullable} for name, (kind, nullable) in saved.features.items()}
    tags = {"features": json.dumps(types), "snapshot_id": key, "training_end": training_end.isoformat()}
    made = registry.create_version(spec.model, saved.logged, run_id=run_id, tags=tags)
    start, as_of = datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 4, 1, tzinfo=UTC)
    snapshot = Snapshot(
        snapshot_id=key, model=spec.model, as_of=as_of, start=start, holdout_start=TRAINING_END, n_rows=400,
        digest=key, sql_digest="s", dvc_revision="r", path="",
    )  # fmt: skip
    version = RegisteredVersion(
        model=spec.model, model_version=made.model_version, mlflow_run_id=run_id, model_uri=made.model_uri,
        snapshot_id=key, training_end=training_end,
    )  # fmt: skip
    with StateStore(settings.state_url) as state:
        state.write_snapshot(snapshot, ())
        state.write_release(version, key)
    return version


@cache
def _save_small(url: str, seed: int, data_seed: int) -> SavedModel:
    """Train a model and save it: once in each MLflow, for all versions that are to be made of it."""
    random = np.random.default_rng(data_seed)
    frame = pd.DataFrame({"carrier": random.choice(["UA", "DL"], 400), "miles": random.integers(100, 900, 400)})
    frame["wind"] = random.normal(10, 3, 400)
    is_late = frame["miles"] + random.normal(0, 200, 400) > 500
    return save_model(url, frame, is_late, features=FEATURES, golden=GOLDEN_ROWS, name=f"{seed}-{data_seed}", seed=seed)


def save_model(
    url: str,
    frame: pd.DataFrame,
    labels: pd.Series,
    *,
    features: FeatureTypes,
    golden: Sequence[Mapping[str, object]],
    name: str,
    seed: int,
) -> SavedModel:
    """Train a small model and save it to MLflow."""
    inputs = features_frame(frame, features)
    pipeline = build_pipeline("lightgbm", features=features, params={"n_estimators": 5}, seed=seed)
    fit(pipeline, inputs, labels.to_numpy().astype("int8"))
    registry = Registry(url)
    run_id = registry.start_run("models of the tests", name, tags={})
    packages = ("scikit-learn", "pandas", "lightgbm")
    logged = registry.log_model(run_id, pipeline, features=features, example=inputs.head(2), packages=packages)
    registry.finish_run(run_id)
    offline = predict(pipeline, features_frame(golden, features)).tolist()
    return SavedModel(logged=logged, features=features, golden=golden, offline=offline)


def accept(settings: Settings, version: RegisteredVersion, *, champion: int | None = None) -> None:
    """Record the decision for a version, against a champion or none."""
    decision = Decision(
        model=version.model, dag_run_id=version.snapshot_id, snapshot_id=version.snapshot_id, outcome="accepted",
        candidate="lightgbm", mlflow_run_id=version.mlflow_run_id, challenger_metrics={"roc_auc": 0.72},
        gates=(GateResult(gate="improvement", passed=True, reason="better"),),
        champion_version=champion, champion_metrics={"roc_auc": 0.7} if champion else {},
    )  # fmt: skip
    with StateStore(settings.state_url) as state:
        state.write_decision(decision)


def release_version(settings: Settings, spec: ModelSpec, version: RegisteredVersion, *, dag_run_id: str = "run") -> Champion:
    """Through every stage that the spec has, to the champion."""
    check = package_and_check(settings, spec, version, dag_run_id=dag_run_id)
    shadow(spec, version, dag_run_id=dag_run_id, settings=settings)
    canary(spec, version, dag_run_id=dag_run_id, settings=settings)
    return release.promote(spec, version, check, dag_run_id=dag_run_id, settings=settings)


def package_and_check(
    settings: Settings, spec: ModelSpec, version: RegisteredVersion, *, dag_run_id: str = "run"
) -> ServingCheck:
    bento = build_bento(spec, version, settings=settings)
    return release.start_and_check(spec, bento, dag_run_id=dag_run_id, settings=settings)


def predict_path(spec: ModelSpec) -> str:
    return f"/v1/models/{spec.model}/predict"
