import pytest

from perennial.core.latency import best_p99, judge_latency


@pytest.mark.parametrize(
    ("rounds", "best"),
    [([[5.0]], 5.0), ([[1.0] * 99 + [9.0]], 1.0), ([[1.0] * 98 + [9.0] * 2], 9.0), ([[900.0, 950.0], [4.0, 6.0]], 6.0)],
)
def test_the_best_round_counts(rounds: list[list[float]], best: float) -> None:
    assert best_p99(rounds) == best


@pytest.mark.parametrize(
    ("ours", "champion", "passed", "told"),
    [
        (250.0, None, True, "250 ms is the limit"),
        (251.0, None, False, "251.0 ms"),
        (251.0, 20.0, False, "the champion took 20.0 ms"),
        # A machine on which the champion is over the limit too is busy.
        (517.9, 300.0, True, "up to 2 times that is allowed"),
        (601.0, 300.0, False, "the champion took 300.0 ms"),
        (float("nan"), 300.0, False, "nan ms"),
    ],
)
def test_a_challenger_is_held_against_the_limit_and_the_champion_of_that_minute(
    ours: float, champion: float | None, passed: bool, told: str
) -> None:
    measure = judge_latency(ours, champion, at_most=250.0, ratio=2.0)
    assert (measure.passed, measure.champion, measure.threshold) == (passed, champion, 250.0)
    assert told in measure.reason
