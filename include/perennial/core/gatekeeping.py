"""Whether a wish to retrain is granted. All times are the data's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from perennial.contracts import GateResult
from perennial.contracts.monitoring import RequestSource, VerdictOutcome
from perennial.core.evidence import Evidence, describe_news

Answer = Literal["granted", "declined"]

_WEEK = timedelta(days=7)
# Follow-ups in vain after which a champion is left to its verdicts.
_SETTLED = 3
# Who asks knowing more than the figures: these are told, and not held to patience.
_PEOPLE: frozenset[RequestSource] = frozenset({"person", "api"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The spec's `retrain`, `label.min_mature_ratio`, and `monitoring.drift.importance_ratio`."""

    on: Sequence[VerdictOutcome]
    cooldown: timedelta
    max_per_week: int
    min_age: timedelta
    max_age: timedelta | None
    min_mature_ratio: float
    new_rows_ratio: float
    importance_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A request, and how things stand when it is looked at.

    Parameters
    ----------
    outcome, is_persistent, faults
        Of the latest verdict at `as_of`; `faults` are the reasons of its findings that block. Empty where there is no verdict.
    mature_ratio
        Share of the labels that should have come by `as_of` that have. None where nobody knows.
    trained_at
        End of the data that the champion learned from; None where there is no champion.
    granted_at
        The `as_of` of requests granted before, in any order; later ones than this wish's too.
    open_run
        The retraining that runs or waits, in a few words; empty where there is none.
    is_forced
        A person asks in spite of broken data or late labels.
    is_follow_up
        The champion came of a bad verdict, and enough rows are new since.
    evidence
        What the request rests on.
    in_vain
        What the monitor's earlier requests rested on that were granted and trained, and after which the same champion serves.
    new_ratio
        Rows since the latest of those, as a part of the training set of then.
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
    is_follow_up: bool = False
    evidence: Evidence = field(default_factory=Evidence)
    in_vain: Sequence[Evidence] = ()
    new_ratio: float = 0.0

    @property
    def age(self) -> timedelta | None:
        """How long ago the champion's data ended."""
        return None if self.trained_at is None else self.as_of - self.trained_at


def decide_request(wish: Wish, policy: Policy) -> tuple[Answer, tuple[GateResult, ...]]:
    """Ask every question; granted where no answer is no. Each says what it saw and against what, also where it was gone over.

    | gate | monitor | schedule | person, API |
    | --- | --- | --- | --- |
    | `not_running` | asked | asked | asked |
    | `data_healthy`, `labels_mature` | asked | asked | asked, unless forced |
    | `persistent` | asked, unless the champion is over `max_age`, it is a follow-up, or there is none | | |
    | `new_evidence` | asked | | |
    | `cooldown`, `min_age`, `max_per_week` | asked | asked | |
    """
    gates = tuple(gate(wish, policy) for gate in _GATES)
    return ("granted" if all(gate.passed for gate in gates) else "declined"), gates


def _not_running(wish: Wish, _policy: Policy) -> GateResult:
    reason = f"{wish.open_run} and comes first" if wish.open_run else "no retraining runs or waits"
    return GateResult(
        gate="not_running", passed=not wish.open_run, reason=reason, value=float(bool(wish.open_run)), threshold=0.0
    )


def _data_healthy(wish: Wish, _policy: Policy) -> GateResult:
    n = len(wish.faults)
    reason = f"the data is broken: {'; '.join(wish.faults)}" if n else "no data fault is known"
    return _may_force(wish, GateResult(gate="data_healthy", passed=not n, reason=reason, value=float(n), threshold=0.0))


def _labels_mature(wish: Wish, policy: Policy) -> GateResult:
    """What nobody knows stops a monitor that goes by a verdict, and nobody else: training counts the labels again.

    Windows with few rows or none do not tell, and must not keep a champion that is too old.
    """
    value, limit = wish.mature_ratio, policy.min_mature_ratio
    if value is None:
        reason = "nobody knows how many of the labels that should be there have come"
        passed = wish.source != "monitor" or _is_too_old(wish, policy)
    else:
        passed = value >= limit
        reason = f"{value:.1%} of the labels that should be there have come, {'at least' if passed else 'under'} {limit:.1%}"
    return _may_force(wish, GateResult(gate="labels_mature", passed=passed, reason=reason, value=value, threshold=limit))


def _persistent(wish: Wish, policy: Policy) -> GateResult:
    age, value = wish.age, float(wish.is_persistent)
    if wish.source != "monitor":
        reason, passed = "only a monitor has to show that something is wrong again and again", True
    elif age is None:
        reason, passed = "there is no champion to wait for", True
    elif policy.max_age is not None and _is_too_old(wish, policy):
        reason, passed = f"the champion is {_days(age)} old, more than {_days(policy.max_age)}: no bad verdict is needed", True
    elif wish.is_follow_up:
        reason, passed = "the champion came of a bad verdict and is followed up: no other one is needed", True
    elif wish.outcome not in policy.on:
        reason, passed = (
            f"the verdict is {wish.outcome or 'not known'}; {' or '.join(policy.on) or 'none'} leads to a retraining",
            False,
        )
    else:
        passed = wish.is_persistent
        reason = (
            f"the verdict {wish.outcome} {'persists' if passed else 'does not persist: too few of the latest windows were bad'}"
        )
    return GateResult(gate="persistent", passed=passed, reason=reason, value=value, threshold=1.0)


