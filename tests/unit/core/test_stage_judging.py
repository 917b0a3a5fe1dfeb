"""What stops a challenger, and what does not."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from perennial.contracts import Measure
from perennial.core.stage_judging import Thresholds, judge, judge_errors
from perennial.core.stage_observation import Pair, Seen, Side, join

THRESHOLDS = Thresholds(
    error_ratio=0.01,
    latency_ratio=2.0,
    latency_floor_ms=25.0,
    disagreement_ratio=0.2,
    log_odds_shift=1.5,
    memory_mb=1000.0,
    ready_seconds=60.0,
)
SCORES = tuple(np.random.default_rng(1).beta(2, 6, 300).tolist())
GOOD = Side(n_requests=300, latencies_ms=(10.0,) * 300, predictions=SCORES, n_sampled_requests=300)


def seen(challenger: Side = GOOD, champion: Side = GOOD, **values: object) -> Seen:
    return Seen(challenger=challenger, champion=champion, **values)


def failed(record: Seen, *, final: bool = False) -> list[str]:
    return [each.measure for each in judge(record, THRESHOLDS, final=final) if not each.passed]


def measured(record: Seen, name: str, *, final: bool = True) -> Measure:
    return {each.measure: each for each in judge(record, THRESHOLDS, final=final)}[name]


def test_what_behaves_like_the_champion_passes():
    record = seen(memory_mb=300.0, pairs=[Pair(challenger=each, champion=each) for each in SCORES])
    assert failed(record) == failed(record, final=True) == []


def test_nothing_seen_is_no_reason_to_stop():
    measures = judge(seen(Side(), Side()), THRESHOLDS, final=True)
    assert all(each.passed for each in measures)
    assert {each.measure for each in measures if each.value is None} >= {"error_ratio", "latency", "shift", "memory"}


@pytest.mark.parametrize(
    ("n", "n_failed", "champion_failed", "stops_early", "stops_at_the_end"),
    [
        (300, 0, 0, False, False),
        (1, 1, 0, False, False),
        (10, 2, 0, False, False),
        (10, 3, 0, True, True),
        (3, 3, 0, True, True),
        (300, 15, 0, True, True),
        (300, 15, 15, False, False),
        (300, 5, 0, False, True),
        (300, 7, 3, False, False),
        (100, 1, 0, False, False),
        (10_000, 600, 0, True, True),
    ],
)
def test_errors_stop_early_where_they_are_clear_and_at_the_end_where_they_are_too_many(
    n, n_failed, champion_failed, stops_early, stops_at_the_end
):
    record = seen(replace(GOOD, n_requests=n, n_failed=n_failed), replace(GOOD, n_failed=champion_failed))
    assert failed(record) == (["error_ratio"] if stops_early else [])
    assert failed(record, final=True) == (["error_ratio"] if stops_at_the_end else [])


def test_an_error_measure_says_what_against_what():
    record = seen(replace(GOOD, n_failed=15), replace(GOOD, n_failed=3))
    measure = measured(record, "error_ratio")
    assert (measure.value, measure.champion, measure.threshold) == (0.05, 0.01, 0.02)
    assert measure.reason == "15 of 300 requests failed (5.0%), more than 2.0% (champion: 1.0%)"


# Requests to the challenger and to the champion: the shadow's 200 copies, and 100 in each canary step with 5, 25 and 50 %.
DEFAULT_STAGES = [(200, 200), (100, 1900), (100, 300), (100, 100)]
LOOKS = 100


def is_stopped(n: int, n_champion: int, *, ratio: float, champion: float, seed: int) -> bool:
    """A stage with a look after each request or two, and the judgement at its end."""
    random = np.random.default_rng(seed)
    ours, theirs = np.cumsum(random.random(n) < ratio), np.cumsum(random.random(n_champion) < champion)
    for look in range(1, LOOKS + 1):
        at, theirs_at = n * look // LOOKS, n_champion * look // LOOKS
        if stops(at, int(ours[at - 1]), theirs_at, int(theirs[theirs_at - 1]), final=look == LOOKS):
            return True
    return False


@cache
def stops(n: int, n_failed: int, n_champion: int, n_champion_failed: int, *, final: bool) -> bool:
    record = seen(Side(n_requests=n, n_failed=n_failed), Side(n_requests=n_champion, n_failed=n_champion_failed))
    return not judge_errors(record, THRESHOLDS, final=final).passed


@pytest.mark.parametrize(("ratio", "at_most"), [(0.0, 0.0), (0.005, 0.03), (0.01, 0.08), (0.05, 0.11)])
@pytest.mark.parametrize("sizes", DEFAULT_STAGES)
def test_chance_hardly_ever_stops_a_challenger_as_good_as_the_champion(sizes, ratio, at_most):
    n_stopped = sum(is_stopped(*sizes, ratio=ratio, champion=ratio, seed=seed) for seed in range(300))
    assert n_stopped / 300 <= at_most


@pytest.mark.parametrize(("sizes", "at_least"), list(zip(DEFAULT_STAGES, [0.95, 0.8, 0.8, 0.65], strict=True)))
def test_one_that_fails_for_a_twentieth_of_the_requests_is_stopped_by_the_end_of_a_stage(sizes, at_least):
    assert sum(is_stopped(*sizes, ratio=0.05, champion=0.0, seed=seed) for seed in range(300)) / 300 >= at_least


@pytest.mark.parametrize("n_champion", [0, 3, 95])
def test_five_failures_in_a_row_count_however_few_requests_came(n_champion):
    """The gateway leads past a canary that fails so often: no more than these may ever come."""
    record = seen(Side(n_requests=5, n_failed=5), Side(n_requests=n_champion))
    assert failed(record, final=True) == ["error_ratio"]
    assert n_champion == 3 or failed(record) == ["error_ratio"]


def test_one_that_fails_for_a_twentieth_of_the_requests_is_stopped_within_some_hundreds():
    n_requests = []
    for seed in range(100):
        is_failed = np.random.default_rng(seed).random(1000) < 0.05
        looks = ((n, Side(n_requests=n, n_failed=int(is_failed[:n].sum()))) for n in range(10, 1001, 10))
        n_requests.append(next(n for n, side in looks if failed(seen(side, Side(n_requests=n)))))
    assert np.quantile(n_requests, 0.95) < 450


def test_refusals_of_both_are_the_callers_fault():
    both = replace(GOOD, n_refused=100)
    assert failed(seen(both, both), final=True) == []
    assert failed(seen(replace(GOOD, n_refused=20))) == ["refusal_ratio"]
    assert failed(seen(replace(GOOD, n_refused=2)), final=True) == []


def test_refused_requests_dilute_no_errors():
    record = seen(Side(n_requests=1000, n_refused=990, n_failed=5), Side(n_requests=1000, n_refused=990))
    assert measured(record, "error_ratio").value == 0.5


@pytest.mark.parametrize(
    ("n_expected", "n_arrived", "stops"), [(49, 0, False), (50, 0, True), (100, 19, True), (100, 20, False), (100, 130, False)]
)
def test_a_challenger_that_answers_nothing_is_noticed(n_expected, n_arrived, stops):
    assert failed(seen(Side(), n_expected=n_expected, n_arrived=n_arrived)) == (["answered_ratio"] if stops else [])


@pytest.mark.parametrize(
    ("ours", "theirs", "stops_early", "stops_at_the_end"),
    [
        ([24.0] * 100, [1.0] * 100, False, False),
        ([26.0] * 100, [1.0] * 100, True, True),
        ([60.0] * 100, [40.0] * 100, False, False),
        ([90.0] * 100, [40.0] * 100, True, True),
        ([5.0] * 94 + [90.0] * 6, [5.0] * 100, False, True),
        ([5.0] * 80 + [90.0] * 20, [5.0] * 100, True, True),
        ([900.0] * 29, [5.0] * 100, False, False),
        ([900.0] * 100, [5.0] * 29, False, False),
    ],
)
def test_latency_is_compared_with_the_champions_above_a_floor(ours, theirs, stops_early, stops_at_the_end):
    record = seen(replace(GOOD, latencies_ms=ours), replace(GOOD, latencies_ms=theirs))
    assert failed(record) == (["latency"] if stops_early else [])
    assert failed(record, final=True) == (["latency"] if stops_at_the_end else [])


@pytest.mark.parametrize(
    ("n", "n_other", "stops_early", "stops_at_the_end"),
    [(29, 29, False, False), (100, 20, False, False), (100, 21, False, True), (100, 40, True, True)],
)
def test_another_label_for_too_many_rows_stops(n, n_other, stops_early, stops_at_the_end):
    pairs = [Pair(challenger=0.6, champion=0.4, n=n_other), Pair(challenger=0.4, champion=0.4, n=n - n_other)]
    record = seen(pairs=pairs)
    assert failed(record) == (["disagreement"] if stops_early else [])
    assert failed(record, final=True) == (["disagreement"] if stops_at_the_end else [])


def moved(log_odds: float) -> tuple[float, ...]:
    odds = np.array(SCORES) / (1 - np.array(SCORES)) * np.exp(log_odds)
    return tuple((odds / (1 + odds)).tolist())


@pytest.mark.parametrize(("log_odds", "stops"), [(0.9, False), (1.4, False), (1.9, True), (-1.4, False), (-1.9, True)])
def test_shifted_predictions_stop_with_and_without_pairs(log_odds, stops):
    ours = moved(log_odds)
    assert failed(seen(replace(GOOD, predictions=ours))) == (["shift"] if stops else [])
    pairs = [Pair(challenger=each, champion=theirs) for each, theirs in zip(ours, SCORES, strict=True)]
    measure = measured(seen(pairs=pairs), "shift")
    assert (measure.passed, measure.threshold) == (not stops, 1.5)
    assert measure.value == pytest.approx(abs(log_odds), abs=0.1)


def test_a_shift_needs_enough_rows_that_differ():
    # One row over and over is one row.
    assert failed(seen(pairs=[Pair(challenger=0.4, champion=0.01, n=10_000)])) == []
    assert failed(seen(replace(GOOD, predictions=moved(3.0), n_sampled_requests=5))) == []


def test_a_shift_measure_says_in_which_direction_and_whether_it_may_be_chance():
    pairs = [Pair(challenger=0.2, champion=0.5)] * 30 + [Pair(challenger=0.5, champion=0.8)] * 30
    reason = "predictions of 60 rows are lower by 1.39 in log-odds, in the mean, at most 1.50"
    assert measured(seen(pairs=pairs), "shift").reason == reason
    pairs = [Pair(challenger=0.8, champion=0.2)] * 30 + [Pair(challenger=0.6, champion=0.5)] * 30
    reason = "predictions of 60 rows are higher by 1.59 in log-odds, in the mean, more than 1.50, which may be chance so far"
    assert measured(seen(pairs=pairs), "shift").reason == reason


@pytest.mark.parametrize(
    ("values", "measure"),
    [
        ({"memory_mb": 1001.0}, "memory"),
        ({"n_restarts": 2}, "restarts"),
        ({"unready_seconds": 61.0}, "unready_seconds"),
    ],
)
def test_facts_of_the_process_need_no_proof(values, measure):
    assert failed(seen(**values)) == [measure]


def test_one_restart_and_a_start_are_forgiven():
    assert failed(seen(memory_mb=1000.0, n_restarts=1, unready_seconds=60.0), final=True) == []


def test_live_and_replayed_requests_are_judged_together():
    replayed = seen(
        Side(n_requests=57, n_failed=3, latencies_ms=(1.0,)),
        Side(n_requests=57, latencies_ms=(2.0,)),
        pairs=[Pair(challenger=0.1, champion=0.2)],
        n_replayed=60,
        n_unfit=3,
    )
    live = seen(Side(n_requests=10, n_refused=1), Side(n_requests=12), memory_mb=300.0, n_restarts=1)
    joined = join(live, replayed)
    assert (joined.challenger.n_requests, joined.challenger.n_failed, joined.challenger.n_refused) == (67, 3, 1)
    assert (joined.champion.n_requests, joined.memory_mb, joined.n_restarts) == (69, 300.0, 1)
    measure = measured(joined, "replayed")
    assert measure.reason == "60 logged requests stood in for live ones; 3 of them do not fit this version's fields any more"
    assert measure.passed
