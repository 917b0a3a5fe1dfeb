from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from perennial.contracts.monitoring import Finding
from perennial.core.quality import Intake, QualityLimits, judge_quality

LIMITS = QualityLimits(
    missing_rise=0.05, out_of_range_ratio=0.01, duplicate_ratio=0.01, volume_band=(0.2, 5.0), freshness=timedelta(hours=12)
)
END = datetime(2013, 4, 2, tzinfo=UTC)


def rows(n: int = 2000, *, seed: int = 0, **changed: np.ndarray) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    columns = {
        "distance": generator.lognormal(6.5, 0.6, n),
        "temperature": generator.normal(40, 10, n),
        "carrier": generator.choice(["UA", "AA"], n).astype(object),
    } | changed
    return pd.DataFrame({name: pd.Series(values, dtype=values.dtype) for name, values in columns.items()})


REFERENCE = rows(8000, seed=1)


def judge(
    current: pd.DataFrame | None = None, *, reference: pd.DataFrame = REFERENCE, limits: QualityLimits = LIMITS, **known: object
) -> dict[tuple[str, str], Finding]:
    current = rows(seed=2) if current is None else current
    facts = {"n_rows": 2000, "n_keyed": 2000, "earlier_rows": [1900, 2100], "newest_event_at": END - timedelta(hours=1)} | known
    found = judge_quality(reference, current, Intake(window_end=END, **facts), limits)
    assert all(each.blocks == each.breached and each.aspect == "quality" for each in found)
    return {(each.measure, each.subject): each for each in found}


def breaches(found: dict[tuple[str, str], Finding]) -> list[tuple[str, str]]:
    return [key for key, each in found.items() if each.breached]


def with_missing(name: str, share: float, **known: int) -> pd.DataFrame:
    frame = rows(**{"seed": 2} | known)
    is_missing = (np.arange(len(frame)) * 0.618) % 1 < share
    return frame.assign(**{name: frame[name].where(~is_missing, None if name == "carrier" else np.nan)})


