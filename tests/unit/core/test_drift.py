from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from perennial.contracts.monitoring import Finding
from perennial.core.drift import DriftLimits, Past, judge_drift, judge_target, normalise
from perennial.core.samples import Sample
from perennial.core.verdicts import decides

LIMITS = DriftLimits(psi=0.1, importance_ratio=0.2, unseen_ratio=0.05, significance=0.01)
IMPORTANCES = {"distance": 0.06, "carrier": 0.03, "wind": 0.01, "weekday": -0.01}


def sample(n: int = 2000, *, seed: int = 0, **changed: np.ndarray) -> Sample:
    generator = np.random.default_rng(seed)
    columns = {
        "weekday": generator.integers(1, 8, n),
        "wind": generator.gamma(2, 5, n),
        "carrier": generator.choice(["UA", "AA", "DL"], n).astype(object),
        "distance": generator.normal(1000, 300, n),
    } | {name: values for name, values in changed.items() if name != "scores"}
    frame = pd.DataFrame({name: pd.Series(values, dtype=values.dtype) for name, values in columns.items()})
    return Sample(features=frame, scores=changed.get("scores", generator.beta(2, 5, n)))


REFERENCE = sample(seed=1)


def judge(
    current: Sample,
    *,
    reference: Sample = REFERENCE,
    limits: DriftLimits = LIMITS,
    importances: dict[str, float] = IMPORTANCES,
) -> dict[tuple[str, str], Finding]:
    found = judge_drift(reference, current, limits, importances=importances)
    return {(each.measure, each.subject): each for each in found}


def test_nothing_is_breached_where_nothing_changed() -> None:
    found = judge(sample(seed=2))
    assert not [each for each in found.values() if each.breached or each.blocks]
    assert found["importance", ""].reason == "0 of 4 features drifted, with 0.0% of the importance, limit 20.0%"
    assert list(found) == [
        ("importance", ""), ("psi", ""), ("psi", "distance"), ("psi", "carrier"), ("psi", "wind"), ("psi", "weekday"),
        ("unseen", "carrier"),
    ]  # fmt: skip


def test_a_feature_that_matters_makes_the_window_drift() -> None:
    found = judge(sample(seed=2, distance=np.random.default_rng(3).normal(1200, 300, 2000)))
    feature, whole = found["psi", "distance"], found["importance", ""]
    assert feature.breached and feature.importance == pytest.approx(0.6)
    assert feature.reason.startswith("distance has drifted: PSI 0.5")
    assert (whole.breached, whole.value, whole.threshold) == (True, pytest.approx(0.6), 0.2)
    assert whole.reason == "1 of 4 features drifted (distance), with 60.0% of the importance, limit 20.0%"


def test_features_that_hardly_matter_are_named_and_no_more() -> None:
    found = judge(sample(seed=2, wind=np.full(2000, 50.0), weekday=np.full(2000, 9)))
    assert [each.subject for each in found.values() if each.breached] == ["wind", "weekday"]
    assert found["importance", ""].value == pytest.approx(0.1)


def test_the_share_of_the_importance_may_be_just_the_limit() -> None:
    limits = DriftLimits(psi=0.1, importance_ratio=0.3, unseen_ratio=0.05, significance=0.01)
    current = sample(seed=2, carrier=np.array(["UA"] * 2000, dtype=object))
    assert judge_drift(REFERENCE, current, limits, importances=IMPORTANCES)[0].breached


def test_predictions_that_moved_are_drift_by_themselves() -> None:
    found = judge(sample(seed=2, scores=np.random.default_rng(3).beta(4, 5, 2000)))
    assert [key for key, each in found.items() if each.breached] == [("psi", "")]
    assert found["psi", ""].importance is None


def carriers(n_new: int, n: int = 2000) -> np.ndarray:
    return np.array(["HA"] * n_new + ["UA", "AA", "DL"] * n, dtype=object)[:n]


@pytest.mark.parametrize(("n_new", "breached"), [(0, False), (90, False), (110, True), (2000, True)])
def test_categories_that_the_reference_lacks_are_drift_from_a_share_on(n_new: int, breached: bool) -> None:
    finding = judge(sample(seed=2, carrier=carriers(n_new)))["unseen", "carrier"]
    assert (finding.breached, finding.value, finding.threshold) == (breached, n_new / 2000, 0.05)
    assert ("(HA)" in finding.reason) is (n_new > 0)


def test_rare_levels_that_a_small_reference_misses_are_no_news() -> None:
    generator = np.random.default_rng(4)
    before, after = (np.array([f"T{each}" for each in generator.integers(0, 2000, 500)], dtype=object) for _ in range(2))
    found = judge(sample(500, carrier=after), reference=sample(500, carrier=before))["unseen", "carrier"]
    assert found.value is not None and found.value > 0.7
    assert not found.breached


