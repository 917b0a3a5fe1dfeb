import doctest

import numpy as np
import pandas as pd
import pytest

from perennial.core import distributions
from perennial.core.distributions import compute_distribution

NOTHING = pd.Series([np.nan, np.nan])


def test_examples() -> None:
    result = doctest.testmod(distributions)
    assert (result.failed, result.attempted > 0) == (0, True)


def test_numbers_have_bins_that_hold_what_lies_beyond_too() -> None:
    found = compute_distribution("x", pd.Series(np.arange(1000.0)), pd.Series([*np.arange(500.0), np.nan, 1e9]))
    assert (len(found.edges), len(found.reference), len(found.levels)) == (25, 24, 0)
    assert found.edges[-1] < 1000
    assert [sum(found.reference), sum(found.current)] == pytest.approx([1, 1])
    assert found.means[0] == pytest.approx(499.5)
    assert found.missing == pytest.approx((0, 1 / 502))


def test_a_number_of_few_values_is_shown_value_by_value_in_their_order() -> None:
    found = compute_distribution("weekday", pd.Series([10, 2, 2, 1]), pd.Series([10.0, np.inf]))
    assert found.levels == ("1", "2", "10")
    assert (found.reference, found.current) == ((0.25, 0.5, 0.25), (0.0, 0.0, 1.0))
    assert found.means == (3.75, 10.0)


def test_of_many_levels_the_most_frequent_in_either_window_are_shown() -> None:
    old = pd.Series([f"old{i}" for i in range(20)] + ["UA"] * 20)
    found = compute_distribution("carrier", old, pd.Series(["WN"] * 5 + ["UA"] * 5))
    assert {"UA", "WN"} < set(found.levels)
    assert (len(found.levels), list(found.levels)) == (8, sorted(found.levels))
    assert found.current[found.levels.index("WN")] == 0.5


@pytest.mark.parametrize(
    ("reference", "current"),
    [(NOTHING, NOTHING), (NOTHING.astype(object), NOTHING.astype(object)), (NOTHING[:0], NOTHING[:0])],
)
def test_without_values_there_is_nothing_to_show(reference: pd.Series, current: pd.Series) -> None:
    found = compute_distribution("x", reference, current)
    assert (found.levels, found.edges, found.reference, found.current, found.means) == ((), (), (), (), (None, None))


def test_a_column_that_went_missing_keeps_its_reference() -> None:
    found = compute_distribution("x", pd.Series(np.arange(100.0)), pd.Series([np.nan] * 5))
    assert (sum(found.current), found.missing, found.means[1]) == (0.0, (0.0, 1.0), None)


def test_booleans_are_levels() -> None:
    found = compute_distribution("is_holiday", pd.Series([True, False]), pd.Series([True, True]))
    assert (found.levels, found.current) == (("False", "True"), (0.0, 1.0))


def test_one_window_of_text_makes_both_levels() -> None:
    found = compute_distribution("x", pd.Series([1.0, 2.0]), pd.Series(["1", "two"]))
    assert found.levels == ("1", "1.0", "2.0", "two")
