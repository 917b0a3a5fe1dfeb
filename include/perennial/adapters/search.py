"""Search for parameters within a budget (Optuna)."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from perennial.config.spec import Budget, Choices, FloatRange, IntRange
from perennial.errors import PerennialError, TrainingError

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

Params = Mapping[str, object]
Space = Mapping[str, IntRange | FloatRange | Choices]
IsHopeless = Callable[[int, float], bool]
"""Told the fold's number and the mean score so far, says whether to give the trial up."""
Objective = Callable[[Params, IsHopeless], float | None]
"""Score of a set of parameters, more being better; None when the trial was given up."""

_logger = logging.getLogger(__name__)
_UNPRUNED_TRIALS = 3
_ERROR = "error"
_LONGEST_ERROR = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """One set of parameters tried; a trial given up has no score, nor has one that failed with an `error`."""

    params: Params
    score: float | None
    seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The best parameters, and all trials in order. `n_asked` trials were to be made; there are fewer where time was up."""

    params: Params
    score: float
    trials: tuple[TrialResult, ...]
    n_asked: int

    @property
    def n_failed(self) -> int:
        return sum(bool(trial.error) for trial in self.trials)


def search(
    objective: Objective, space: Space, *, budget: Budget, seed: int, clock: Callable[[], float] = time.monotonic
) -> SearchResult:
    """Look for the parameters with the highest score; no space means one trial without parameters.

    The same seed tries the same parameters in the same order, and all of them, however busy the machine is: the budget's seconds
    only end a search that has gone wrong, after the trial under way. Trials whose mean score after a fold is under the median
    of the earlier ones are given up. One that raises has failed, and the others go on.

    Raises
    ------
    TrainingError
        When no trial came to a score, with the last one's error.
    PerennialError
        What the objective raises of ours: it does not depend on the parameters.

    References
    ----------
    Bergstra et al., "Algorithms for hyper-parameter optimization", NIPS 2011 (tree-structured Parzen estimator).
    """
    import optuna

    # Of a failed trial it would write a traceback; what failed is logged here.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(2, budget.trials // 2)),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_UNPRUNED_TRIALS),
    )

    def run_trial(trial: "Trial") -> float:
        def is_hopeless(fold: int, score: float) -> bool:
            trial.report(score, fold)
            return trial.should_prune()

        params = {name: _suggest(trial, name, limits) for name, limits in space.items()}
        try:
            score = objective(params, is_hopeless)
        except PerennialError:
            raise
        except Exception as error:
            trial.set_user_attr(_ERROR, f"{type(error).__name__}: {error}"[:_LONGEST_ERROR])
            _logger.warning("trial %d failed with %s: %s: %s", trial.number + 1, params, type(error).__name__, error)
            raise _TrialFailed from error
        if score is None:
            raise optuna.TrialPruned
        return score

    n_asked, started = budget.trials if space else 1, clock()

    def stop_late(study: "Study", _trial: object) -> None:
        if clock() - started >= budget.seconds:
            study.stop()

    study.optimize(run_trial, n_trials=n_asked, callbacks=[stop_late], catch=(_TrialFailed,))
    return _result(study, n_asked)


class _TrialFailed(Exception):
    """One set of parameters does not work."""


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
            error=_describe_failure(trial) if trial.state == TrialState.FAIL else "",
        )
        for trial in study.trials
    )
    if all(trial.score is None for trial in trials):
        raise TrainingError(f"none of {len(trials)} trials came to a score; the last one: {trials[-1].error or 'given up'}")
    return SearchResult(params=study.best_params, score=study.best_value, trials=trials, n_asked=n_asked)


def _describe_failure(trial: "FrozenTrial") -> str:
    # Optuna fails a trial by itself for one reason only.
    return str(trial.user_attrs.get(_ERROR, "its score is not a number"))
