"""Search for parameters within a budget (Optuna)."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from perennial.config.spec import Budget, Choices, FloatRange, IntRange

if TYPE_CHECKING:
    from optuna import Study, Trial

Params = Mapping[str, object]
Space = Mapping[str, IntRange | FloatRange | Choices]
IsHopeless = Callable[[int, float], bool]
"""Told the fold's number and the mean score so far, says whether to give the trial up."""
Objective = Callable[[Params, IsHopeless], float | None]
"""Score of a set of parameters, more being better; None when the trial was given up."""

_UNPRUNED_TRIALS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """One set of parameters tried; a trial given up has no score."""

    params: Params
    score: float | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The best parameters, and all trials in order. `n_asked` trials were to be made; there are fewer where time was up."""

    params: Params
    score: float
    trials: tuple[TrialResult, ...]
    n_asked: int


def search(
    objective: Objective, space: Space, *, budget: Budget, seed: int, clock: Callable[[], float] = time.monotonic
) -> SearchResult:
    """Look for the parameters with the highest score; no space means one trial without parameters.

    The same seed tries the same parameters in the same order, and all of them, however busy the machine is: the budget's seconds
    only end a search that has gone wrong, after the trial under way. Trials whose mean score after a fold is under the median
    of the earlier ones are given up.

    References
    ----------
    Bergstra et al., "Algorithms for hyper-parameter optimization", NIPS 2011 (tree-structured Parzen estimator).
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(2, budget.trials // 2)),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_UNPRUNED_TRIALS),
    )

    def run_trial(trial: "Trial") -> float:
        def is_hopeless(fold: int, score: float) -> bool:
            trial.report(score, fold)
            return trial.should_prune()

        score = objective({name: _suggest(trial, name, limits) for name, limits in space.items()}, is_hopeless)
        if score is None:
            raise optuna.TrialPruned
        return score

    n_asked, started = budget.trials if space else 1, clock()

    def stop_late(study: "Study", _trial: object) -> None:
        if clock() - started >= budget.seconds:
            study.stop()

    study.optimize(run_trial, n_trials=n_asked, callbacks=[stop_late])
    return _result(study, n_asked)


def _suggest(trial: "Trial", name: str, limits: IntRange | FloatRange | Choices) -> object:
    match limits:
        case IntRange():
            return trial.suggest_int(name, limits.low, limits.high, log=limits.log)
        case FloatRange():
            return trial.suggest_float(name, limits.low, limits.high, log=limits.log)
        case Choices():
            return trial.suggest_categorical(name, cast(Sequence[str], limits.choices))


def _result(study: "Study", n_asked: int) -> SearchResult:
    from optuna.trial import TrialState

    trials = tuple(
        TrialResult(
            params=trial.params,
            score=trial.value if trial.state == TrialState.COMPLETE else None,
            seconds=round(trial.duration.total_seconds(), 3) if trial.duration else 0.0,
        )
        for trial in study.trials
    )
    return SearchResult(params=study.best_params, score=study.best_value, trials=trials, n_asked=n_asked)
