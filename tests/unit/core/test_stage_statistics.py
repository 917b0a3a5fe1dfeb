"""Bounds and shifts of small samples: rarely wrong about nothing, rarely blind to something."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.core.stage_statistics import bounds, compute_shift, least_difference, percentile_95


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


def draw(n: int, *, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).beta(2, 6, n)


@pytest.mark.parametrize("n", [50, 200, 2000])
def test_two_samples_of_one_population_are_hardly_ever_shifted(n):
    shifts = [compute_shift(draw(n, seed=seed), draw(n, seed=seed + 10_000)).beyond_noise for seed in range(200)]
    assert sum(shift > 0.25 for shift in shifts) / len(shifts) < 0.01


def test_a_shift_of_all_predictions_is_seen_in_200_rows():
    shifts = [compute_shift(draw(200, seed=seed), draw(200, seed=seed + 10_000) + 0.2).beyond_noise for seed in range(50)]
    assert min(shifts) > 0.25


def test_the_index_is_that_of_its_definition():
    # Two bins, since the deciles fall together: shares 0.5 and 0.5 against 0.75 and 0.25, half a value added to each bin.
    shift = compute_shift([0.1] * 50 + [0.9] * 50, [0.1] * 75 + [0.9] * 25)
    expected, found = (50.5 / 101, 50.5 / 101), (75.5 / 101, 25.5 / 101)
    assert shift.index == pytest.approx(sum((f - e) * math.log(f / e) for e, f in zip(expected, found, strict=True)))


def test_many_rows_of_few_requests_prove_less():
    before, after = draw(1000, seed=1), draw(1000, seed=2) + 0.2
    assert compute_shift(before, after).beyond_noise > 0.25
    assert compute_shift(before, after, n_reference=5, n_current=5).beyond_noise == 0


def test_a_constant_is_not_shifted_against_itself():
    assert compute_shift([0.3] * 100, [0.3] * 80).index == 0
