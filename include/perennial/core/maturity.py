"""When labels can be trusted: how many are mature, and when there will be enough."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a training set has to have."""

    window: timedelta
    label_delay: timedelta
    min_mature_ratio: float
    min_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Maturity:
    """Rows of a window by the age of their label. `ratio` is 0 for a window without rows."""

    n_rows: int
    n_mature: int

    @property
    def ratio(self) -> float:
        return self.n_mature / self.n_rows if self.n_rows else 0.0

    def is_enough(self, need: Need) -> bool:
        return self.n_mature >= need.min_rows and self.ratio >= need.min_mature_ratio


def find_mature(labels: pd.Series, event_times: pd.Series, *, matured_by: datetime) -> pd.Series:
    """Rows whose label is there and old enough: the event lies at or before `matured_by`."""
    return labels.notna() & (event_times <= matured_by)


def estimate_sufficient_as_of(first_event: datetime, as_of: datetime, *, n_rows: int, need: Need) -> datetime | None:
    """Earliest `as_of` with enough mature labels, if rows keep coming as they did since the first event.

    With a rate r of rows since `first_event`, a window up to T holds r × (T − first) rows, of which r × (T − delay −
    first) are mature. Both conditions are solved for T and the later answer is rounded up to the hour.

    Returns
    -------
    None where no later `as_of` would do: such a window is as long as ever and still has too few.

    Examples
    --------
    >>> from datetime import UTC
    >>> need = Need(window=timedelta(days=90), label_delay=timedelta(days=1), min_mature_ratio=0.9, min_rows=100)
    >>> day = datetime(2013, 1, 1, tzinfo=UTC)
    >>> estimate_sufficient_as_of(day, day + timedelta(days=2), n_rows=1800, need=need)
    datetime.datetime(2013, 1, 11, 0, 0, tzinfo=datetime.timezone.utc)
    """
    elapsed = as_of - first_event
    if n_rows == 0 or elapsed <= timedelta(0) or (need.min_mature_ratio == 1 and need.label_delay):
        return None
    for_ratio = need.label_delay / (1 - need.min_mature_ratio) if need.label_delay else timedelta(0)
    for_rows = need.label_delay + elapsed * (need.min_rows / n_rows)
    hours = max(for_ratio, for_rows) / timedelta(hours=1)
    needed = timedelta(hours=math.ceil(round(hours, 6)))
    return first_event + needed if needed <= need.window else None
