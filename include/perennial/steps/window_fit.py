"""Fit the accepted candidate again, on the whole window: what it was judged on is no longer held back from what serves."""

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.adapters.registry import Registry
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Decision, GateResult, Refit, Run, Snapshot, TrainedCandidate
from perennial.steps.modelling import Rows, feature_types, limited_threads, read_rows
from perennial.steps.train import load_pipeline, read_trained
from perennial.steps.workspace import run_folder

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_logger = logging.getLogger(__name__)


def fit_window(spec: ModelSpec, run: Run, snapshot: Snapshot, decision: Decision, *, settings: Settings) -> Refit | None:
    """Fit the same pipeline with the same parameters on all rows of the snapshot, and compare it with the judged model.

    Returns
    -------
    The fit, and whether it is served: where it fails, or says something else than the judged model about the holdout, that one
    is. None for a candidate that the gates rejected.

    Raises
    ------
    TrainingError
        When the judged model or the snapshot is gone.
    UnavailableError
        When MLflow does not answer.

    Notes
    -----
    Idempotent by Dag run. All rows of a snapshot have mature labels, so that its `as_of` is the end of what is learned. It is
    recorded in the judged training's MLflow run: metrics `refit_*` and the tag `refit`.
    """
    if decision.outcome != "accepted":
        _logger.info("%s was rejected, so there is nothing to fit again", decision.candidate)
        return None
    trained = read_trained(run, decision.candidate, settings=settings)
    path = run_folder(settings, run) / "candidates" / f"{trained.name}-{trained.mlflow_run_id}-window.joblib"
    started = time.perf_counter()
    with limited_threads(settings):
        rows, judged = read_rows(spec, snapshot), load_pipeline(trained)
        pipeline, checks = fit_again(spec, trained, rows, judged, n_jobs=settings.threads_per_task)
    _save(pipeline, path)
    refit = Refit(
        candidate=trained.name,
        mlflow_run_id=trained.mlflow_run_id,
        model_path=str(path) if path.exists() else "",
        n_rows=len(rows.labels),
        fit_seconds=round(time.perf_counter() - started, 3),
        training_end=snapshot.as_of,
        checks=checks,
    )
    _record(refit, settings=settings)
    return refit


def fit_again(
    spec: ModelSpec, trained: TrainedCandidate, rows: Rows, judged: "Pipeline", *, n_jobs: int
) -> "tuple[Pipeline | None, tuple[GateResult, ...]]":
    """The candidate's pipeline fitted on all rows, None where that fails, and what the guard says of it beside the judged one."""
    from perennial.core.candidates import build_pipeline, fit, predict
    from perennial.core.refit_guard import compare_fits

    try:
        pipeline = build_pipeline(
            trained.algorithm, features=feature_types(spec), params=trained.params, seed=spec.seed, n_jobs=n_jobs
        )
        fit(pipeline, rows.inputs, rows.labels)
        newest = rows.inputs.iloc[rows.holdout]
        scores = predict(judged, newest), predict(pipeline, newest)
    except Exception as error:  # whatever it is, the judged model is there to serve
        _logger.exception("%s could not be fitted again", trained.name)
        reason = f"it could not be fitted: {type(error).__name__}: {error}"
        return None, (GateResult(gate="refit", passed=False, reason=reason),)
    guard = spec.training.refit_guard
    return pipeline, compare_fits(*scores, max_shift=guard.max_shift, min_agreement=guard.min_agreement)


def _save(pipeline: "Pipeline | None", path: Path) -> None:
    import joblib

    path.unlink(missing_ok=True)
    if pipeline is not None:
        joblib.dump(pipeline, path)


def _record(refit: Refit, *, settings: Settings) -> None:
    values = {check.gate: check.value for check in refit.checks if check.value is not None}
    Registry(settings.mlflow_tracking_url).log(
        refit.mlflow_run_id,
        metrics={"refit_seconds": refit.fit_seconds, "n_refit_rows": float(refit.n_rows), **values},
        tags={"refit": refit.outcome},
    )
    if refit.is_served:
        _logger.info("%s, fitted again on all %d rows, is to serve: %s", refit.candidate, refit.n_rows, refit.reason)
    else:
        _logger.warning("%s as it was judged is to serve, not as it was fitted again: %s", refit.candidate, refit.reason)
