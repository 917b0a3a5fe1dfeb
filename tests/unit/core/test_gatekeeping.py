from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from perennial.contracts.monitoring import RequestSource
from perennial.core.evidence import Evidence
from perennial.core.gatekeeping import Policy, Wish, decide_request, should_follow_up

NOW = datetime(2013, 7, 1, tzinfo=UTC)
DAY = timedelta(days=1)
POLICY = Policy(
    on=("drift", "performance"), cooldown=2 * DAY, max_per_week=3, min_age=7 * DAY, max_age=90 * DAY, min_mature_ratio=0.9,
    new_rows_ratio=0.2, importance_ratio=0.2,
)  # fmt: skip
WISH = Wish(
    source="monitor", as_of=NOW, outcome="drift", is_persistent=True, mature_ratio=0.95, trained_at=NOW - 30 * DAY,
    granted_at=[NOW - 30 * DAY],
)  # fmt: skip
GATES = ["not_running", "data_healthy", "labels_mature", "persistent", "new_evidence", "cooldown", "min_age", "max_per_week"]
DRIFT = Evidence(features={"wind": 0.2}, importances={"wind": 0.4}, outputs={"prediction": 0.3})


def declined(wish: Wish, policy: Policy = POLICY) -> list[str]:
    """Which gates said no; the answer agrees with them."""
    answer, gates = decide_request(wish, policy)
    assert [each.gate for each in gates] == GATES
    failed = [each.gate for each in gates if not each.passed]
    assert answer == ("declined" if failed else "granted")
    return failed


def reason(gate: str, wish: Wish, policy: Policy = POLICY) -> str:
    return next(each.reason for each in decide_request(wish, policy)[1] if each.gate == gate)


BAD = {
    "not_running": {"open_run": "request__7"},
    "data_healthy": {"faults": ["wind is missing"]},
    "labels_mature": {"mature_ratio": 0.5},
    "persistent": {"is_persistent": False},
    "new_evidence": {"evidence": DRIFT, "in_vain": [DRIFT]},
    "cooldown": {"granted_at": [NOW - DAY]},
    "min_age": {"trained_at": NOW - 3 * DAY},
    "max_per_week": {"granted_at": [NOW - each * DAY for each in (3, 4, 5)]},
}


def test_persistent_drift_on_sound_data_is_granted() -> None:
    assert declined(WISH) == []


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(
    ("source", "is_forced", "asked"),
    [
        ("monitor", False, GATES),
        ("monitor", True, GATES),
        ("schedule", False, [each for each in GATES if each not in {"persistent", "new_evidence"}]),
        ("person", False, GATES[:3]),
        ("api", False, GATES[:3]),
        ("person", True, GATES[:1]),
        ("api", True, GATES[:1]),
    ],
)
def test_who_may_go_over_what(gate: str, source: RequestSource, is_forced: bool, asked: list[str]) -> None:
    wish = replace(WISH, source=source, is_forced=is_forced, **BAD[gate])
    assert declined(wish) == ([gate] if gate in asked else [])


@pytest.mark.parametrize("gate", GATES)
def test_every_gate_gives_value_threshold_and_a_sentence(gate: str) -> None:
    for wish in (WISH, replace(WISH, **BAD[gate])):
        found = next(each for each in decide_request(wish, POLICY)[1] if each.gate == gate)
        assert found.value is not None and found.threshold is not None and found.reason


def test_what_was_gone_over_is_told() -> None:
    hasty = replace(WISH, source="person", **BAD["cooldown"])
    assert reason("cooldown", hasty) == (
        "the nearest retraining that was granted is 24.0 hours away, under 2.0 days; somebody asks all the same"
    )
    forced = replace(WISH, source="person", is_forced=True, **BAD["data_healthy"])
    assert reason("data_healthy", forced) == "the data is broken: wind is missing; forced all the same"


@pytest.mark.parametrize("outcome", ["healthy", "service", "data_fault", "too_few", None])
def test_only_what_retraining_may_cure_is_a_reason(outcome: str | None) -> None:
    assert declined(replace(WISH, outcome=outcome)) == ["persistent"]
    assert reason("persistent", replace(WISH, outcome=outcome)).endswith("drift or performance leads to a retraining")


def test_the_policy_may_leave_drift_alone() -> None:
    assert declined(WISH, replace(POLICY, on=("performance",))) == ["persistent"]


def test_an_old_champion_needs_no_bad_verdict() -> None:
    old = replace(WISH, outcome="healthy", is_persistent=False, trained_at=NOW - 91 * DAY)
    assert declined(old) == []
    assert reason("persistent", old) == "the champion is 91.0 days old, more than 90.0 days: no bad verdict is needed"
    assert declined(replace(old, trained_at=NOW - 90 * DAY)) == ["persistent"]
    assert declined(old, replace(POLICY, max_age=None)) == ["persistent"]
    assert declined(replace(old, faults=["wind is missing"])) == ["data_healthy"]
    assert declined(replace(old, outcome="no_traffic", mature_ratio=None)) == []
    assert declined(replace(old, mature_ratio=0.5)) == ["labels_mature"]


