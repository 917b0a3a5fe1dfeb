"""Register a challenger: a version with signature, input example and tags, and the alias `challenger`.

A backfill registers too, whatever its gates said, and moves no alias: its versions are there to be looked at, and the promotion
guard keeps them from callers until a person forces one."""

import json
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from perennial.adapters.registry import ModelVersion, Registry
from perennial.adapters.registry.pipelines import LoggedModel
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Decision, Force, Refit, RegisteredVersion, Run, Snapshot
from perennial.errors import ReleaseError, UnknownVersion
from perennial.steps.modelling import Rows, feature_types, read_rows
from perennial.steps.provenance import run_tags
from perennial.steps.train import load_pipeline, read_trained

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_logger = logging.getLogger(__name__)

GOLDEN_FILE = "golden.json"
_N_EXAMPLES = 3
_PACKAGES = ("scikit-learn", "pandas", "numpy")


def register(
    spec: ModelSpec, run: Run, snapshot: Snapshot, decision: Decision, *, refit: Refit | None = None, settings: Settings
) -> RegisteredVersion:
    """Register the challenger of an accepted decision; of any decision in a backfill.

    Where it was fitted again and may serve so, that model is the version, and the judged one is kept beside it.

    Raises
    ------
    ReleaseError
        When the decision was a rejection, this Dag run registered another challenger before, or what was judged is not what
        was trained last, or not what was fitted again. In a backfill, what was trained anew takes the place of the version
        before, which stays on record.
    UnavailableError
        When the registry or the state database does not answer.

    Notes
    -----
    Idempotent by Dag run: a version that carries its id is taken as it is. Golden rows, with the offline
    predictions that a bento must repeat, are written to the candidate's MLflow run.
    """
    if not is_registered(run, decision):
        raise ReleaseError(f"{spec.model}: the gates rejected {decision.candidate}, so it is not registered")
    registry = Registry(settings.mlflow_tracking_url)
    version = _find_version(run, decision, registry=registry)
    if version is None:
        version = _create_version(spec, run, snapshot, decision, refit, registry=registry, settings=settings)
    registered = _to_registered(version)
    if run.mode == "live":
        registry.set_alias(spec.model, "challenger", registered.model_version)
    force = Force(by=decision.forced_by, reason=decision.forced_reason) if decision.forced_by else None
    with StateStore(settings.state_url) as state:
        superseded = state.write_release(registered, run.dag_run_id, mode=run.mode, force=force)
    for number in superseded:
        registry.tag_version(spec.model, number, {"superseded_by": str(registered.model_version)})
    _say(run, registered, version.tags["serialization"], superseded)
    return registered


def is_registered(run: Run, decision: Decision) -> bool:
    """Whether the challenger of a run becomes a version."""
    return decision.outcome == "accepted" or run.mode == "backfill"


def _find_version(run: Run, decision: Decision, *, registry: Registry) -> ModelVersion | None:
    """The version that this Dag run has made of what was judged; a backfill that learned something else makes another one."""
    version = registry.find_version(run.model, {"dag_run_id": run.dag_run_id})
    if version is None or version.mlflow_run_id == decision.mlflow_run_id:
        return version
    if run.mode == "backfill":
        return None
    raise ReleaseError(
        f"run {run.dag_run_id} registered {run.model} version {version.model_version} before, from another training",
        "trigger a new run instead of clearing this one",
    )


def _say(run: Run, version: RegisteredVersion, serialization: str, superseded: list[int]) -> None:
    what = "the challenger" if run.mode == "live" else f"registered by backfill {run.backfill_id or ''}".rstrip()
    _logger.info("%s version %d is %s (%s)", version.model, version.model_version, what, serialization)
    if superseded:
        _logger.info("it takes the place of %s, from the same interval", ", ".join(f"version {each}" for each in superseded))


def read_registered(model: str, model_version: int, *, settings: Settings) -> RegisteredVersion:
    """One version that `register` made.

    Raises
    ------
    UnknownVersion
        When the registry has no such version, or it was registered by other means.
    """
    version = Registry(settings.mlflow_tracking_url).read_version(model, model_version)
    if version is None or not {"snapshot_id", "training_end"} <= version.tags.keys():
        raise UnknownVersion(f"the model registry has no version {model_version} of {model} that was made by retrain__{model}")
    return _to_registered(version)


def _create_version(
    spec: ModelSpec,
    run: Run,
    snapshot: Snapshot,
    decision: Decision,
    refit: Refit | None,
    *,
    registry: Registry,
    settings: Settings,
) -> ModelVersion:
    trained = read_trained(run, decision.candidate, settings=settings)
    if trained.mlflow_run_id != decision.mlflow_run_id:
        raise ReleaseError(
            f"{decision.candidate} was trained anew (MLflow run {trained.mlflow_run_id}) since it was judged "
            f"({decision.mlflow_run_id})",
            "clear the task `evaluate`, so that what is registered is what was judged",
        )
    if refit is not None and refit.mlflow_run_id != decision.mlflow_run_id:
        raise ReleaseError(f"what was fitted again is not what was judged ({decision.mlflow_run_id})", "clear the task `refit`")
    rows, types = read_rows(spec, snapshot), feature_types(spec)

    def log(pipeline: "Pipeline") -> LoggedModel:
        return registry.log_model(
            trained.mlflow_run_id,
            pipeline,
            features=types,
            example=rows.inputs.iloc[rows.holdout[:_N_EXAMPLES]],
            packages=[*_PACKAGES, *(["lightgbm"] if trained.algorithm == "lightgbm" else [])],
        )

    served, refit_tags = load_pipeline(trained), {}
    if refit is not None and refit.is_served:
        refit_tags = {
            "training_end": refit.training_end.isoformat(),
            "judged_from": snapshot.holdout_start.isoformat(),
            "judged_model": log(served).uri,
        }
        served = load_pipeline(refit)
    registry.log_text(trained.mlflow_run_id, json.dumps(_golden(spec, rows, served)), GOLDEN_FILE)
    logged = log(served)
    tags = {
        # Of the training: commit and environment may be others by now.
        **_read_training_tags(registry, trained.mlflow_run_id),
        **run_tags(run, task="register"),
        "algorithm": trained.algorithm,
        "features": json.dumps({name: {"type": kind, "nullable": nullable} for name, (kind, nullable) in types.items()}),
        "decision": decision.outcome,
        "forced_reason": decision.forced_reason,
        "forced_by": decision.forced_by,
        **({"refit": refit.outcome} if refit else {}),
        **refit_tags,
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
        judged_from=datetime.fromisoformat(version.tags["judged_from"]) if "judged_from" in version.tags else None,
    )
