"""The records of a replayed period: what became of each step, and how each month's models did."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from perennial.contracts.monitoring import RequestOutcome, VerdictOutcome

RetrainingOutcome = Literal["", "accepted", "rejected", "failed"]
ReleaseOutcome = Literal["", "promoted", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A half-open stretch of event time, UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of the requests of a step. `fault` is the first failure's own words; `n_before` were sent by an earlier try."""

    n_rows: int
    n_requests: int
    n_before: int = 0
    n_failed: int = 0
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayStep:
    """One step: what was sent, the verdict on its window, and what that set off.

    `request` is empty where the verdict asked for no retraining; `model_version` is the champion after the step.
    """

    interval: Interval
    sent: Sent
    verdict: VerdictOutcome
    reasons: tuple[str, ...]
    model_version: int
    request: RequestOutcome | Literal[""] = ""
    request_reasons: tuple[str, ...] = ()
    retraining: RetrainingOutcome = ""
    retraining_reasons: tuple[str, ...] = ()
    release: ReleaseOutcome = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFigures:
    """The part of a month that one version answered: its own metrics, and the frozen champion's on the same rows."""

    model_version: int
    n_labelled: int
    live: Mapping[str, float]
    frozen: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayMonth:
    """A calendar month's part of the period. Metrics by name, on the same rows: those with a label and a live prediction.

    `frozen` is the champion that served as the replay began, `live` what clients were answered, `retrained` the frozen champion's
    pipeline fitted again as each step began, on all that was known then. A metric that is undefined is absent. `versions`
    answered rows of the month; alarms, windows that were not judged, retrainings and promoted versions are of the steps that
    ended in it.
    """

    interval: Interval
    n_rows: int
    n_labelled: int
    versions: tuple[int, ...] = ()
    frozen: Mapping[str, float] = field(default_factory=dict)
    live: Mapping[str, float] = field(default_factory=dict)
    retrained: Mapping[str, float] = field(default_factory=dict)
    by_version: tuple[VersionFigures, ...] = ()
    n_alarms: int = 0
    n_unjudged: int = 0
    n_retrainings: int = 0
    promoted: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A replayed period as a whole. `metric` is what the spec judges the model by, `timezone` whose days and months it has."""

    model: str
    interval: Interval
    every: str
    metric: str
    frozen_version: int
    steps: tuple[ReplayStep, ...]
    months: tuple[ReplayMonth, ...]
    timezone: str = "UTC"