def test_without_a_champion_there_is_nothing_to_wait_for() -> None:
    assert declined(replace(WISH, outcome=None, is_persistent=False, trained_at=None, granted_at=())) == []


@pytest.mark.parametrize(
    ("n", "new_ratio", "failed"),
    [(1, 0.19, True), (1, 0.2, False), (2, 0.39, True), (2, 0.4, False), (9, 0.99, True), (9, 1.0, False)],
)
def test_the_same_evidence_waits_for_new_rows_the_longer_the_oftener_it_was_in_vain(
    n: int, new_ratio: float, failed: bool
) -> None:
    wish = replace(WISH, evidence=DRIFT, in_vain=[DRIFT] * n, new_ratio=new_ratio)
    assert declined(wish) == (["new_evidence"] if failed else [])


@pytest.mark.parametrize(
    ("evidence", "news"),
    [
        (replace(DRIFT, falls={"roc_auc": 0.04}), "roc_auc fell"),
        (replace(DRIFT, features={"wind": 0.29}, outputs={"prediction": 0.44}), ""),
        (replace(DRIFT, features={"wind": 0.3}), "wind moved further"),
        (replace(DRIFT, outputs={"prediction": 0.45}), "prediction moved further"),
        (Evidence(outputs={"target": 0.2}), "target moved"),
        (Evidence(features={"gust": 0.2}, importances={"gust": 0.1}), "gust moved"),
        (Evidence(features={"gust": 9.0}, importances={"gust": 0.09}), ""),
    ],
)
def test_a_larger_shift_other_features_or_a_fall_are_new_evidence(evidence: Evidence, news: str) -> None:
    wish = replace(WISH, evidence=evidence, in_vain=[DRIFT])
    assert declined(wish) == ([] if news else ["new_evidence"])
    if news:
        assert reason("new_evidence", wish) == f"new since a retraining led to no new champion: {news}"


def test_an_old_champion_is_not_asked_for_each_week_either() -> None:
    old = replace(WISH, outcome="healthy", is_persistent=False, trained_at=NOW - 91 * DAY, in_vain=[Evidence()], new_ratio=0.05)
    assert declined(old) == ["new_evidence"]
    assert declined(replace(old, new_ratio=0.3)) == []


def test_a_follow_up_needs_no_bad_verdict_and_all_else() -> None:
    healthy = replace(WISH, outcome="healthy", is_persistent=False)
    assert declined(healthy) == ["persistent"]
    assert declined(replace(healthy, is_follow_up=True)) == []
    assert declined(replace(healthy, is_follow_up=True, in_vain=[Evidence()], new_ratio=0.19)) == ["new_evidence"]
    assert declined(replace(healthy, is_follow_up=True, faults=["wind is missing"])) == ["data_healthy"]


@pytest.mark.parametrize(
    ("n", "new_ratio", "follows"),
    [(0, 0.15, False), (0, 0.16, True), (1, 0.19, False), (1, 0.2, True), (2, 0.4, True), (3, 1.0, False)],
)
def test_a_champion_of_a_bad_verdict_is_followed_up_until_it_was_in_vain_three_times(
    n: int, new_ratio: float, follows: bool
) -> None:
    assert should_follow_up(new_ratio, n, POLICY, ratio=0.16) is follows


@pytest.mark.parametrize(("source", "failed"), [("monitor", ["labels_mature"]), ("schedule", []), ("person", [])])
def test_labels_that_nobody_counted(source: RequestSource, failed: list[str]) -> None:
    assert declined(replace(WISH, source=source, mature_ratio=None)) == failed


@pytest.mark.parametrize(("hours", "failed"), [(47, ["cooldown"]), (48, [])])
def test_the_cooldown_is_over_at_its_end(hours: int, failed: list[str]) -> None:
    assert declined(replace(WISH, granted_at=[NOW - timedelta(hours=hours), NOW - 30 * DAY])) == failed


def test_a_wish_of_an_earlier_time_waits_as_well() -> None:
    assert declined(replace(WISH, granted_at=[NOW + DAY])) == ["cooldown"]


@pytest.mark.parametrize(("days", "failed"), [((3, 4, 5), ["max_per_week"]), ((3, 4, 7), []), ((3, 4, -4), [])])
def test_the_week_is_the_seven_days_before(days: tuple[int, ...], failed: list[str]) -> None:
    assert declined(replace(WISH, granted_at=[NOW - each * DAY for each in days])) == failed


def test_several_reasons_are_all_given() -> None:
    assert declined(replace(WISH, **(BAD["not_running"] | BAD["data_healthy"] | BAD["min_age"]))) == [
        "not_running", "data_healthy", "min_age",
    ]  # fmt: skip
