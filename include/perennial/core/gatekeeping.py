"""Whether a wish to retrain is granted. All times are the data's."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from perennial.contracts import GateResult
from perennial.contracts.monitoring import RequestSource, VerdictOutcome

Answer = Literal["granted", "declined"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The spec's `retrain`, and `label.min_mature_ratio`."""

    on: Sequence[VerdictOutcome]
    cooldown: timedelta
    max_per_week: int
    min_age: timedelta
    max_age: timedelta | None
    min_mature_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A request, and how things stand when it is looked at.

    Parameters
    ----------
    outcome, is_persistent, faults
        Of the latest verdict at `as_of`; `faults` are the reasons of its findings that block. None and empty where there is no verdict.
    mature_ratio
        Share of the labels that should have come by `as_of` that have. None where nobody knows.
    trained_at
        End of the data that the champion learned from; None where there is no champion.
    granted_at
        The `as_of` of requests granted before, in any order.
    open_run
        The retraining that runs or waits, in a few words; empty where there is none.
    is_forced
        A person asks in spite of a data fault.
    """

    source: RequestSource
    as_of: datetime
    outcome: VerdictOutcome | None = None
    is_persistent: bool = False
    faults: Sequence[str] = ()
    mature_ratio: float | None = None
    trained_at: datetime | None = None
    granted_at: Sequence[datetime] = ()
    open_run: str = ""
    is_forced: bool = False


def decide_request(wish: Wish, policy: Policy) -> tuple[Answer, tuple[GateResult, ...]]:
    """Ask every question, in the order of the answer's list; granted where none says no.

    Gates: `not_running`, `data_healthy`, `labels_mature`, `persistent`, `cooldown`, `min_age`, `max_per_week`. A person and the API may
    go over the last four, the schedule over `persistent`. A champion older than `max_age` needs no bad verdict. Nobody goes over
    `not_running`; a person goes over a data fault, or labels that are late, by force only.
    """
    raise NotImplementedError
