from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from perennial.contracts.monitoring import Finding
from perennial.core.metrics import SIGN
from perennial.core.performance import PerformanceLimits, find_standing, judge_performance
from perennial.core.samples import Scored

LIMITS = PerformanceLimits(drop_ratio=0.05, confidence=0.95, min_labels=200)


def rows(n: int, *, seed: int, flipped: float = 0.0, where: str = "") -> Scored:
    generator = np.random.default_rng(seed)
    scores = generator.beta(1.5, 3, n)
    origin = generator.choice(["EWR", "JFK", "LGA"], n).astype(object)
    labels = (generator.random(n) < scores).astype(np.int8)
    is_flipped = (generator.random(n) < flipped) & (origin == where if where else np.ones(n, bool))
    return Scored(features=pd.DataFrame({"origin": origin}), labels=np.where(is_flipped, 1 - labels, labels), scores=scores)


HOLDOUT = rows(10_000, seed=1)


def judge(
    current: Scored, *, metric: str = "roc_auc", holdout: Scored = HOLDOUT, limits: PerformanceLimits = LIMITS
) -> tuple[Finding, ...]:
    return judge_performance(metric, holdout, current, limits, slice_columns=["origin"], min_slice_rows=500, seed=1)


def lift(current: Scored, by: float, *, seed: int = 9) -> Scored:
    """Every row is likelier to be positive by so much in log-odds: the ranking stays, the probabilities do not."""
    odds = np.log(current.scores / (1 - current.scores)) + by
    labels = (np.random.default_rng(seed).random(len(odds)) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    return replace(current, labels=labels)


def test_the_metric_comes_first_then_the_others_then_the_slices() -> None:
    found = judge(rows(3000, seed=2))
    assert [each.measure for each in found[:5]] == ["roc_auc", "average_precision", "log_loss", "brier", "calibration_error"]
    assert (found[5].measure, [each.subject for each in found]) == (
        "mean_error", [""] * 6 + ["origin=EWR", "origin=JFK", "origin=LGA"],
    )  # fmt: skip
    assert not [each for each in found if each.breached]
    assert {each.aspect for each in found} == {"performance"}


def test_without_floors_the_metric_its_slices_and_the_mean_have_a_threshold() -> None:
    found = judge(rows(3000, seed=2, flipped=0.5))
    assert [each.breached for each in found] == [True, False, False, False, False, True, True, True, True]
    assert [each.threshold is None for each in found] == [False, True, True, True, True, False, False, False, False]
    assert " limit " not in found[1].reason and found[1].reason.endswith("worse")


FLOORS = replace(LIMITS, floors={"calibration_error": 0.1, "log_loss": 0.7, "roc_auc": 0.6})


def test_probabilities_that_no_longer_fit_are_a_fall_whatever_the_ranking() -> None:
    current = lift(rows(3000, seed=2), 0.9)
    found = {each.measure: each for each in judge(current, limits=FLOORS) if not each.subject}
    assert [each.measure for each in found.values() if each.breached] == ["calibration_error", "mean_error"]
    mean = found["mean_error"]
    assert (mean.value or 0) < (mean.high or 0) < (mean.threshold or 0) == -0.1
    assert "labels are positive: off by -1" in mean.reason and mean.reason.endswith("on the holdout, limit 10.0")
    assert "; worse than the gates' floor 0.1000" in found["calibration_error"].reason
    assert found["log_loss"].threshold == 0.7 and find_standing(tuple(found.values())) == "fell"


def test_the_mean_may_be_off_on_either_side_by_what_the_gates_or_the_spec_allow() -> None:
    current = lift(rows(3000, seed=2), -0.5)
    for limits, limit, breached in (
        (LIMITS, 0.2 * HOLDOUT.labels.mean(), True),
        (FLOORS, 0.1, False),
        (replace(LIMITS, floors={"calibration_error": 0.4}), 0.5 * HOLDOUT.labels.mean(), False),
        (replace(FLOORS, mean_error=0.05), 0.05, True),
    ):
        mean = judge(current, limits=limits)[5]
        assert (mean.threshold, mean.breached) == (pytest.approx(limit), breached)


@pytest.mark.parametrize("seed", range(3))
def test_what_few_labels_add_to_a_calibration_error_is_no_fall(seed: int) -> None:
    found = judge(rows(200, seed=40 + seed), limits=replace(LIMITS, floors={"calibration_error": 0.05}))
    error = next(each for each in found if each.measure == "calibration_error")
    assert (error.threshold or 0) > 0.07 and not error.breached


def test_a_floor_over_the_allowed_drop_is_the_limit_of_the_metric() -> None:
    floor = (judge(rows(3000, seed=2))[0].reference or 0) - 0.005
    first = judge(rows(3000, seed=2, flipped=0.05), limits=replace(LIMITS, drop_ratio=0.5, floors={"roc_auc": floor}))[0]
    assert (first.threshold, first.breached) == (floor, True)
    assert not judge(rows(3000, seed=2, flipped=0.05), limits=replace(LIMITS, drop_ratio=0.5, floors={"roc_auc": 0.6}))[
        0
    ].breached


def test_days_that_differ_prove_less() -> None:
    current = lift(rows(400, seed=2), 0.6)
    assert judge(current)[5].breached
    by_day = replace(current, clusters=np.arange(400) % 7)
    lucky = replace(by_day, labels=np.where(by_day.clusters == 0, 1, by_day.labels).astype(np.int8))
    assert not judge(lucky)[5].breached and "which may be chance" in judge(lucky)[5].reason


@pytest.mark.parametrize(
    ("value", "low", "other", "standing"),
    [
        (0.72, 0.70, 0.05, "holds"),
        (0.72, 0.67, 0.05, "unclear"),
        (0.66, 0.60, 0.05, "unclear"),
        (0.72, 0.70, -0.11, "unclear"),
        (None, None, 0.05, "unknown"),
    ],
)
def test_performance_holds_only_where_the_window_can_tell(
    value: float | None, low: float | None, other: float, standing: str
) -> None:
    metric = Finding(aspect="performance", measure="roc_auc", reason="", value=value, low=low, threshold=0.68)
    mean = Finding(aspect="performance", measure="mean_error", reason="", value=other, threshold=0.1 if other > 0 else -0.1)
    assert find_standing([metric, mean]) == standing
    assert find_standing([metric, replace(mean, breached=True)]) == ("unknown" if value is None else "fell")


def test_the_reason_gives_every_figure() -> None:
    (first, *_) = judge(rows(3000, seed=2, flipped=0.2))
    assert (first.breached, first.threshold) == (True, pytest.approx(0.95 * (first.reference or 0)))
    assert first.low is not None and first.high is not None and first.low < (first.value or 0) < first.high
    assert first.reason.startswith(
        f"roc_auc is {first.value:.4f} ({first.low:.4f} to {first.high:.4f} with 95% confidence) on 3000"
    )
    assert first.reason.endswith("worse, limit 5.0%")


@pytest.mark.parametrize("metric", SIGN)
def test_every_metric_can_decide(metric: str) -> None:
    assert not judge(rows(3000, seed=2), metric=metric)[0].breached
    assert judge(rows(3000, seed=2, flipped=0.4), metric=metric)[0].breached


def test_a_fall_that_few_labels_cannot_prove_is_not_breached() -> None:
    (first, *_) = judge(rows(220, seed=12, flipped=0.1))
    assert (first.value or 0) < (first.threshold or 0)
    assert not first.breached
    assert first.reason.endswith("limit 5.0%, which may be chance")


def test_a_sure_fall_that_is_small_is_not_breached() -> None:
    (first, *_) = judge(rows(100_000, seed=3, flipped=0.05), holdout=rows(100_000, seed=4))
    assert (first.high or 1) < (first.reference or 0)
    assert not first.breached
    assert first.reason.endswith("worse, limit 5.0%")


def test_a_model_that_never_erred_on_its_holdout_may_fall() -> None:
    sure = replace(HOLDOUT, scores=0.1 + 0.8 * HOLDOUT.labels)
    current = rows(3000, seed=2)
    erring = replace(current, scores=0.1 + 0.8 * np.where(np.arange(3000) % 5 == 0, 1 - current.labels, current.labels))
    first = judge(erring, holdout=sure)[0]
    assert (first.reference, first.breached) == (1.0, True)


def test_a_holdout_of_few_rows_proves_less() -> None:
    current = rows(3000, seed=2, flipped=0.12)
    assert judge(current)[0].breached
    assert not judge(current, holdout=rows(80, seed=6))[0].breached


def test_a_slice_that_got_worse_is_told() -> None:
    found = judge(rows(6000, seed=2, flipped=0.4, where="JFK"))
    assert [each.subject for each in found if each.breached and each.subject] == ["origin=JFK"]


def test_small_slices_are_not_judged() -> None:
    found = judge(rows(900, seed=2, flipped=0.5))
    assert [each.value for each in found[6:]] == [None] * 3
    assert "labels, and 33" in found[6].reason and found[6].reason.endswith("on the holdout; 500 are needed")


def test_slices_that_the_holdout_lacks_are_left_out() -> None:
    holdout = HOLDOUT.take(np.flatnonzero(HOLDOUT.features["origin"] == "JFK"))
    assert [each.subject for each in judge(rows(3000, seed=2), holdout=holdout)][6:] == ["origin=JFK"]


@pytest.mark.parametrize("n", [0, 199])
def test_too_few_labels_are_not_judged_and_say_so(n: int) -> None:
    (only,) = judge(rows(n, seed=2, flipped=0.5))
    assert (only.value, only.breached) == (None, False)
    assert only.reason == f"roc_auc is not known: {n} labels have come, 200 are needed"


def test_one_class_only_is_undefined() -> None:
    current = rows(3000, seed=2)
    alike = Scored(features=current.features, labels=np.zeros(3000, np.int8), scores=current.scores)
    found = judge(alike)
    assert not [each for each in found if each.value is not None or each.breached]
    assert found[0].reason == "roc_auc is not known: the labels that have come are all the same"
    assert judge(current, holdout=alike)[0].reason == "roc_auc is not known: the labels of the holdout are all the same"


@pytest.mark.parametrize(("n_windows", "at_most"), [(10, 1), pytest.param(50, 2, marks=pytest.mark.soak)])
def test_windows_like_the_holdout_are_hardly_ever_worse(n_windows: int, at_most: int) -> None:
    holdout = rows(4000, seed=5)
    n_breached = sum(judge(rows(500, seed=100 + each), holdout=holdout)[0].breached for each in range(n_windows))
    assert n_breached <= at_most
