"""What a bento itself counted of its requests, beside what the prediction log shows: a stuck one hides failures."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import astuple, dataclass

from perennial.adapters.state.observations import RequestCounts

_REQUESTS, _PREDICT = "perennial_requests_total", 'path="/predict"'
_DROPPED = "perennial_predictions_dropped_total"
_STARTED_AT = "process_start_time_seconds"
NOTHING = RequestCounts(n_requests=0, n_failed=0, n_refused=0)


class OwnCounts:
    """Requests to `/predict` that a bento counted since the first reading of its `/metrics`, over all its restarts."""

    def __init__(self) -> None:
        self.n_restarts = 0
        self._started_at: float | None = None
        self._first: _Reading | None = None
        self._last = self._before = _NO_READING

    def take(self, metrics: Mapping[str, float]) -> None:
        """Take a reading. A process that was started anew counts from zero."""
        started_at = metrics.get(_STARTED_AT, self._started_at)
        if self._started_at is not None and started_at != self._started_at:
            self.n_restarts += 1
            self._before = self._before.plus(self._last)
        self._started_at = started_at
        self._last = _Reading.read(metrics)
        self._first = self._first or self._last

    @property
    def requests(self) -> RequestCounts:
        grown = self._grown
        return RequestCounts(n_requests=round(grown.n_requests), n_failed=round(grown.n_failed), n_refused=round(grown.n_refused))

    @property
    def n_dropped(self) -> int:
        """Rows that were answered and could not be logged."""
        return round(self._grown.n_dropped)

    @property
    def _grown(self) -> "_Reading":
        return self._before.plus(self._last).plus(self._first or _NO_READING, sign=-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    n_requests: float = 0.0
    n_failed: float = 0.0
    n_refused: float = 0.0
    n_dropped: float = 0.0

    @classmethod
    def read(cls, metrics: Mapping[str, float]) -> "_Reading":
        asked = {name: value for name, value in metrics.items() if name.startswith(_REQUESTS) and _PREDICT in name}
        return cls(
            n_requests=sum(asked.values()),
            n_failed=sum(value for name, value in asked.items() if 'status="5' in name),
            n_refused=sum(value for name, value in asked.items() if 'status="4' in name),
            n_dropped=sum(value for name, value in metrics.items() if name.startswith(_DROPPED)),
        )

    def plus(self, other: "_Reading", *, sign: int = 1) -> "_Reading":
        added = (mine + sign * theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True))
        return _Reading(**dict(zip(self.__slots__, added, strict=True)))


_NO_READING = _Reading()


class LogDelay:
    """Whether the prediction log shows what a bento counted, and counted so long ago that it should."""

    # Some requests may be cut off between log and counter, or be asked of the bento past the gateway.
    _TOLERATED, _TOLERATED_RATIO = 5, 0.1

    def __init__(self, at_most_seconds: float) -> None:
        self._at_most_seconds = at_most_seconds
        self._counted: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self.n_missing = 0
        self.is_behind = self.is_overdue = False

    def take(self, *, n_counted: int, n_logged: int) -> None:
        now = time.monotonic()
        self._counted.append((now, n_counted))
        while len(self._counted) > 1 and now - self._counted[1][0] >= self._at_most_seconds:
            self._counted.popleft()
        since, n_due = self._counted[0]
        self.n_missing = max(0, n_counted - n_logged)
        self.is_behind = self._is_clear(n_counted, n_logged)
        self.is_overdue = now - since >= self._at_most_seconds and self._is_clear(n_due, n_logged)

    def _is_clear(self, n_counted: int, n_logged: int) -> bool:
        return n_counted - n_logged > max(self._TOLERATED, self._TOLERATED_RATIO * n_counted)


def count_beyond(counted: RequestCounts, *logged: RequestCounts) -> RequestCounts:
    """What was counted and is not in the log yet; never less than nothing."""
    return RequestCounts(
        n_requests=max(0, counted.n_requests - sum(each.n_requests for each in logged)),
        n_failed=max(0, counted.n_failed - sum(each.n_failed for each in logged)),
        n_refused=max(0, counted.n_refused - sum(each.n_refused for each in logged)),
    )
