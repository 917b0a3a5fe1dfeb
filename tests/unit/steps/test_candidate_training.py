import itertools
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from perennial.adapters.search import SearchResult, TrialResult
from perennial.config.spec import Budget, Candidate, Feature, FloatRange, IntRange, ModelSpec
from perennial.contracts import TrainedCandidate
from perennial.core.splits import event_times
from perennial.steps.candidate_training import CandidateTraining, describe_trials
from perennial.steps.evaluate import select_finalists
from perennial.steps.modelling import Rows, feature_types
from support.records.report_records import read_spec


@pytest.mark.parametrize(("metric", "searched", "shown"), [("roc_auc", 0.7, 0.7), ("log_loss", -0.4, 0.4), ("brier", None, None)])
def test_trials_show_the_metric_as_it_is(metric: str, searched: float | None, shown: float | None) -> None:
    result = SearchResult(params={}, score=0.0, trials=(TrialResult(params={"C": 1}, score=searched, seconds=0.5),), n_asked=1)
    assert describe_trials(result, metric) == [{"params": {"C": 1}, "score": shown, "seconds": 0.5}]


def make_spec() -> ModelSpec:
    candidates = {
        "logistic": Candidate(algorithm="logistic_regression", search={"C": FloatRange(low=1e-6, high=1e-4, log=True)}),
        "trees": Candidate(
            algorithm="extra_trees",
            params={"n_estimators": 5},
            search={"min_samples_leaf": IntRange(low=1, high=100, log=True, integer=True)},
        ),
    }
    changes = {"features": {"x": Feature(type="float")}, "budget": Budget(trials=5, folds=2), "candidates": candidates}
    return read_spec().model_copy(update=changes)


def make_rows(spec: ModelSpec, n: int = 600) -> Rows:
    generator = np.random.default_rng(3)
    x = generator.normal(size=n)
    inputs = pd.DataFrame({"x": x})
    start = datetime(2013, 1, 1, tzinfo=UTC)
    times = event_times(pd.Series([start + timedelta(hours=4 * number) for number in range(n)]))
    labels = (generator.random(n) < 1 / (1 + np.exp(-3 * np.abs(x) + 2))).astype("int8")
    assert list(feature_types(spec)) == ["x"]
    training, holdout = np.arange(n - 100), np.arange(n - 100, n)
    return Rows(frame=inputs, inputs=inputs, labels=labels, times=times, training=training, holdout=holdout)


def train_all(spec: ModelSpec, *, seconds_a_look: float) -> list[TrainedCandidate]:
    """Train every candidate by a clock that runs so fast, as it does beside other work."""
    trained = []
    for name, candidate in spec.candidates.items():
        readings = itertools.count()
        training = CandidateTraining(
            spec, name, rows=make_rows(spec), n_jobs=1, clock=lambda readings=readings: seconds_a_look * next(readings)
        ).train()
        trained.append(
            TrainedCandidate(
                name=name,
                algorithm=candidate.algorithm,
                mlflow_run_id=name,
                fold_score=training.fold_score,
                params=training.params,
                n_trials=len(training.search.trials),
                n_trials_asked=training.search.n_asked,
            )
        )
    return trained


def test_the_same_seed_under_two_loads_gives_the_same_challenger() -> None:
    spec = make_spec()
    idle, busy = (train_all(spec, seconds_a_look=each) for each in (0.01, 100.0))
    assert idle == busy
    assert [each.n_trials for each in busy] == [5, 5]
    assert select_finalists(spec, idle) == select_finalists(spec, busy)
