"""Train candidates: search parameters over time-ordered folds, fit on all training rows, record it all in MLflow."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.adapters.registry import Registry
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Refit, Run, Snapshot, TrainedCandidate
from perennial.errors import ConfigurationError, RetryableError, TrainingError
from perennial.steps.candidate_training import CandidateTraining, log_training
from perennial.steps.modelling import feature_types, limited_threads, read_rows, write_json
from perennial.steps.provenance import provenance_tags, run_tags
from perennial.steps.workspace import run_folder

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_logger = logging.getLogger(__name__)
_PARENT_TASK = "retrain"


def open_parent_run(spec: ModelSpec, run: Run, snapshot: Snapshot, *, settings: Settings) -> str:
    """Open the MLflow run of this Dag run, or find the one it opened before; returns its id."""
    registry = Registry(settings.mlflow_tracking_url)
    tags = run_tags(run, task=_PARENT_TASK)
    wanted = {name: tags[name] for name in ("dag_run_id", "task")}
    provenance = provenance_tags(spec, run, snapshot, settings=settings)
    if found := registry.find_runs(spec.model, wanted):
        _logger.info("MLflow run %s of this Dag run is there already", found[0].mlflow_run_id)
        registry.log(found[0].mlflow_run_id, tags=provenance)
        return found[0].mlflow_run_id
    run_id = registry.start_run(spec.model, run.dag_run_id, tags={**tags, **provenance})
    _logger.info("opened MLflow run %s in experiment %s", run_id, spec.model)
    return run_id


def train_candidate(
    spec: ModelSpec, run: Run, snapshot: Snapshot, name: str, *, parent_run_id: str, settings: Settings
) -> TrainedCandidate:
    """Train one candidate under the parent run.

    Returns
    -------
    The trained candidate; one that failed has `error` and a FAILED MLflow run, so that the others go on without it.

    Raises
    ------
    ConfigurationError
        When the spec has no such candidate.
    RetryableError
        When MLflow does not answer.

    Notes
    -----
    Idempotent by Dag run, candidate and everything the training depends on: what was completed before is taken as it is, an
    MLflow run left open by a killed task is closed as KILLED and tagged `superseded`.
    """
    if name not in spec.candidates:
        raise ConfigurationError(f"{spec.model} has no candidate {name!r}", f"candidates: {', '.join(spec.candidates)}")
    registry = Registry(settings.mlflow_tracking_url)
    record = _record(run, name, settings=settings)
    tags = {
        **run_tags(run, task="train_candidate"),
        **provenance_tags(spec, run, snapshot, settings=settings),
        "candidate": name,
        "training_digest": _training_digest(spec, snapshot, name),
    }
    if earlier := _take_earlier(registry, spec, record, tags):
        return earlier
    run_id = registry.start_run(spec.model, name, tags=tags, parent_run_id=parent_run_id)
    try:
        with limited_threads(settings):
            trained = _train(spec, snapshot, name, run_id=run_id, registry=registry, record=record, settings=settings)
    except RetryableError:
        raise  # the retry closes the run
    except Exception as error:
        _logger.exception("candidate %s failed", name)
        registry.finish_run(run_id, status="FAILED", tags={"error": str(error)[:500]})
        algorithm = spec.candidates[name].algorithm
        return TrainedCandidate(name=name, algorithm=algorithm, mlflow_run_id=run_id, error=f"{type(error).__name__}: {error}")
    # As JSON: MLflow's own parameters are text, and what was a number there nobody can tell.
    registry.finish_run(run_id, tags={"params": json.dumps(trained.params)})
    return trained


def read_trained(run: Run, name: str, *, settings: Settings) -> TrainedCandidate:
    """What this run trained as candidate `name`.

    Raises
    ------
    TrainingError
        When nothing was trained, or its record is gone.
    """
    try:
        return _read_record(_record(run, name, settings=settings))
    except OSError as error:
        raise TrainingError(
            f"candidate {name} of run {run.dag_run_id} has no record: {error}", "clear its training task"
        ) from error


def load_pipeline(candidate: TrainedCandidate | Refit) -> "Pipeline":
    """The fitted pipeline that this run saved for a candidate, as it was judged or fitted again.

    Raises
    ------
    TrainingError
        When the file is gone or broken.
    """
    import joblib

    try:
        return joblib.load(candidate.model_path)
    except (OSError, EOFError) as error:
        raise TrainingError(f"cannot read the model {candidate.model_path}: {error}", "clear its training task") from error


def _record(run: Run, name: str, *, settings: Settings) -> Path:
    return run_folder(settings, run) / "candidates" / f"{name}.json"


def _read_record(path: Path) -> TrainedCandidate:
    from pydantic import TypeAdapter

    return TypeAdapter(TrainedCandidate).validate_json(path.read_bytes())


def _training_digest(spec: ModelSpec, snapshot: Snapshot, name: str) -> str:
    parts = {
        "candidate": spec.candidates[name].model_dump(mode="json"),
        "budget": spec.budget_of(name).model_dump(mode="json"),
        "features": feature_types(spec),
        "label": spec.label.model_dump(mode="json"),
        "metric": spec.metric,
        "seed": spec.seed,
        "rows": [snapshot.digest, snapshot.holdout_start.isoformat()],
    }
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _take_earlier(registry: Registry, spec: ModelSpec, record: Path, tags: Mapping[str, str]) -> TrainedCandidate | None:
    """A completed earlier try of this very training; other earlier tries are marked as superseded."""
    earlier = registry.find_runs(spec.model, {name: tags[name] for name in ("dag_run_id", "candidate")})
    trained = _read_record(record) if record.exists() else None
    for found in earlier:
        is_recorded = trained is not None and trained.mlflow_run_id == found.mlflow_run_id and Path(trained.model_path).exists()
        if is_recorded and found.tags.get("training_digest") == tags["training_digest"]:
            _logger.info("candidate %s was trained before, MLflow run %s: taken as it is", tags["candidate"], found.mlflow_run_id)
            if found.status == "RUNNING":  # killed between its record, which comes last, and the end of its run
                registry.finish_run(found.mlflow_run_id)
            return trained
        if "superseded" not in found.tags:
            status = "KILLED" if found.status == "RUNNING" else found.status
            registry.finish_run(found.mlflow_run_id, status=status, tags={"superseded": "true"})
            _logger.info("superseded MLflow run %s of an earlier try (%s)", found.mlflow_run_id, found.status)
    return None


def _train(
    spec: ModelSpec, snapshot: Snapshot, name: str, *, run_id: str, registry: Registry, record: Path, settings: Settings
) -> TrainedCandidate:
    import joblib

    rows = read_rows(spec, snapshot)
    trained = CandidateTraining(spec, name, rows=rows, n_jobs=settings.threads_per_task).train()
    log_training(registry, run_id, trained, spec=spec, name=name, rows=rows)
    record.parent.mkdir(parents=True, exist_ok=True)
    model_path = record.with_name(f"{name}-{run_id}.joblib")
    joblib.dump(trained.pipeline, model_path)
    candidate = TrainedCandidate(
        name=name,
        algorithm=spec.candidates[name].algorithm,
        mlflow_run_id=run_id,
        model_path=str(model_path),
        fold_score=trained.fold_score,
        n_trials=len(trained.search.trials),
        fit_seconds=round(trained.fit_seconds, 3),
        params=trained.params,
        n_trials_asked=trained.search.n_asked,
        budget_seconds=spec.budget_of(name).seconds,
        fold_scores=tuple(fold.metrics[spec.metric] for fold in trained.folds),
    )
    write_json(record, asdict(candidate))
    return candidate
