import pytest

from perennial.contracts.monitoring import Finding
from perennial.core.service import ServiceLimits, Traffic, judge_service

LIMITS = ServiceLimits(error_ratio=0.01, refused_ratio=0.05, p99_ms=500.0)


def judge(**seen: object) -> dict[str, Finding]:
    traffic = Traffic(**{"n_requests": 1000, "n_failed": 0, "n_refused": 0, "n_rows": 5000, "latencies_ms": [10.0] * 1000} | seen)
    return {each.measure: each for each in judge_service(traffic, LIMITS)}


def test_a_good_service_is_described() -> None:
    found = judge()
    assert {name: each.value for name, each in found.items()} == {
        "requests": 1000, "error_ratio": 0, "refused_ratio": 0, "refused_row_ratio": 0, "p50_ms": 10, "p95_ms": 10, "p99_ms": 10,
    }  # fmt: skip
    assert not [each for each in found.values() if each.breached or each.blocks]


@pytest.mark.parametrize(("n_failed", "breached"), [(10, False), (15, False), (25, True)])
def test_failures_are_breached_where_they_are_no_accident(n_failed: int, breached: bool) -> None:
    found = judge(n_failed=n_failed)["error_ratio"]
    assert (found.breached, found.value, found.threshold) == (breached, n_failed / 1000, 0.01)
    assert ("may be chance" in found.reason) is (n_failed == 15)


def test_two_failures_of_few_requests_are_an_anecdote() -> None:
    assert not judge(n_requests=4, n_failed=2)["error_ratio"].breached


@pytest.mark.parametrize(("n_refused", "breached"), [(50, False), (100, True)])
def test_refusals(n_refused: int, breached: bool) -> None:
    found = judge(n_refused=n_refused)["refused_ratio"]
    assert found.breached is breached
    assert found.reason == f"{n_refused} of 1000 requests were refused ({n_refused / 1000:.1%}), " + (
        "more than 5.0%" if breached else "at most 5.0%"
    )


def test_refused_rows_are_told() -> None:
    found = judge(n_refused_rows=4000)["refused_row_ratio"]
    assert (found.value, found.breached) == (0.8, False)
    assert found.reason == "4000 of 5000 rows came in requests that were refused (80.0%)"


@pytest.mark.parametrize(("n_slow", "value", "breached"), [(5, 10.0, False), (12, 900.0, False), (30, 900.0, True)])
def test_slow_requests(n_slow: int, value: float, breached: bool) -> None:
    found = judge(latencies_ms=[900.0] * n_slow + [10.0] * (1000 - n_slow))["p99_ms"]
    assert (found.value, found.breached) == (value, breached)


def test_nothing_is_known_without_requests() -> None:
    found = judge(n_requests=0, n_rows=0, latencies_ms=[10.0] * 29)
    assert {name for name, each in found.items() if each.value is not None} == {"requests"}
    assert found["p99_ms"].reason == "29 latencies are too few to tell; 30 are needed"
