"""Cuts of a training set by time. All intervals are half-open; times are UTC without a zone."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perennial.errors import TrainingError

Times = NDArray[np.datetime64]
Positions = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Row positions to train on and to test on; every test row is later than every training row."""

    train: Positions
    test: Positions


def to_utc(instant: datetime) -> np.datetime64:
    """Turn an aware instant into what `event_times` gives."""
    return np.datetime64(instant.astimezone(UTC).replace(tzinfo=None), "us")


def event_times(column: "pd.Series[pd.Timestamp]") -> Times:
    """Turn a column of aware timestamps into UTC without a zone, in microseconds."""
    return pd.to_datetime(column, utc=True).dt.tz_localize(None).to_numpy().astype("datetime64[us]")


def split_holdout(times: Times, *, holdout_start: datetime, label_delay: timedelta) -> tuple[Positions, Positions]:
    """Split rows into those to learn from and those to judge on.

    A row is learned from when it is older than the holdout and its label was known as that began: `time < holdout_start` and
    `time + label_delay <= holdout_start`. A row is judged on when `time >= holdout_start`. Nobody uses the rows between.

    Raises
    ------
    TrainingError
        When either side has no row.
    """
    start = to_utc(holdout_start)
    training = _known_before(times, start, label_delay)
    holdout = np.flatnonzero(times >= start)
    if not len(training) or not len(holdout):
        side = "training" if not len(training) else "holdout"
        raise TrainingError(f"no {side} rows around holdout start {holdout_start}", "widen the window or change the holdout")
    return training, holdout


def most_recent(times: Times, positions: Positions, *, n_rows: int) -> Positions:
    """Keep the latest `n_rows` of `positions`, in order of time; rows at one instant keep their order."""
    ordered = positions[np.argsort(times[positions], kind="stable")]
    return ordered[-n_rows:]


def expanding_folds(times: Times, *, n_folds: int, embargo: timedelta) -> tuple[Fold, ...]:
    """Cut rows into folds that test on the next stretch of time and train on everything known before it.

    The rows are cut into `n_folds + 1` stretches of about equal length in rows; rows at the same instant stay together.
    Fold k tests on stretch k + 1, and trains on the rows of the stretches before it for which `time + embargo` is not
    after the first instant of the test.

    Raises
    ------
    TrainingError
        When a fold has nothing to train or test on: too few rows, too few distinct times or too long an embargo.

    References
    ----------
    Lopez de Prado, Advances in Financial Machine Learning (2018), chapter 7: why rows whose labels reach into the test
    period are left out of training.
    """
    ordered = np.sort(times)
    cuts = [ordered[k * len(ordered) // (n_folds + 1)] for k in range(1, n_folds + 1)] if len(ordered) else []
    folds = []
    for number, start in enumerate(cuts):
        is_test = times >= start
        if number + 1 < n_folds:
            is_test &= times < cuts[number + 1]
        train = _known_before(times, start, embargo)
        folds.append(_checked_fold(train, np.flatnonzero(is_test), number=number + 1, start=start))
    if not folds:
        raise TrainingError("there are no rows to fold")
    return tuple(folds)


def _known_before(times: Times, start: np.datetime64, delay: timedelta) -> Positions:
    return np.flatnonzero((times < start) & (times + np.timedelta64(delay) <= start))


def _checked_fold(train: Positions, test: Positions, *, number: int, start: np.datetime64) -> Fold:
    if not len(train) or not len(test):
        side = "training" if not len(train) else "test"
        raise TrainingError(f"fold {number}, testing from {start}, has no {side} rows", "use fewer folds or more rows")
    return Fold(train=train, test=test)
