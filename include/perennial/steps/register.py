"""Register an accepted challenger: a version with signature, input example and tags, and the alias `challenger`."""

import json
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from perennial.adapters.registry import ModelVersion, Registry
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Decision, RegisteredVersion, Run, Snapshot
from perennial.errors import ReleaseError
from perennial.steps.modelling import Rows, feature_types, read_rows
from perennial.steps.provenance import run_tags
from perennial.steps.train import load_pipeline, read_trained

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_logger = logging.getLogger(__name__)

GOLDEN_FILE = "golden.json"
_N_EXAMPLES = 3
_PACKAGES = ("scikit-learn", "pandas", "numpy")


def register(spec: ModelSpec, run: Run, snapshot: Snapshot, decision: Decision, *, settings: Settings) -> RegisteredVersion:
    """Register the challenger of an accepted decision.

    Raises
    ------
    ReleaseError
        When the decision was a rejection, this Dag run registered another challenger before, or what was judged is not what
        was trained last.
    UnavailableError
        When the registry or the state database does not answer.

    Notes
    -----
    Idempotent by Dag run: a version that carries its id is taken as it is. Golden rows, with the offline
    predictions that a bento must repeat, are written to the candidate's MLflow run.
    """
    if decision.outcome != "accepted":
        raise ReleaseError(f"{spec.model}: the gates rejected {decision.candidate}, so it is not registered")
    registry = Registry(settings.mlflow_tracking_url)
    version = registry.find_version(spec.model, {"dag_run_id": run.dag_run_id})
    if version is None:
        version = _create_version(spec, run, snapshot, decision, registry=registry, settings=settings)
    elif version.mlflow_run_id != decision.mlflow_run_id:
        raise ReleaseError(
            f"run {run.dag_run_id} registered {spec.model} version {version.model_version} before, from another training",
            "trigger a new run instead of clearing this one",
        )
    registered = _to_registered(version)
    registry.set_alias(spec.model, "challenger", registered.model_version)
    with StateStore(settings.state_url) as state:
        state.write_release(registered, run.dag_run_id)
    _logger.info("%s version %d is the challenger (%s)", spec.model, registered.model_version, version.tags["serialization"])
    return registered


def read_registered(model: str, model_version: int, *, settings: Settings) -> RegisteredVersion:
    """One version that `register` made.

    Raises
    ------
    ReleaseError
        When the registry has no such version, or it was registered by other means.
    """
    version = Registry(settings.mlflow_tracking_url).read_version(model, model_version)
    if version is None or not {"snapshot_id", "training_end"} <= version.tags.keys():
        raise ReleaseError(f"the model registry has no version {model_version} of {model} that was made by retrain__{model}")
    return _to_registered(version)


def _create_version(
    spec: ModelSpec, run: Run, snapshot: Snapshot, decision: Decision, *, registry: Registry, settings: Settings
) -> ModelVersion:
    trained = read_trained(run, decision.candidate, settings=settings)
    if trained.mlflow_run_id != decision.mlflow_run_id:
        raise ReleaseError(
            f"{decision.candidate} was trained anew (MLflow run {trained.mlflow_run_id}) since it was judged "
            f"({decision.mlflow_run_id})",
            "clear the task `evaluate`, so that what is registered is what was judged",
        )
    rows, types, pipeline = read_rows(spec, snapshot), feature_types(spec), load_pipeline(trained)
    registry.log_text(trained.mlflow_run_id, json.dumps(_golden(spec, rows, pipeline)), GOLDEN_FILE)
    logged = registry.log_model(
        trained.mlflow_run_id,
        pipeline,
        features=types,
        example=rows.inputs.iloc[rows.holdout[:_N_EXAMPLES]],
        packages=[*_PACKAGES, *(["lightgbm"] if trained.algorithm == "lightgbm" else [])],
    )
    tags = {
        # Of the training: commit and environment may be others by now.
        **_read_training_tags(registry, trained.mlflow_run_id),
        **run_tags(run, task="register"),
        "algorithm": trained.algorithm,
        "features": json.dumps({name: {"type": kind, "nullable": nullable} for name, (kind, nullable) in types.items()}),
        "forced_reason": decision.forced_reason,
    }
    return registry.create_version(spec.model, logged, run_id=trained.mlflow_run_id, tags=tags)


def _read_training_tags(registry: Registry, mlflow_run_id: str) -> Mapping[str, str]:
    if (training := registry.read_run(mlflow_run_id)) is None:
        raise ReleaseError(f"MLflow has no run {mlflow_run_id}, which trained the challenger", "trigger a new run")
    return training.tags


def _golden(spec: ModelSpec, rows: Rows, pipeline: "Pipeline") -> dict[str, object]:
    """Rows from all over the holdout, as a caller would send them, and what the model says offline."""
    import numpy as np

    from perennial.core.candidates import predict
    from perennial.core.frames import to_rows

    n_rows = min(spec.release.golden_rows, len(rows.holdout))
    chosen = rows.inputs.iloc[rows.holdout[np.linspace(0, len(rows.holdout) - 1, n_rows).astype(int)]]
    return {"rows": to_rows(chosen, feature_types(spec)), "probabilities": predict(pipeline, chosen).tolist()}


def _to_registered(version: ModelVersion) -> RegisteredVersion:
    return RegisteredVersion(
        model=version.model,
        model_version=version.model_version,
        mlflow_run_id=version.mlflow_run_id,
        model_uri=version.model_uri,
        snapshot_id=version.tags["snapshot_id"],
        training_end=datetime.fromisoformat(version.tags["training_end"]),
    )
