from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest

from perennial.core.splits import event_times, expanding_folds, most_recent, split_holdout
from perennial.errors import TrainingError

DAY = timedelta(days=1)


def days(*numbers: float) -> np.ndarray:
    """Instants so many days after the first of January 2013."""
    return np.datetime64("2013-01-01", "us") + (np.array(numbers) * 86_400_000_000).astype("timedelta64[us]")


def day(number: int) -> datetime:
    return datetime(2013, 1, 1, tzinfo=UTC) + number * DAY


def test_event_times_are_utc() -> None:
    local = datetime(2013, 1, 1, 7, tzinfo=timezone(timedelta(hours=-5)))
    assert event_times(pd.Series([local])).tolist() == [datetime(2013, 1, 1, 12)]  # noqa: DTZ001 - that is the point


def test_holdout_is_half_open_and_the_embargo_belongs_to_nobody() -> None:
    times = days(0, 8.9, 9, 9.1, 9.9, 10, 11)
    training, holdout = split_holdout(times, holdout_start=day(10), label_delay=DAY)
    assert training.tolist() == [0, 1, 2]  # a label known at the very start of the holdout counts
    assert holdout.tolist() == [5, 6]


def test_without_label_delay_no_row_is_on_both_sides() -> None:
    training, holdout = split_holdout(days(9, 10), holdout_start=day(10), label_delay=timedelta(0))
    assert (training.tolist(), holdout.tolist()) == ([0], [1])


@pytest.mark.parametrize(("numbers", "side"), [([0, 1], "holdout"), ([9.5, 10], "training"), ([], "training")])
def test_an_empty_side_is_refused(numbers: list[float], side: str) -> None:
    with pytest.raises(TrainingError, match=f"no {side} rows"):
        split_holdout(days(*numbers), holdout_start=day(10), label_delay=DAY)


def test_most_recent_orders_by_time_and_keeps_the_latest() -> None:
    times = days(3, 1, 2, 0)
    assert most_recent(times, np.array([0, 1, 3]), n_rows=2).tolist() == [1, 0]
    assert most_recent(times, np.array([0, 1, 3]), n_rows=9).tolist() == [3, 1, 0]


def test_folds_expand_and_leave_the_embargo_out() -> None:
    folds = expanding_folds(days(0, 1, 2, 3, 4, 5), n_folds=2, embargo=DAY)
    assert [(fold.train.tolist(), fold.test.tolist()) for fold in folds] == [([0, 1], [2, 3]), ([0, 1, 2, 3], [4, 5])]
    folds = expanding_folds(days(0, 1, 2, 3, 4, 5), n_folds=2, embargo=2 * DAY)
    assert [fold.train.tolist() for fold in folds] == [[0], [0, 1, 2]]


def test_folds_do_not_depend_on_the_order_of_rows() -> None:
    folds = expanding_folds(days(5, 0, 4, 1, 3, 2), n_folds=2, embargo=DAY)
    assert [(sorted(fold.train), sorted(fold.test)) for fold in folds] == [([1, 3], [4, 5]), ([1, 3, 4, 5], [0, 2])]


def test_rows_at_one_instant_stay_together() -> None:
    folds = expanding_folds(days(0, 0, 1, 1, 1, 2), n_folds=1, embargo=timedelta(0))
    assert [(fold.train.tolist(), fold.test.tolist()) for fold in folds] == [([0, 1], [2, 3, 4, 5])]


@pytest.mark.parametrize(
    ("numbers", "embargo", "said"),
    [
        ([], DAY, "no rows"),
        ([1, 1, 1, 1], timedelta(0), "fold 1.*no training rows"),
        ([0, 1, 2, 3], 9 * DAY, "fold 1.*no training rows"),
        ([0, 1, 1, 1, 1, 1], timedelta(0), "fold 1.*no test rows"),
    ],
)
def test_an_empty_fold_is_refused(numbers: list[float], embargo: timedelta, said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        expanding_folds(days(*numbers), n_folds=2, embargo=embargo)
