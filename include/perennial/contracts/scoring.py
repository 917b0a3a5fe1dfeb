"""What batch scoring hands on."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What one batch scoring wrote: predictions for events in `[start, end)`.

    Rows that were in the table with the same prediction, version and features are neither new nor changed.
    """

    model: str
    model_version: int
    table: str
    start: datetime
    end: datetime
    n_rows: int
    n_new: int
    n_changed: int
    seconds: float