def _new_evidence(wish: Wish, policy: Policy) -> GateResult:
    """Value and threshold are parts of the training set; the threshold doubles with each retraining that was in vain."""
    n = len(wish.in_vain)
    limit = limit_new_rows(n, policy) if n else 0.0
    if wish.source != "monitor" or not n:
        reason, passed = (
            "no retraining on this evidence was in vain" if not n else "only a monitor has to have new evidence",
            True,
        )
    elif news := describe_news(wish.evidence, wish.in_vain, least_importance=policy.importance_ratio / 2):
        reason, passed = f"new since {_times(n)} led to no new champion: {news}", True
    else:
        passed = wish.new_ratio >= limit
        reason = (
            f"{_times(n)} on this evidence led to no new champion; since then about {wish.new_ratio:.1%} of the training rows "
            f"are new, limit {limit:.1%}"
        )
    return GateResult(gate="new_evidence", passed=passed, reason=reason, value=wish.new_ratio, threshold=limit)


def limit_new_rows(n_in_vain: int, policy: Policy) -> float:
    """New rows that are waited for after so many retrainings in vain, one or more; as a part of the training set."""
    return min(1.0, policy.new_rows_ratio * 2.0 ** (n_in_vain - 1))


def should_follow_up(new_ratio: float, n_in_vain: int, policy: Policy, *, ratio: float) -> bool:
    """Whether a champion that a bad verdict led to is retrained again.

    A few of the latest windows were bad as it was trained, so that it has learned few rows of what they hold, and what it is
    compared with, its own holdout, is no better.

    Parameters
    ----------
    new_ratio
        Rows since its data ended, or since the latest retraining in vain, as a part of its training set.
    ratio
        The spec's `retrain.follow_up_ratio`: the limit before any was in vain. After three it counts as settled.

    References
    ----------
    benchmarks/decisions: share of the possible gain with and without.
    """
    return n_in_vain < _SETTLED and new_ratio >= (limit_new_rows(n_in_vain, policy) if n_in_vain else ratio)


def _times(n: int) -> str:
    return "a retraining" if n == 1 else f"{n} retrainings"


def _cooldown(wish: Wish, policy: Policy) -> GateResult:
    """Whichever of the two is the later: a wish of an earlier time may be looked at after the one that came later."""
    limit = policy.cooldown / timedelta(days=1)
    if not wish.granted_at:
        return GateResult(gate="cooldown", passed=True, reason="no retraining was granted before", threshold=limit)
    distance = min(abs(wish.as_of - each) for each in wish.granted_at)
    passed = distance >= policy.cooldown
    reason = f"the nearest retraining that was granted is {_days(distance)} away, {_least(passed)} {_days(policy.cooldown)}"
    value = distance / timedelta(days=1)
    return _may_pass(wish, GateResult(gate="cooldown", passed=passed, reason=reason, value=value, threshold=limit))


def _min_age(wish: Wish, policy: Policy) -> GateResult:
    age, limit = wish.age, policy.min_age / timedelta(days=1)
    if age is None:
        return GateResult(gate="min_age", passed=True, reason="there is no champion that could be too young", threshold=limit)
    passed = age >= policy.min_age
    reason = f"the champion's data ended {_days(age)} ago, {_least(passed)} {_days(policy.min_age)}"
    value = age / timedelta(days=1)
    return _may_pass(wish, GateResult(gate="min_age", passed=passed, reason=reason, value=value, threshold=limit))


def _max_per_week(wish: Wish, policy: Policy) -> GateResult:
    n = sum(wish.as_of - _WEEK < each <= wish.as_of for each in wish.granted_at)
    passed = n < policy.max_per_week
    reason = f"{n} retrainings were granted in the seven days before, {'under' if passed else 'not under'} {policy.max_per_week}"
    limit = float(policy.max_per_week)
    return _may_pass(wish, GateResult(gate="max_per_week", passed=passed, reason=reason, value=float(n), threshold=limit))


def _is_too_old(wish: Wish, policy: Policy) -> bool:
    return wish.age is not None and policy.max_age is not None and wish.age > policy.max_age


def _may_force(wish: Wish, gate: GateResult) -> GateResult:
    if gate.passed or not (wish.is_forced and wish.source in _PEOPLE):
        return gate
    return replace(gate, passed=True, reason=f"{gate.reason}; forced all the same")


def _may_pass(wish: Wish, gate: GateResult) -> GateResult:
    if gate.passed or wish.source not in _PEOPLE:
        return gate
    return replace(gate, passed=True, reason=f"{gate.reason}; somebody asks all the same")


def _days(duration: timedelta) -> str:
    hours = duration / timedelta(hours=1)
    return f"{hours:.1f} hours" if abs(hours) < 48 else f"{hours / 24:.1f} days"


def _least(passed: bool) -> str:
    return "at least" if passed else "under"


_GATES: tuple[Callable[[Wish, Policy], GateResult], ...] = (
    _not_running,
    _data_healthy,
    _labels_mature,
    _persistent,
    _new_evidence,
    _cooldown,
    _min_age,
    _max_per_week,
)
