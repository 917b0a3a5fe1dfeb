"""Runs by hand over changes of the clocks."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pendulum
import pytest

from perennial_airflow.timetables import IntervalsWithin


@pytest.mark.parametrize("cron", ["0 2 * * *", "30 1 * * *", "30 2 * * *", "0 6 * * *", "0 2 * * 0", "0 * * * *"])
@pytest.mark.parametrize("day", ["2024-03-09", "2024-11-02"])
def test_runs_by_hand_have_whole_intervals_that_follow_each_other(cron: str, day: str) -> None:
    """2:30 is left out in New York on 10 March 2024, and 1:30 comes twice on 3 November."""
    timetable = IntervalsWithin.between(cron, timezone="America/New_York", start=datetime(2024, 1, 1, tzinfo=UTC), end=None)
    first = pendulum.parse(day)
    found = [timetable.infer_manual_data_interval(run_after=first + timedelta(hours=hour, minutes=45)) for hour in range(72)]
    seen = list(dict.fromkeys((each.start, each.end) for each in found))
    assert [(start, end) for start, end in seen if start >= end] == []
    assert [(one, other) for one, other in pairwise(seen) if one[1] != other[0]] == []


def test_a_run_by_hand_after_a_time_that_was_left_out_has_the_last_whole_interval() -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    timetable = IntervalsWithin.between("30 2 * * *", timezone="America/New_York", start=start, end=None)
    found = timetable.infer_manual_data_interval(run_after=pendulum.datetime(2024, 3, 10, 16))
    assert (found.start, found.end) == (pendulum.datetime(2024, 3, 9, 7, 30), pendulum.datetime(2024, 3, 10, 7, 30))
