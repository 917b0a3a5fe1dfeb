import numpy as np
import pandas as pd
import pytest

from perennial.core.bins import count_bins


def counted(reference: list, current: list, *, n_bins: int = 2) -> list[tuple[float, float]]:
    counts = count_bins(pd.Series(reference), pd.Series(current), n_bins=n_bins)
    return sorted(zip(counts.reference.tolist(), counts.current.tolist(), strict=True))


def test_numbers_are_cut_at_the_quantiles_of_the_reference() -> None:
    assert counted([*range(20)], [*range(5, 25)]) == [(9, 14), (11, 6)]


def test_a_value_that_fills_a_bin_has_one_of_its_own() -> None:
    mostly_nothing = [0.0] * 40 + [*range(1, 11)]
    assert counted(mostly_nothing, [-1.0] * 10 + [0.0] * 40, n_bins=4) == [(0, 10), (10, 0), (40, 40)]


def test_missing_values_are_a_bin() -> None:
    assert counted([1.0] * 30 + [None] * 10, [1.0] * 20 + [None] * 20) == [(10, 20), (30, 20)]
    assert counted(["a"] * 30 + [None] * 10, ["a"] * 20 + [None] * 20) == [(10, 20), (30, 20)]


def test_infinite_numbers_are_the_largest_and_the_smallest() -> None:
    assert counted([-np.inf] * 10 + [0.0] * 10 + [np.inf] * 10, [np.inf] * 30, n_bins=3) == [(10, 0), (10, 0), (10, 30)]


def test_small_levels_are_pooled_until_they_are_large_enough() -> None:
    reference = ["a"] * 60 + ["b"] * 36 + ["c"] * 2 + ["d"] * 2
    assert counted(reference, ["a"] * 60 + ["b"] * 39 + ["c"]) == [(40, 40), (60, 60)]  # c and d alone are too few
    assert counted([*"abcdefghij"] * 4, [*"abcdefghij"] * 4) == [(40, 40)]


def test_numbers_beside_text_are_categories() -> None:
    assert counted([1] * 20, ["1"] * 20) == [(0, 20), (20, 0)]


@pytest.mark.parametrize("column", [pd.Series([True, False] * 20), np.array([0, 1] * 20, dtype=np.int8)])
def test_booleans_are_numbers(column: pd.Series) -> None:
    counts = count_bins(column, column, n_bins=10)
    assert counts.reference.tolist() == [20, 20]


def test_what_a_large_reference_never_has_is_seen_in_a_small_window() -> None:
    assert counted([False] * 20_000, [False] * 168 + [True] * 168) == [(0, 168), (20_000, 168)]
    rare = ["a"] * 19_000 + ["b"] * 1_000
    assert counted([*rare, *["c"] * 4], ["a"] * 200 + ["c"] * 100 + ["d"]) == [(4, 100), (1_000, 1), (19_000, 200)]