def numbers(prefix: str, n_known: int, n: int = 900) -> np.ndarray:
    """An id that most rows do not have."""
    return np.array([f"{prefix}{each}" for each in range(n_known)] + [None] * (n - n_known), dtype=object)


@pytest.mark.parametrize(("importance", "breached"), [(0.0, False), (0.002, False), (0.03, True)])
def test_new_categories_count_over_all_rows_and_by_importance(importance: float, breached: bool) -> None:
    importances = {**IMPORTANCES, "carrier": importance}
    before, after = sample(900, seed=1, carrier=numbers("A", 54)), sample(900, seed=2, carrier=numbers("B", 54))
    finding = judge(after, reference=before, importances=importances)["unseen", "carrier"]
    assert finding.value == 0.06 and not finding.breached, "54 levels that were seen once let expect as many new ones"
    before = sample(900, seed=1, carrier=np.array(["A"] * 54 + [None] * 846, dtype=object))
    finding = judge(after, reference=before, importances=importances)["unseen", "carrier"]
    assert (finding.value, finding.breached) == (0.06, breached)
    assert (finding.threshold is None) is (importance == 0.0)


def test_a_feature_may_have_limits_of_its_own() -> None:
    moved = sample(seed=2, distance=np.random.default_rng(3).normal(1200, 300, 2000), carrier=carriers(110))
    strict = replace(LIMITS, psi_of={"distance": 0.9}, unseen_ratio_of={"carrier": 0.06})
    assert {key for key, each in judge(moved).items() if each.breached} == {
        ("importance", ""), ("psi", "distance"), ("psi", "carrier"), ("unseen", "carrier"),
    }  # fmt: skip
    assert {key for key, each in judge(moved, limits=strict).items() if each.breached} == {("importance", ""), ("psi", "carrier")}
    found = judge(moved, limits=replace(LIMITS, unseen_ratio_of={"carrier": 0.05}), importances={"distance": 1.0, "carrier": 0.0})
    assert found["unseen", "carrier"].breached, "a limit of its own counts whatever the importance"


def test_columns_that_were_constant_while_the_model_learned_count_as_one_that_matters() -> None:
    names = [f"c{number}" for number in range(20)]
    importances = {name: 1 / (number + 1) for number, name in enumerate(names)}
    generator = np.random.default_rng(5)
    noise = {name: generator.normal(size=2000) for name in names}
    constants = {name: np.zeros(2000) for name in ("x", "y", "z")}
    alive = {name: generator.normal(size=2000) for name in constants}
    before = sample(seed=1, **noise, **constants)
    for known in (importances, {"c0": 1.0, "c1": 0.0}):
        now = sample(seed=1, **noise, **(constants | {"x": alive["x"]}))
        assert not judge(now, reference=before, importances=known)["importance", ""].breached
        found = judge(sample(seed=1, **noise, **alive), reference=before, importances=known)
        assert found["importance", ""].breached
        assert found["psi", "x"].importance == found["psi", "y"].importance == pytest.approx(0.1)


@pytest.mark.parametrize("n_missing", [2000, 1999])
def test_no_known_values_have_no_unseen_categories(n_missing: int) -> None:
    carrier = np.array([None] * n_missing + ["UA"] * (2000 - n_missing), dtype=object)
    finding = judge(sample(seed=2, carrier=carrier))["unseen", "carrier"]
    assert (finding.breached, finding.value) == (False, None if n_missing == 2000 else 0.0)


def test_a_window_of_few_rows_is_undefined_and_not_breached() -> None:
    found = judge(sample(20, seed=2))
    assert [each.value for key, each in found.items() if key[0] == "psi"] == [None] * 5
    assert found["psi", "carrier"].reason.startswith("carrier cannot be compared: 20 rows are too few")
    assert found["importance", ""].reason.startswith("0 of 0 features")


def test_a_window_without_rows_is_undefined() -> None:
    found = judge(sample(0))
    assert not [each for each in found.values() if each.breached]


def test_what_may_be_chance_is_not_breached() -> None:
    found = judge(sample(40, seed=6), reference=sample(40, seed=7))
    over = [each for each in found.values() if each.measure == "psi" and (each.value or 0) >= 0.1]
    assert over and not [each for each in over if each.breached]
    assert all("which may be chance" in each.reason for each in over)


@pytest.mark.parametrize("importances", [{}, {"distance": -0.2}, {"distance": 0.0, "carrier": 0.0}])
def test_without_importances_all_features_count_alike(importances: dict[str, float]) -> None:
    assert set(normalise(importances, ["distance", "carrier"]).values()) == {0.5}


