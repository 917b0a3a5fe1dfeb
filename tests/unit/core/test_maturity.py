"""When labels count, and when there will be enough of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from perennial.core.maturity import Maturity, Need, estimate_sufficient_as_of, find_mature

FIRST = datetime(2013, 1, 1, tzinfo=UTC)
NEED = Need(window=timedelta(days=90), label_delay=timedelta(days=1), min_mature_ratio=0.9, min_rows=1000)


def days(count: float) -> datetime:
    return FIRST + timedelta(days=count)


def test_a_label_is_mature_when_it_is_there_and_old_enough():
    events = pd.Series([days(0), days(1), days(1), days(2)])
    assert find_mature(pd.Series([1, 0, np.nan, 1]), events, matured_by=days(1)).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("n_rows", "n_mature", "is_enough"),
    [(1000, 1000, True), (1100, 1000, True), (1200, 1000, False), (999, 999, False), (0, 0, False)],
)
def test_enough_means_rows_and_share(n_rows, n_mature, is_enough):
    assert Maturity(n_rows=n_rows, n_mature=n_mature).is_enough(NEED) is is_enough


@pytest.mark.parametrize(
    ("n_rows_in_two_days", "needed", "sufficient"),
    [
        pytest.param(5000, NEED, days(10), id="a tenth may be a day old"),
        pytest.param(100, NEED, days(21), id="1000 rows at 50 a day, a day after the last of them"),
        pytest.param(100, replace(NEED, window=timedelta(days=20)), None, id="the window is too short for that many rows"),
        pytest.param(5000, replace(NEED, min_mature_ratio=1.0), None, id="the newest rows are never mature"),
        pytest.param(5000, replace(NEED, min_mature_ratio=1.0, label_delay=timedelta(0)), days(10 / 24), id="no delay"),
        pytest.param(0, NEED, None, id="no rows"),
    ],
)
def test_when_to_come_back(n_rows_in_two_days, needed, sufficient):
    assert estimate_sufficient_as_of(FIRST, days(2), n_rows=n_rows_in_two_days, need=needed) == sufficient


def test_the_time_named_is_enough_if_rows_keep_coming():
    events = pd.Series(pd.date_range(FIRST, periods=60, freq="37min"))
    as_of = events.iloc[-1].to_pydatetime()
    need = replace(NEED, min_rows=300)
    then = estimate_sufficient_as_of(FIRST, as_of, n_rows=len(events), need=need)
    assert then is not None
    later = pd.Series(pd.date_range(FIRST, then, freq="37min", inclusive="left"))
    n_mature = int((later <= then - need.label_delay).sum())
    assert Maturity(n_rows=len(later), n_mature=n_mature).is_enough(need)
