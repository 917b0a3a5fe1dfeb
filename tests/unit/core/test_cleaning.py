"""Cleaning rules on small frames."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from perennial.contracts.columns import FIRST_INSTANT, LAST_INSTANT
from perennial.core.cleaning import find_endless, find_impossible, find_repeated, find_unlabelled


def at(day: int) -> datetime:
    return datetime(2013, 1, day, tzinfo=UTC)


@pytest.mark.parametrize(
    ("keys", "arrivals", "repeated"),
    [
        ([1, 2, 3], [1, 1, 1], [False, False, False]),
        ([1, 1, 1], [1, 3, 2], [True, False, True]),
        ([1, 1], [2, 2], [True, False]),
        ([1, 1], [2, None], [False, True]),
        ([], [], []),
    ],
)
def test_the_last_to_arrive_stays(keys, arrivals, repeated):
    frame = pd.DataFrame({"id": keys, "known_at": pd.Series([day and at(day) for day in arrivals], dtype="datetime64[us, UTC]")})
    assert find_repeated(frame, ["id"], arrival_time="known_at").tolist() == repeated


def test_a_key_of_two_columns_repeats_only_as_a_whole():
    frame = pd.DataFrame({"id": [1, 1, 1], "leg": ["a", "b", "a"]})
    assert find_repeated(frame, ["id", "leg"]).tolist() == [True, False, False]


def test_rows_keep_their_index():
    frame = pd.DataFrame({"id": [1, 2, 1]}, index=[30, 10, 20])
    assert find_repeated(frame, ["id"]).to_dict() == {30: True, 10: False, 20: False}


@pytest.mark.parametrize(
    ("limits", "impossible"),
    [
        ({"at_most": 5}, [False, False, True, False]),
        ({"at_least": 0}, [True, False, False, False]),
        ({"at_least": 0, "at_most": 5}, [True, False, True, False]),
        ({}, [False, False, False, False]),
    ],
)
def test_limits_are_themselves_possible_and_missing_is_too(limits, impossible):
    assert find_impossible(pd.Series([-1.0, 5.0, 5.5, np.nan]), **limits).tolist() == impossible


def test_only_overdue_labels_are_missing():
    labels = pd.Series([1.0, np.nan, np.nan, np.nan])
    events = pd.Series([at(1), at(1), at(2), at(3)])
    assert find_unlabelled(labels, events, matured_by=at(2)).tolist() == [False, True, True, False]


@pytest.mark.parametrize(("has_start", "endless"), [(True, [True, False, True, False]), (False, [False, False, True, False])])
def test_times_without_end_are_found(has_start, endless):
    times = pd.Series([FIRST_INSTANT, at(1), LAST_INSTANT, None], dtype="datetime64[us, UTC]")
    assert find_endless(times, has_start=has_start).tolist() == endless