def labels(share: float, n: int = 1000) -> np.ndarray:
    return (np.arange(n) < share * n).astype(np.int8)


@pytest.mark.parametrize(("share", "breached"), [(0.2, False), (0.3, False), (0.35, True), (0.05, True), (0.0, True)])
def test_the_share_of_positives(share: float, breached: bool) -> None:
    finding = judge_target(labels(0.2), labels(share), LIMITS, min_labels=200)
    assert (finding.measure, finding.breached, finding.threshold) == ("target", breached, 0.1)
    assert finding.reason.startswith(f"{share:.1%} of 1000 labels are positive")


@pytest.mark.parametrize(
    ("n_before", "n_now", "reason"),
    [(1000, 199, "199 are too few; 200 are needed"), (10, 1000, "10 rows are too few to compare; 30 are needed")],
)
def test_few_labels_are_undefined(n_before: int, n_now: int, reason: str) -> None:
    finding = judge_target(labels(0.2, n_before), labels(0.5, n_now), LIMITS, min_labels=200)
    assert (finding.value, finding.breached, finding.reason) == (None, False, f"the label cannot be compared: {reason}")


WEEKS = np.repeat(np.arange(12), 500)


def past(scores: np.ndarray, *, n_scored: int = 12) -> Past:
    return Past(windows=WEEKS, scores=scores, n_scored=n_scored)


def psis(reference: Sample, current: Sample, known: Past | None) -> dict[str, Finding]:
    found = judge_drift(reference, current, LIMITS, importances={}, past=known)
    return {each.subject: each for each in found if each.measure == "psi"}


def test_what_the_reference_itself_went_through_is_no_drift() -> None:
    calm, stormy = np.full(500, 10.0) + np.arange(500) / 100, np.full(500, 30.0) + np.arange(500) / 100
    before = sample(6000, seed=1, wind=np.tile(np.concatenate([calm, stormy]), 6))
    now = sample(500, seed=2, wind=stormy)
    new, usual = (psis(before, now, known)["wind"] for known in (None, past(before.scores)))
    assert new.breached and new.threshold == 0.1
    assert not usual.breached and (usual.threshold or 0) > 1
    assert f"wind has not drifted: PSI {usual.value:.3f}; up to {usual.threshold:.3f} is usual between windows" in usual.reason


def test_what_no_window_of_the_reference_was_like_is_drift() -> None:
    before = sample(6000, seed=1, wind=np.repeat(np.tile([10.0, 30.0], 6), 500) + np.tile(np.arange(500) / 100, 12))
    found = psis(before, sample(500, seed=2, wind=np.full(500, 90.0)), past(before.scores))["wind"]
    assert found.breached and "is usual between windows of the reference" in found.reason


def test_what_predictions_went_through_is_told_by_rows_of_a_longer_time() -> None:
    before, now = sample(seed=1, scores=np.tile([0.2, 0.6], 500)), sample(500, seed=2, scores=np.full(500, 0.6))
    before = Sample(features=sample(6000, seed=1).features, scores=before.scores)
    scores = np.repeat([0.2, 0.6] * 6, 500)
    assert psis(before, now, None)[""].breached
    found = psis(before, now, past(scores, n_scored=2))[""]
    assert not found.breached and (found.threshold or 0) > 1


def test_labels_that_come_and_go_in_the_reference_are_no_drift() -> None:
    reference = np.concatenate([labels(0.1, 500), labels(0.4, 500)] * 6)
    assert judge_target(reference, labels(0.5), LIMITS, min_labels=200).breached
    finding = judge_target(reference, labels(0.4), LIMITS, min_labels=200, windows=WEEKS)
    assert not finding.breached
    finding = judge_target(reference, labels(0.9), LIMITS, min_labels=200, windows=WEEKS)
    assert finding.breached and (finding.threshold or 0) > 0.1


@pytest.mark.parametrize(("moved", "breached"), [("scores", [("psi", "")]), ("prediction", [("psi", "prediction")])])
def test_a_feature_named_prediction_is_no_prediction(moved: str, breached: list[tuple[str, str]]) -> None:
    values, low = np.random.default_rng(3).random(2000), np.random.default_rng(4).random(2000) * 0.02
    known = {"prediction": values, "scores": values}
    reference, current = sample(seed=2, **known), sample(seed=5, **(known | {moved: low}))
    found = judge_drift(reference, current, LIMITS, importances=IMPORTANCES)
    assert [(each.measure, each.subject) for each in found if each.breached] == breached
    assert [decides(each) for each in found if each.breached] == [moved == "scores"]
