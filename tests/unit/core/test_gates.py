from datetime import UTC, datetime

import pytest

from perennial.contracts import TrainedCandidate
from perennial.core.bootstrap import Improvement
from perennial.core.gates import (
    age_gate,
    comparable_gate,
    floor_gates,
    improvement_gate,
    latency_gate,
    slice_gate,
    trials_gate,
    unseen_gate,
)
from perennial.core.slices import Slice


@pytest.mark.parametrize(
    ("metric", "value", "floor", "passed"),
    [
        ("roc_auc", 0.6, 0.6, True),
        ("roc_auc", 0.59, 0.6, False),
        ("calibration_error", 0.1, 0.1, True),
        ("calibration_error", 0.11, 0.1, False),
    ],
)
def test_floors_count_the_right_way_for_each_metric(metric: str, value: float, floor: float, passed: bool) -> None:
    (gate,) = floor_gates({metric: value}, {metric: floor})
    assert (gate.gate, gate.passed, gate.value, gate.threshold) == (f"floor_{metric}", passed, value, floor)


def test_floor_reasons_are_sentences() -> None:
    gates = floor_gates({"roc_auc": 0.5, "log_loss": 0.4}, {"roc_auc": 0.6, "log_loss": 0.5})
    assert [gate.reason for gate in gates] == ["roc_auc 0.5000 is not at least 0.6000", "log_loss 0.4000 is at most 0.5000"]


def test_an_undefined_metric_fails_its_floor() -> None:
    (gate,) = floor_gates({}, {"roc_auc": 0.6})
    assert (gate.passed, gate.value) == (False, None)
    assert "undefined" in gate.reason


def gain(lower: float, estimate: float, upper: float) -> Improvement:
    return Improvement(estimate=estimate, lower=lower, upper=upper, n_resamples=500)


@pytest.mark.parametrize(
    ("improvement", "at_least", "passed", "said"),
    [
        (
            gain(0.01, 0.02, 0.03),
            0.0,
            True,
            "better than that of champion v1 by 0.0200; with 95% confidence it gains at least 0.0100",
        ),
        (gain(0.0, 0.01, 0.02), 0.0, True, "gains at least 0.0000, and a gain of at least 0.0000 is asked for"),
        (gain(-0.01, 0.02, 0.05), 0.0, False, "loses at most 0.0100, and a gain of at least 0.0000 is asked for"),
        (
            gain(-0.03, -0.02, 0.01),
            0.0,
            False,
            "worse than that of champion v1 by 0.0200; with 95% confidence it loses at most 0.0300",
        ),
        (gain(0.01, 0.02, 0.03), 0.015, False, "gains at least 0.0100, and a gain of at least 0.0150 is asked for"),
        (gain(0.0, 0.0, 0.0), 0.0, False, "the two cannot be told apart, and a gain of more than 0.0000 is asked for"),
        (gain(0.0, 0.0, 0.0), -0.01, True, "gains at least 0.0000, and a loss of at most 0.0100 is asked for"),
    ],
    ids=["clear", "just", "unsure", "worse", "too little", "equal", "equal is enough"],
)
def test_improvement(improvement: Improvement, at_least: float, passed: bool, said: str) -> None:
    gate = improvement_gate(improvement, metric="roc_auc", reference="champion v1", at_least=at_least, confidence=0.95)
    assert (gate.passed, gate.value, gate.threshold) == (passed, improvement.lower, at_least)
    assert said in gate.reason


def test_an_undefined_improvement_fails() -> None:
    gate = improvement_gate(None, metric="roc_auc", reference="champion v1", at_least=0.0, confidence=0.95)
    assert (gate.passed, gate.value) == (False, None)


def group(name: str, drop: float | None, *, is_judged: bool = True) -> Slice:
    return Slice(name=name, n_rows=900, challenger=0.7, reference=0.7, drop=drop, is_judged=is_judged)


def test_a_slice_that_is_worse_by_more_than_the_limit_fails() -> None:
    slices = (group("origin=JFK", 0.06), group("origin=LGA", -0.1), group("origin=EWR", 0.05))
    gate = slice_gate(slices, metric="roc_auc", reference="champion v1", max_drop=0.05)
    assert (gate.passed, gate.value) == (False, 0.06)
    assert gate.reason == "roc_auc is worse than that of champion v1 by more than 0.0500 for origin=JFK (0.0600)"


