from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from perennial.core.replay_period import Every, Slice, cut_period, cut_requests


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "end", "every", "steps"),
    [
        ("2013-04-01", "2013-06-01", "month", ["04-01/05-01", "05-01/06-01"]),
        ("2013-11-20", "2014-01-05", "month", ["11-20/12-01", "12-01/01-01", "01-01/01-05"]),
        ("2013-01-31", "2013-03-02", "month", ["01-31/02-01", "02-01/03-01", "03-01/03-02"]),
        ("2013-04-01", "2013-04-17", "week", ["04-01/04-08", "04-08/04-15", "04-15/04-17"]),
        ("2013-04-30", "2013-05-02", "day", ["04-30/05-01", "05-01/05-02"]),
        ("2013-04-01", "2013-04-01", "day", []),
    ],
)
def test_a_period_is_cut_without_gap_or_overlap(start: str, end: str, every: Every, steps: list[str]) -> None:
    cut = cut_period(day(start), day(end), every)
    assert [f"{each.start:%m-%d}/{each.end:%m-%d}" for each in cut] == steps


@pytest.mark.parametrize(
    ("zone", "start", "end", "every", "cuts"),
    [
        # Until 31 March London has UTC's time, and then it is an hour ahead.
        ("Europe/London", "2013-03-01T00", "2013-05-31T23", "month", "03-01T00 03-31T23 04-30T23 05-31T23"),
        ("Europe/London", "2013-03-30T00", "2013-04-01T23", "day", "03-30T00 03-31T00 03-31T23 04-01T23"),
        ("America/New_York", "2013-10-28T04", "2013-11-04T05", "week", "10-28T04 11-04T05"),
        # There is no midnight on the day that begins summer time.
        ("America/Havana", "2013-03-09T05", "2013-03-12T04", "day", "03-09T05 03-10T05 03-11T04 03-12T04"),
        ("Asia/Kolkata", "2013-12-31T18", "2014-02-01T00", "month", "12-31T18 12-31T18 01-31T18 02-01T00"),
    ],
)
def test_days_and_months_are_those_of_the_time_zone(zone: str, start: str, end: str, every: Every, cuts: str) -> None:
    cut = cut_period(day(start), day(end), every, zone=ZoneInfo(zone))
    assert " ".join(f"{at:%m-%dT%H}" for at in [cut[0].start, *(each.end for each in cut)]) == cuts
    assert all(one.end == other.start for one, other in pairwise(cut))
    assert {each.start.tzinfo for each in cut} == {UTC}


def test_requests_keep_to_an_hour_and_to_their_size() -> None:
    hours = ["2013-04-01T05"] * 3 + ["2013-04-01T06"]
    assert cut_requests(hours, max_rows=2) == (
        Slice(request_id="replay:2013-04-01T05.0", start=0, stop=2),
        Slice(request_id="replay:2013-04-01T05.1", start=2, stop=3),
        Slice(request_id="replay:2013-04-01T06.0", start=3, stop=4),
    )


def test_ids_do_not_depend_on_where_a_step_begins() -> None:
    hours = ["2013-04-01T23", "2013-04-02T00", "2013-04-02T01"]
    ids = [each.request_id for each in cut_requests(hours)]
    assert [each.request_id for each in cut_requests(hours[1:])] == ids[1:]


def test_no_rows_are_no_requests() -> None:
    assert cut_requests([]) == ()
