"""Bounds and shifts of small samples: rarely wrong about nothing, rarely blind to something."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.core.stage_statistics import Z_SURE, bounds, compute_shift, least_difference, percentile_95


@given(n=st.integers(1, 10_000), data=st.data())
def test_what_was_seen_lies_within_its_bounds_and_they_grow_with_it(n, data):
    n_hits = data.draw(st.integers(0, n))
    low, high = bounds(n_hits, n)
    assert 0 <= low <= n_hits / n <= high <= 1
    assert n_hits == n or low <= bounds(n_hits + 1, n)[0]


def test_more_of_the_same_brings_the_bounds_nearer():
    lows = [bounds(n // 10, n)[0] for n in (10, 100, 1000, 100_000)]
    assert lows == sorted(lows)
    assert lows[-1] == pytest.approx(0.1, abs=0.01)


@given(ours=st.integers(0, 500), theirs=st.integers(0, 500))
def test_a_believable_difference_is_smaller_than_the_one_seen(ours, theirs):
    assert least_difference((ours, 500), (theirs, 500)) <= (ours - theirs) / 500


def test_nothing_is_believable_against_nobody():
    assert least_difference((300, 300), (0, 0)) < 0


def test_a_percentile_is_a_value_that_was_seen():
    values = [float(each) for each in range(1, 101)]
    assert percentile_95(values) == 96.0
    assert percentile_95([7.0]) == 7.0


def draw(n: int, *, shift: float = 0.0, jitter: float = 0.0, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of two models for the same rows: they differ by `shift` in log-odds, and by chance (`jitter`) in each row."""
    random = np.random.default_rng(seed)
    odds = random.normal(-0.5, 1, n)
    ours, theirs = (1 / (1 + np.exp(-each)) for each in (odds + random.normal(shift, jitter, n), odds))
    return ours, theirs


def exceeded_ratio(n: int, *, is_paired: bool, limit: float, **values: float) -> float:
    """How often the difference is over the limit, less the error's part."""
    sizes = None if is_paired else (n, n)
    found = [compute_shift(*draw(n, seed=seed, **values), sizes=sizes) for seed in range(300)]
    return float(np.mean([difference - Z_SURE * error > limit for difference, error in found]))


@pytest.mark.parametrize("is_paired", [True, False])
@pytest.mark.parametrize("n", [50, 200, 1000])
def test_a_limit_is_hardly_ever_exceeded_by_chance(n, is_paired):
    assert exceeded_ratio(n, is_paired=is_paired, limit=1.5, shift=1.5, jitter=0.5) <= 0.01


def test_more_than_the_limit_is_seen_in_200_rows():
    assert exceeded_ratio(200, is_paired=True, limit=1.5, shift=1.7, jitter=0.5) >= 0.95
    assert exceeded_ratio(200, is_paired=False, limit=1.5, shift=2.1, jitter=0.5) >= 0.95


def test_a_difference_is_that_of_the_mean_log_odds():
    ours, theirs = [0.5, 0.8, 0.8], [0.2, 0.2, 0.5]
    difference, error = compute_shift(ours, theirs)
    differences = np.log(4) * np.array([1, 2, 1])
    assert (difference, error) == pytest.approx((differences.mean(), differences.std(ddof=1) / math.sqrt(3)))
    assert compute_shift(theirs, ours) == pytest.approx((-difference, error))


def test_beyond_one_per_cent_nothing_is_told_apart():
    assert compute_shift([0.0, 0.0, 1.0], [0.01, 0.002, 0.9999]) == (0.0, 0.0)


def test_many_rows_of_few_requests_prove_less():
    ours, theirs = draw(1000, shift=2.0, jitter=0.5, seed=1)
    (difference, error), (same, more) = (compute_shift(ours, theirs, sizes=(n, n)) for n in (5000, 10))
    assert same == difference
    assert more == pytest.approx(10 * error)


def test_a_constant_is_not_shifted_against_itself():
    assert compute_shift([0.3] * 100, [0.3] * 80, sizes=(100, 80)) == pytest.approx((0.0, 0.0))
