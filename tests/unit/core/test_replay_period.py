from datetime import UTC, datetime

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