def test_sound_data_has_no_fault() -> None:
    found = judge()
    assert not breaches(found)
    assert list(found) == [
        ("volume", ""), ("freshness", ""), ("duplicates", ""),
        ("missing", "distance"), ("missing", "temperature"), ("missing", "carrier"),
        ("out_of_range", "distance"), ("out_of_range", "temperature"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["distance", "carrier"])
@pytest.mark.parametrize(("share", "breached"), [(0.04, False), (0.06, True), (0.2, True), (1.0, True)])
def test_missing_values(name: str, share: float, breached: bool) -> None:
    found = judge(with_missing(name, share))
    assert found["missing", name].value == pytest.approx(share, abs=0.005)
    assert breaches(found) == ([("missing", name)] if breached else [])


def test_a_feature_may_have_limits_of_its_own() -> None:
    limits = replace(LIMITS, missing_rise_of={"distance": 0.3}, out_of_range_ratio_of={"temperature": 0.2})
    broken = with_missing("distance", 0.2).assign(temperature=lambda frame: frame["temperature"].where(frame.index % 10 > 0, 900))
    assert breaches(judge(broken)) == [("missing", "distance"), ("out_of_range", "temperature")]
    assert breaches(judge(broken, limits=limits)) == []


def test_the_reason_says_how_many_and_against_what() -> None:
    found = judge(with_missing("carrier", 0.2))["missing", "carrier"]
    assert found.reason == "20.1% of carrier is missing, against up to 0.0% in the reference: more than 5.0% more"
    assert (found.threshold, found.reference) == (0.05, 0.0)


def test_a_rise_that_few_rows_cannot_prove_is_no_fault() -> None:
    reference = with_missing("distance", 0.2, n=8000)
    found = judge(with_missing("distance", 0.4, n=30), reference=reference)["missing", "distance"]
    assert (found.value, found.breached) == (0.4, False)
    assert found.reason.endswith("more than 5.0% more, which may be chance")


def test_what_comes_and_goes_in_the_reference_may_go_again() -> None:
    gusts = np.where(np.arange(8000) // 800 % 2, np.nan, 30.0)  # missing on every second of ten days
    calm = np.where(np.arange(2000) < 1900, np.nan, 30.0)
    known = judge(rows(seed=2, gust=calm), reference=rows(8000, seed=1, gust=gusts))["missing", "gust"]
    steady = np.where(np.arange(8000) % 2, np.nan, 30.0)
    unknown = judge(rows(seed=2, gust=calm), reference=rows(8000, seed=1, gust=steady))["missing", "gust"]
    assert (known.reference, unknown.reference) == (0.5, 0.5)
    assert (known.threshold, unknown.threshold) == pytest.approx((1.05, 0.55))
    assert (known.breached, unknown.breached) == (False, True)


def test_fewer_missing_values_are_no_fault() -> None:
    assert not breaches(judge(reference=with_missing("distance", 0.5, n=8000)))


@pytest.mark.parametrize("name", ["distance", "temperature"])
def test_a_wrong_unit_is_out_of_range(name: str) -> None:
    frame = rows(seed=2)
    found = judge(frame.assign(**{name: frame[name] * 10}))
    assert breaches(found) == [("out_of_range", name)]


def test_a_season_is_not_out_of_range() -> None:
    frame = rows(seed=2)
    assert not breaches(judge(frame.assign(temperature=frame["temperature"] + 35)))


@pytest.mark.parametrize(("n_odd", "breached"), [(0, False), (20, False), (40, True)])
def test_a_few_odd_values_are_allowed(n_odd: int, breached: bool) -> None:
    values = np.where(np.arange(2000) < n_odd, -np.inf, 40.0)
    found = judge(rows(seed=2, temperature=values))["out_of_range", "temperature"]
    assert (found.breached, found.value) == (breached, n_odd / 2000)


@pytest.mark.parametrize(
    ("reference", "current", "said"),
    [
        (np.full(8000, 7.0), np.full(2000, 70.0), "has no range to hold its values against"),
        (np.full(8000, np.nan), np.full(2000, 70.0), "has no range to hold its values against"),
        (np.arange(8000.0), np.full(2000, np.nan), "there are no values of age to look at"),
    ],
    ids=["constant", "all missing", "none now"],
)
def test_ranges_that_are_undefined(reference: np.ndarray, current: np.ndarray, said: str) -> None:
    found = judge(rows(seed=2, age=current), reference=rows(8000, seed=1, age=reference))["out_of_range", "age"]
    assert (found.breached, found.value) == (False, None)
    assert said in found.reason


def test_booleans_have_no_range() -> None:
    flags = {"is_night": np.ones(2000, dtype=bool)}
    found = judge(rows(seed=2, **flags), reference=rows(2000, seed=1, **flags))
    assert ("out_of_range", "is_night") not in found


@pytest.mark.parametrize(("n", "breached"), [(399, True), (400, False), (10_000, False), (10_001, True)])
def test_volume_is_held_against_the_median_of_earlier_windows(n: int, breached: bool) -> None:
    found = judge(n_rows=n, earlier_rows=[10, 2000, 2000])["volume", ""]
    assert (found.breached, found.value) == (breached, n / 2000)


def test_the_volume_says_what_is_usual() -> None:
    found = judge(n_rows=300)["volume", ""]
    assert found.reason == "300 rows are 0.15 times the median of 2 earlier windows (2000), outside of 0.2 to 5"
    assert found.threshold == 0.2


@pytest.mark.parametrize("earlier", [(), (0, 0)])
def test_without_earlier_windows_nobody_knows_what_is_usual(earlier: tuple[int, ...]) -> None:
    found = judge(earlier_rows=earlier)["volume", ""]
    assert (found.breached, found.value) == (False, None)


@pytest.mark.parametrize(("hours", "breached"), [(0, False), (12, False), (13, True)])
def test_freshness(hours: int, breached: bool) -> None:
    found = judge(newest_event_at=END - timedelta(hours=hours))["freshness", ""]
    assert (found.breached, found.value, found.threshold) == (breached, hours, 12)


def test_freshness_without_an_event_or_a_limit() -> None:
    assert judge(newest_event_at=None)["freshness", ""].value is None
    limits = QualityLimits(
        missing_rise=0.05, out_of_range_ratio=0.01, duplicate_ratio=0.01, volume_band=(0.2, 5.0), freshness=None
    )
    assert ("freshness", "") not in judge(limits=limits)


@pytest.mark.parametrize(
    ("n_repeated", "n_keyed", "breached"), [(0, 2000, False), (20, 2000, False), (21, 2000, True), (1, 20, False)]
)
def test_duplicates(n_repeated: int, n_keyed: int, breached: bool) -> None:
    found = judge(n_repeated=n_repeated, n_keyed=n_keyed)["duplicates", ""]
    assert (found.breached, found.value) == (breached, n_repeated / n_keyed)


def test_duplicates_are_unknown_without_keys() -> None:
    assert judge(n_keyed=0)["duplicates", ""].value is None


@pytest.mark.parametrize(("n", "breached"), [(10, False), (11, True)])
def test_values_of_a_wrong_type(n: int, breached: bool) -> None:
    found = judge(n_misfits={"distance": n, "carrier": 0})
    assert ("wrong_type", "carrier") not in found
    assert found["wrong_type", "distance"].breached is breached


@pytest.mark.parametrize(("n", "n_windows"), [(500, 100), (5000, 10), pytest.param(5000, 100, marks=pytest.mark.soak)])
def test_sound_windows_hardly_ever_have_a_fault(n: int, n_windows: int) -> None:
    reference = with_missing("distance", 0.3, n=20_000, seed=3)
    generator = np.random.default_rng(5)
    n_faults = 0
    for seed in range(n_windows):
        frame = rows(n, seed=10 + seed)
        frame["distance"] = frame["distance"].where(generator.random(n) > 0.3)
        n_faults += bool(breaches(judge(frame, reference=reference)))
    assert n_faults <= 1