@pytest.mark.parametrize(
    ("drops", "said"),
    [((0.01, 0.04), "the largest drop is 0.0400 (carrier=1)"), ((-0.3, -0.2), "the least gain is 0.2000 (carrier=1)")],
)
def test_slices_that_pass_say_how_close_it_was(drops: tuple[float, float], said: str) -> None:
    slices = [group(f"carrier={number}", drop) for number, drop in enumerate(drops)]
    gate = slice_gate(slices, metric="roc_auc", reference="champion v1", max_drop=0.05)
    assert (gate.passed, gate.reason) == (True, f"none of 2 slices is worse than champion v1 by more than 0.0500; {said}")


def test_a_slice_that_cannot_be_judged_is_not_held_against_the_challenger() -> None:
    slices = (group("carrier=HA", 0.5, is_judged=False), group("carrier=UA", 0.01))
    gate = slice_gate(slices, metric="roc_auc", reference="champion v1", max_drop=0.05)
    assert (gate.passed, gate.value) == (True, 0.01)


@pytest.mark.parametrize("slices", [(), (group("carrier=HA", 0.5, is_judged=False),), (group("carrier=HA", None),)])
def test_nothing_to_judge_passes_and_says_so(slices: tuple[Slice, ...]) -> None:
    gate = slice_gate(slices, metric="roc_auc", reference="champion v1", max_drop=0.05)
    assert (gate.passed, gate.value) == (True, None)
    assert "no slice" in gate.reason


@pytest.mark.parametrize(("p99", "result"), [(50.0, "pass"), (50.1, "warn"), (float("nan"), "warn")])
def test_latency_warns_and_rejects_nobody(p99: float, result: str) -> None:
    gate = latency_gate(p99, at_most=50)
    assert (gate.passed, gate.result) == (True, result)
    assert ("release.p99_ms" in gate.reason) is (result == "warn")


@pytest.mark.parametrize(("day", "passed", "days"), [(17, False, -1), (18, True, 0), (19, True, 1)])
def test_a_challenger_must_not_be_older(day: int, passed: bool, days: int) -> None:
    gate = age_gate(datetime(2013, 3, day, tzinfo=UTC), datetime(2013, 3, 18, tzinfo=UTC), champion="champion v1")
    assert (gate.gate, gate.passed, gate.value) == ("not_older", passed, days)


@pytest.mark.parametrize(("n_unseen", "passed"), [(0, False), (1, True)])
def test_there_must_be_rows_that_neither_saw(n_unseen: int, passed: bool) -> None:
    gate = unseen_gate(n_unseen, 10, champion="champion v1")
    assert (gate.passed, gate.value) == (passed, n_unseen)


def test_a_champion_that_cannot_be_scored_fails_the_challenger() -> None:
    gate = comparable_gate("feature 'plane_age' is absent from the rows", champion="champion v1")
    assert not gate.passed
    assert gate.reason == "champion v1 cannot be scored on these rows: feature 'plane_age' is absent from the rows"


def test_a_search_that_time_cut_short_is_told_and_rejects_nobody() -> None:
    def made(name: str, n: int, **changes: object) -> TrainedCandidate:
        values = {"algorithm": "prior", "mlflow_run_id": "", "n_trials": n, "n_trials_asked": 6, "budget_seconds": 20.0}
        return TrainedCandidate(name=name, **(values | changes))  # type: ignore[arg-type]

    # What is not recorded, as by an earlier version, and what failed is not cut short.
    assert trials_gate([made("a", 6), made("b", 3, n_trials_asked=0), made("c", 0, error="broken")]) == ()
    (gate,) = trials_gate([made("a", 6), made("b", 4), made("c", 1)])
    assert (gate.result, gate.value, gate.threshold) == ("warn", 5.0, 12.0)
    assert gate.reason.startswith("b made 4 of 6 trials, 20 s were up and c made 1 of 6 trials, 20 s were up; ")
