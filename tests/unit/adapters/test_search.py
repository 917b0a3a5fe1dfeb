import itertools
from collections.abc import Callable
from math import nan

import pytest

from perennial.adapters.search import IsHopeless, Params, search
from perennial.config.spec import Budget, Choices, FloatRange, IntRange
from perennial.errors import TrainingError

SPACE = {
    "x": FloatRange(low=-1.0, high=1.0),
    "n": IntRange(low=1, high=9, integer=True),
    "kind": Choices(choices=["a", "b"]),
}


def score(params: Params, is_hopeless: IsHopeless) -> float:
    x = params["x"]
    assert isinstance(x, float)
    return -(x**2)


def test_the_best_trial_wins_and_all_are_told() -> None:
    result = search(score, SPACE, budget=Budget(trials=10, seconds=60), seed=1)
    assert len(result.trials) == 10
    assert result.score == max(trial.score for trial in result.trials if trial.score is not None)
    assert result.params == next(trial.params for trial in result.trials if trial.score == result.score)


def test_parameters_stay_within_their_limits() -> None:
    result = search(score, SPACE, budget=Budget(trials=10, seconds=60), seed=1)
    for trial in result.trials:
        assert -1 <= trial.params["x"] <= 1
        assert trial.params["n"] in range(1, 10) and isinstance(trial.params["n"], int)
        assert trial.params["kind"] in ("a", "b")


def test_the_seed_decides() -> None:
    tried = [[trial.params for trial in search(score, SPACE, budget=Budget(trials=6), seed=seed).trials] for seed in (1, 1, 2)]
    assert tried[0] == tried[1] != tried[2]


def test_no_space_means_one_trial() -> None:
    def constant(params: Params, is_hopeless: IsHopeless) -> float:
        return 0.5

    result = search(constant, {}, budget=Budget(trials=10), seed=1)
    assert (result.params, result.score, len(result.trials)) == ({}, 0.5, 1)


def slow_clock(seconds: float) -> Callable[[], float]:
    """A clock by which so many seconds pass each time somebody looks."""
    readings = itertools.count()
    return lambda: seconds * next(readings)


def test_a_busy_machine_makes_the_same_trials() -> None:
    idle, busy = (search(score, SPACE, budget=Budget(trials=6), seed=1, clock=slow_clock(each)) for each in (0.01, 60.0))
    assert [(each.params, each.score) for each in idle.trials] == [(each.params, each.score) for each in busy.trials]
    assert (idle.params, idle.n_asked) == (busy.params, len(busy.trials))


def test_the_seconds_end_a_search_after_the_trial_under_way_and_what_was_asked_for_is_known() -> None:
    result = search(score, SPACE, budget=Budget(trials=6, seconds=20), seed=1, clock=slow_clock(5.0))
    assert (len(result.trials), result.n_asked) == (4, 6)
    assert len(search(score, SPACE, budget=Budget(trials=6, seconds=20), seed=1, clock=slow_clock(900.0)).trials) == 1


def test_a_hopeless_trial_is_given_up_and_has_no_score() -> None:
    trials = iter(range(100))

    def falling(params: Params, is_hopeless: IsHopeless) -> float | None:
        value = -float(next(trials))
        return None if is_hopeless(0, value) else value

    result = search(falling, SPACE, budget=Budget(trials=6), seed=1)
    assert [trial.score for trial in result.trials] == [0.0, -1.0, -2.0, None, None, None]
    assert result.score == 0.0


def test_a_failed_trial_is_a_failed_trial(caplog: pytest.LogCaptureFixture) -> None:
    def picky(params: Params, is_hopeless: IsHopeless) -> float:
        if params["kind"] == "b":
            raise ValueError("b needs bagging")
        return nan if params["n"] == 1 else score(params, is_hopeless)

    result = search(picky, SPACE, budget=Budget(trials=12), seed=1)
    failed = [trial for trial in result.trials if trial.error]
    assert (len(result.trials), result.n_failed) == (12, len(failed))
    assert 0 < len(failed) < 12
    errors = {"ValueError: b needs bagging" if trial.params["kind"] == "b" else "its score is not a number" for trial in failed}
    assert {trial.error for trial in failed} == errors
    assert {trial.score for trial in failed} == {None}
    assert (result.params["kind"], result.score) == ("a", max(each.score for each in result.trials if each.score is not None))
    assert "ValueError: b needs bagging" in caplog.text


def test_where_all_trials_fail_the_fault_says_so() -> None:
    def broken(params: Params, is_hopeless: IsHopeless) -> float:
        raise ZeroDivisionError("no rows")

    with pytest.raises(TrainingError, match="none of 3 trials came to a score; the last one: ZeroDivisionError: no rows"):
        search(broken, SPACE, budget=Budget(trials=3), seed=1)


def test_what_no_parameters_change_ends_the_search() -> None:
    def undefined(params: Params, is_hopeless: IsHopeless) -> float:
        raise TrainingError("roc_auc is undefined on fold 1")

    with pytest.raises(TrainingError, match="fold 1"):
        search(undefined, SPACE, budget=Budget(trials=3), seed=1)
