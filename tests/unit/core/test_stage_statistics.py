"""Bounds and shifts of small samples: rarely wrong about nothing, rarely blind to something."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.core.stage_statistics import bounds, compute_paired_shift, compute_shift, least_difference, percentile_95


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
    shifts = [compute_shift(draw(n, seed=seed), draw(n, seed=seed + 10_000)) for seed in range(300)]
    assert sum(shift.is_clearly_over(0.25) for shift in shifts) <= 3
    assert np.mean([shift.index - shift.expected for shift in shifts]) < 0.05


def test_a_shift_of_all_predictions_is_seen_in_200_rows():
    shifts = [compute_shift(draw(200, seed=seed), draw(200, seed=seed + 10_000) + 0.2) for seed in range(50)]
    assert all(shift.is_clearly_over(0.25) for shift in shifts)


def draw_pairs(n: int, *, shift: float, jitter: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of two models for the same rows. They differ by chance (`jitter`), and by `shift` in log odds."""
    random = np.random.default_rng(seed)
    odds = random.normal(0, 1, n)
    others = (odds + random.normal(0, jitter, n)) / math.hypot(1, jitter) + shift
    return tuple(1 / (1 + np.exp(1.2 - each)) for each in (odds, others))  # type: ignore[return-value]


def stopped_ratio(n: int, **values: float) -> float:
    shifts = [compute_paired_shift(*draw_pairs(n, seed=seed, **values)) for seed in range(300)]
    return sum(shift.is_clearly_over(0.25) for shift in shifts) / 300


@pytest.mark.parametrize("n", [50, 100, 200, 1000])
@pytest.mark.parametrize("jitter", [0.1, 0.3, 1.0, 3.0])
def test_predictions_of_the_same_rows_that_differ_by_chance_are_not_shifted(n, jitter):
    assert stopped_ratio(n, shift=0.0, jitter=jitter) <= 0.01


@pytest.mark.parametrize(("shift", "least", "most"), [(0.3, 0.0, 0.05), (0.4, 0.0, 0.1), (0.6, 0.7, 1.0), (0.7, 0.95, 1.0)])
def test_of_200_pairs_the_limit_is_little_more_than_it_says(shift, least, most):
    """Large samples so shifted have an index of 0.09, 0.15, 0.34 and 0.46."""
    assert least <= stopped_ratio(200, shift=shift, jitter=0.3) <= most


def test_the_index_is_that_of_its_definition():
    # Two bins, since the deciles fall together: shares 0.5 and 0.5 against 0.75 and 0.25, half a value added to each bin.
    shift = compute_shift([0.1] * 50 + [0.9] * 50, [0.1] * 75 + [0.9] * 25)
    expected, found = (50.5 / 101, 50.5 / 101), (75.5 / 101, 25.5 / 101)
    assert shift.index == pytest.approx(sum((f - e) * math.log(f / e) for e, f in zip(expected, found, strict=True)))


def test_many_rows_of_few_requests_prove_less():
    before, after = draw(1000, seed=1), draw(1000, seed=2) + 0.2
    assert compute_shift(before, after).is_clearly_over(0.25)
    assert not compute_shift(before, after, n_reference=5, n_current=5).is_clearly_over(0.25)


def test_a_constant_is_not_shifted_against_itself():
    assert compute_shift([0.3] * 100, [0.3] * 80).index == 0
