"""What the pictures of a monitoring mail show, in plain numbers. All instants are aware and UTC."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One column in the reference and in the current window.

    Parameters
    ----------
    edges
        Of the bins of a number, one more than bins. The first and the last bin hold what lies beyond, too. Empty for levels.
    levels
        Values of a category, or of a number of few values. Empty where it has bins.
    reference, current
        Share of the values that are known, per bin or level, 0–1; of levels that are not named here there may be more.
    means
        Of a number, in both windows; None where it has no values or is none.
    missing
        Share of missing values in both windows, 0–1.
    """

    subject: str
    reference: Sequence[float]
    current: Sequence[float]
    edges: Sequence[float] = ()
    levels: Sequence[str] = ()
    means: tuple[float | None, float | None] = (None, None)
    missing: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowPoint:
    """What is known of one stretch of time. `value` is what was measured, `estimate` stands in where no labels came.

    `holdout` is what was to be expected. `model_version` and `is_alarm` are the monitored window's.
    """

    start: datetime
    end: datetime
    value: float | None = None
    low: float | None = None
    high: float | None = None
    estimate: float | None = None
    holdout: float | None = None
    model_version: int | None = None
    is_alarm: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SeasonPoint:
    """Share of positives in one window, 0–1: as predicted, and as it came true once labels are there."""

    start: datetime
    end: datetime
    predicted: float | None = None
    observed: float | None = None
