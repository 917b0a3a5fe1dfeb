"""The training of one candidate: folds, search, final fit, and what it showed on rows it had not learned from."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from perennial.adapters.registry import Registry
from perennial.adapters.search import IsHopeless, Params, SearchResult, search
from perennial.config.spec import ModelSpec
from perennial.errors import TrainingError
from perennial.steps.modelling import Rows, feature_types

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from perennial.core.metrics import Scores
    from perennial.core.splits import Fold, Positions

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldEvidence:
    """A fitted pipeline and what it scored on the fold's test rows, by position among all rows."""

    pipeline: "Pipeline"
    test: "Positions"
    scores: "Scores"
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Outcome of a training. `folds` belong to the best trial."""

    pipeline: "Pipeline"
    params: Params
    fold_score: float
    folds: tuple[FoldEvidence, ...]
    search: SearchResult
    search_seconds: float
    fit_seconds: float


class CandidateTraining:
    """One candidate on one set of rows. `train` does all of it."""

    def __init__(
        self, spec: ModelSpec, name: str, *, rows: Rows, n_jobs: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._spec = spec
        self._name = name
        self._candidate = spec.candidates[name]
        self._budget = spec.budget_of(name)
        self._rows = rows
        self._n_jobs = n_jobs
        self._clock = clock
        self._best_score = float("-inf")
        self._best_folds: tuple[FoldEvidence, ...] = ()

    def train(self) -> Trained:
        """Search within the budget, then fit the best parameters on all training rows."""
        from perennial.core.metrics import SIGN

        started = time.perf_counter()
        folds = self._cut_folds()

        def objective(params: Params, is_hopeless: IsHopeless) -> float | None:
            return self._score(params, folds, is_hopeless)

        result = search(objective, self._candidate.search, budget=self._budget, seed=self._spec.seed, clock=self._clock)
        search_seconds = time.perf_counter() - started
        if len(result.trials) < result.n_asked:
            _logger.warning(
                "%s: %d of %d trials, %d s were up", self._name, len(result.trials), result.n_asked, self._budget.seconds
            )
        fold_score = SIGN[self._spec.metric] * result.score
        _logger.info(
            "%s: best of %d trials (%d failed) has %s %.4f over %d folds, after %.1f s: %s",
            self._name, len(result.trials), result.n_failed, self._spec.metric, fold_score, len(folds), search_seconds,
            dict(result.params),
        )  # fmt: skip
        started = time.perf_counter()
        pipeline = self._fit(result.params, self._rows.training)
        fit_seconds = time.perf_counter() - started
        _logger.info("%s: fitted on all %d training rows in %.1f s", self._name, len(self._rows.training), fit_seconds)
        return Trained(
            pipeline=pipeline,
            params={**self._candidate.params, **result.params},
            fold_score=fold_score,
            folds=self._best_folds,
            search=result,
            search_seconds=search_seconds,
            fit_seconds=fit_seconds,
        )

    def _cut_folds(self) -> "tuple[Fold, ...]":
        """Folds over the most recent training rows, as positions among all rows."""
        from perennial.core.splits import Fold, expanding_folds, most_recent

        recent = most_recent(self._rows.times, self._rows.training, n_rows=self._budget.rows)
        folds = expanding_folds(self._rows.times[recent], n_folds=self._budget.folds, embargo=self._spec.label.delay)
        return tuple(Fold(train=recent[fold.train], test=recent[fold.test]) for fold in folds)

    def _score(self, params: Params, folds: "tuple[Fold, ...]", is_hopeless: IsHopeless) -> float | None:
        """Mean score over the folds, more being better; None when the trial is not worth finishing."""
        from perennial.core.metrics import SIGN

        scores: list[float] = []
        evidence = []
        for number, fold in enumerate(folds):
            evidence.append(self._try_fold(params, fold, number=number))
            scores.append(SIGN[self._spec.metric] * evidence[-1].metrics[self._spec.metric])
            if number + 1 < len(folds) and is_hopeless(number, fmean(scores)):
                return None
        if (mean := fmean(scores)) > self._best_score:
            self._best_score, self._best_folds = mean, tuple(evidence)
        return mean

    def _try_fold(self, params: Params, fold: "Fold", *, number: int) -> FoldEvidence:
        from perennial.core.candidates import predict
        from perennial.core.metrics import compute_metrics

        pipeline = self._fit(params, fold.train)
        scores = predict(pipeline, self._rows.inputs.iloc[fold.test])
        metrics = compute_metrics(self._rows.labels[fold.test], scores)
        if self._spec.metric not in metrics:
            raise TrainingError(
                f"{self._spec.metric} is undefined on fold {number + 1}: its labels are all the same", "use fewer folds"
            )
        return FoldEvidence(pipeline=pipeline, test=fold.test, scores=scores, metrics=metrics)

    def _fit(self, params: Params, positions: "Positions") -> "Pipeline":
        from perennial.core.candidates import build_pipeline, fit

        pipeline = build_pipeline(
            self._candidate.algorithm,
            features=feature_types(self._spec),
            params={**self._candidate.params, **params},
            seed=self._spec.seed,
            n_jobs=self._n_jobs,
        )
        return fit(pipeline, self._rows.inputs.iloc[positions], self._rows.labels[positions])


def log_training(registry: Registry, run_id: str, trained: Trained, *, spec: ModelSpec, name: str, rows: Rows) -> None:
    """Record a training in its MLflow run: parameters and metrics in one call, curves and tables as JSON files."""
    import numpy as np

    from perennial.core.curves import compute_curves
    from perennial.core.importances import compute_importances
    from perennial.core.metrics import compute_metrics

    test = np.concatenate([fold.test for fold in trained.folds])
    labels, scores = rows.labels[test], np.concatenate([fold.scores for fold in trained.folds])
    last, trials = trained.folds[-1], describe_trials(trained.search, spec.metric)
    importances = compute_importances(
        last.pipeline, rows.inputs.iloc[last.test], rows.labels[last.test], metric=spec.metric, seed=spec.seed
    )
    registry.log(
        run_id,
        params=_logged_params(spec, name, trained.params),
        metrics=_logged_metrics(trained, compute_metrics(labels, scores)) | {"n_training_rows": len(rows.training)},
        series={f"fold_{metric}": [fold.metrics[metric] for fold in trained.folds] for metric in last.metrics}
        | {"trial_score": [score for trial in trials if (score := trial["score"]) is not None]},
    )
    files = {"curves": compute_curves(labels, scores), "importances": importances, "trials": trials}
    for file, content in files.items():
        registry.log_text(run_id, json.dumps(content, indent=1), f"{file}.json")


def _logged_params(spec: ModelSpec, name: str, params: Params) -> dict[str, object]:
    candidate, budget = spec.candidates[name], spec.budget_of(name)
    space = {parameter: limits.model_dump(mode="json") for parameter, limits in candidate.search.items()}
    return {
        **params,
        "algorithm": candidate.algorithm,
        "search_space": json.dumps(space),
        "budget": budget.model_dump_json(),
        "seed": spec.seed,
    }


def _logged_metrics(trained: Trained, out_of_fold: Mapping[str, float]) -> dict[str, float]:
    return {
        "fold_score": trained.fold_score,
        "n_trials": len(trained.search.trials),
        "n_failed_trials": trained.search.n_failed,
        "search_seconds": trained.search_seconds,
        "fit_seconds": trained.fit_seconds,
        **{f"out_of_fold_{name}": value for name, value in out_of_fold.items()},
    }


def describe_trials(result: SearchResult, metric: str) -> list[dict[str, Any]]:
    """What was tried, in order, with the metric's own value as score; None for a trial given up or failed, which has an error."""
    from perennial.core.metrics import SIGN

    # The search maximizes, so it has seen losses with their sign turned.
    return [
        {
            "params": dict(trial.params),
            "score": None if trial.score is None else SIGN[metric] * trial.score,
            "seconds": trial.seconds,
            **({"error": trial.error} if trial.error else {}),
        }
        for trial in result.trials
    ]
