"""A period to replay, cut into the steps that are monitored and into the requests that callers would have sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Literal

from perennial.contracts.replay import Interval

Every = Literal["day", "week", "month"]

MAX_ROWS = 500
REQUEST_PREFIX = "replay:"
# So much of an instant in ISO 8601 says its hour.
HOUR = len("2013-04-01T05")
_LENGTHS = {"day": timedelta(days=1), "week": timedelta(days=7)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Rows `start` to `stop`, exclusive, that one request carries. Its id hangs on event time alone, whatever the steps are."""

    request_id: str
    start: int
    stop: int

    @property
    def n_rows(self) -> int:
        return self.stop - self.start


def cut_period(start: datetime, end: datetime, every: Every) -> tuple[Interval, ...]:
    """Cut `[start, end)` into steps: days and weeks count from `start`, months are those of the calendar in UTC.

    The first month and the last step may be shorter than the others. An empty period has no steps.

    Examples
    --------
    >>> from datetime import UTC
    >>> months = cut_period(datetime(2013, 11, 20, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC), "month")
    >>> [f"{each.start:%m-%d}/{each.end:%m-%d}" for each in months]
    ['11-20/12-01', '12-01/01-01']
    """
    steps = []
    while start < end:
        stop = min(_next_month(start) if every == "month" else start + _LENGTHS[every], end)
        steps.append(Interval(start=start, end=stop))
        start = stop
    return tuple(steps)


def cut_requests(hours: Sequence[str], *, max_rows: int = MAX_ROWS) -> tuple[Slice, ...]:
    """Cut rows in the order of event time into requests: those of one hour together, `max_rows` at most.

    Parameters
    ----------
    hours
        The hour of each row's event, as `2013-04-01T05`.

    Examples
    --------
    >>> cut_requests(["2013-04-01T05", "2013-04-01T05", "2013-04-01T06"], max_rows=1)[1]
    Slice(request_id='replay:2013-04-01T05.1', start=1, stop=2)
    """
    slices, first = [], 0
    for hour, rows in groupby(hours):
        last = first + len(list(rows))
        for number, start in enumerate(range(first, last, max_rows)):
            slices.append(Slice(request_id=f"{REQUEST_PREFIX}{hour}.{number}", start=start, stop=min(start + max_rows, last)))
        first = last
    return tuple(slices)


def _next_month(instant: datetime) -> datetime:
    first = instant.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)
