"""A period to replay, cut into the steps that are monitored and into the requests that callers would have sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
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


def cut_period(start: datetime, end: datetime, every: Every, *, zone: tzinfo = UTC) -> tuple[Interval, ...]:
    """Cut `[start, end)` into steps by the clocks of a time zone: days and weeks count from `start`, months are the calendar's.

    The first month and the last step may be shorter than the others, and a day has 23 or 25 hours where the clocks change. An
    empty period has no steps.

    Examples
    --------
    >>> from datetime import UTC
    >>> months = cut_period(datetime(2013, 11, 20, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC), "month")
    >>> [f"{each.start:%m-%d}/{each.end:%m-%d}" for each in months]
    ['11-20/12-01', '12-01/01-01']
    """
    first = start.astimezone(zone)
    steps: list[Interval] = []
    at = start.astimezone(UTC)
    while at < end:
        local = _month_after(first, len(steps)) if every == "month" else first + (len(steps) + 1) * _LENGTHS[every]
        stop = min(local.astimezone(UTC), end.astimezone(UTC))
        steps.append(Interval(start=at, end=stop))
        at = stop
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


def _month_after(local: datetime, n: int) -> datetime:
    """Begin of the `n`-th calendar month after that of an instant; 0 is the next one."""
    years, month = divmod(local.month + n, 12)
    return local.replace(year=local.year + years, month=month + 1, day=1, hour=0, minute=0, second=0, microsecond=0, fold=0)
