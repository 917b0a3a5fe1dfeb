"""What stops a challenger that is watched beside the champion. Each rule returns what was measured, against what, and why.

A rule is asked again and again while a stage runs. Until its end (`final`), a figure over its limit only counts where it is
clear that it is no accident. At the end failures must be likely to be no accident, and latency and labels count as they stand.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from perennial.contracts import Measure
from perennial.core.stage_observation import Seen
from perennial.core.stage_statistics import (
    Z_CLEAR,
    Z_LIKELY,
    Z_SURE,
    bounds,
    compute_shift,
    least_difference,
    percentile_95,
)

# The class predicted is 1 from this probability on, as the bento says it to callers.
_THRESHOLD = 0.5
# Below these, a figure is an anecdote.
_MIN_LATENCIES = 30
_MIN_PAIRS = 30
_MIN_PREDICTIONS = 50
_MIN_EXPECTED = 50
_MIN_ARRIVED = 0.2
# One request can fail anywhere; a third one is a pattern, if there are not many others.
_MIN_CLEAR = 3
# A process may be killed once by somebody else.
_MAX_RESTARTS = 1

_Show = Callable[[float], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The limits of the spec."""

    error_ratio: float
    latency_ratio: float
    latency_floor_ms: float
    disagreement_ratio: float
    log_odds_shift: float
    memory_mb: float
    ready_seconds: float


def judge(seen: Seen, thresholds: Thresholds, *, final: bool) -> tuple[Measure, ...]:
    """Every rule that applies to what was seen: pairs where rows were copied or replayed, else the two samples.

    Parameters
    ----------
    final
        The stage's time is over: what is over its limit counts with less proof, or none.
    """
    measures = [
        judge_errors(seen, thresholds, final=final),
        judge_refusals(seen, thresholds),
        judge_arrivals(seen),
        judge_latency(seen, thresholds, final=final),
        *([judge_agreement(seen, thresholds, final=final)] if seen.pairs else []),
        judge_shift(seen, thresholds),
        judge_memory(seen, thresholds),
        judge_restarts(seen),
        judge_readiness(seen, thresholds),
        *([describe_replay(seen)] if seen.n_replayed else []),
    ]
    return tuple(measures)


def judge_errors(seen: Seen, thresholds: Thresholds, *, final: bool) -> Measure:
    """The challenger must not fail (5xx) for a share of requests that exceeds the champion's by more than the limit.

    The champion's share in the same window is what callers live with today, whatever its reason (a busy machine). From the table
    `traffic`, and what the bentos counted beyond it. Clear: three failures or more, and the difference is over the limit by its
    lower bound too (99 %). At the end: three or more, over the limit, and the lower bound (95 %) shows some difference at least.
    """
    n, n_failed = seen.challenger.n_answerable, seen.challenger.n_failed
    theirs = (seen.champion.n_failed, seen.champion.n_answerable)
    champion, value = _ratio(*theirs), _ratio(n_failed, n)
    limit = (champion or 0.0) + thresholds.error_ratio
    if value is None:
        return Measure(measure="error_ratio", passed=True, reason="no request was answered", threshold=limit, champion=champion)
    least = _least_excess((n_failed, n), theirs, z=Z_LIKELY if final else Z_CLEAR)
    passed = n_failed < _MIN_CLEAR or value <= limit or least <= (0.0 if final else thresholds.error_ratio)
    reason = f"{n_failed} of {n} requests failed ({value:.1%}), {_at_most(value, limit, _percent)}{_beside(champion, _percent)}"
    return Measure(
        measure="error_ratio",
        passed=passed,
        reason=reason + _doubt(passed=passed, over=value > limit),
        value=value,
        threshold=limit,
        champion=champion,
    )


def _least_excess(ours: tuple[int, int], theirs: tuple[int, int], *, z: float) -> float:
    """By how much our share is over theirs at least. Where they answered nobody, nobody lives with failures: over none."""
    return least_difference(ours, theirs, z=z) if theirs[1] else bounds(*ours, z=z)[0]


def judge_refusals(seen: Seen, thresholds: Thresholds) -> Measure:
    """The challenger must not refuse (4xx) what the champion takes: callers would see an error that they did not make.

    What both refuse is the callers' fault. Which request was refused is not on record, so the shares are compared, and the
    difference must be clear at the end too. From the table `traffic`.
    """
    n, n_refused = seen.challenger.n_requests, seen.challenger.n_refused
    theirs = (seen.champion.n_refused, seen.champion.n_requests)
    champion, value = _ratio(*theirs), _ratio(n_refused, n)
    limit = (champion or 0.0) + thresholds.error_ratio
    if value is None:
        return Measure(measure="refusal_ratio", passed=True, reason="no request arrived", threshold=limit, champion=champion)
    passed = n_refused < _MIN_CLEAR or least_difference((n_refused, n), theirs) <= thresholds.error_ratio
    reason = f"{n_refused} of {n} requests were refused ({value:.1%}), {_at_most(value, limit, _percent)}"
    return Measure(
        measure="refusal_ratio",
        passed=passed,
        reason=reason + _beside(champion, _percent) + _doubt(passed=passed, over=value > limit),
        value=value,
        threshold=limit,
        champion=champion,
    )


def judge_arrivals(seen: Seen) -> Measure:
    """Of the requests that its share of the traffic should have brought, the challenger must have answered at least a fifth.

    One that hangs answers nothing and so has no errors and no latency; one that fails again and again is led past by the gateway.
    A fifth leaves room for chance, and for copies that the gateway leaves out on a machine with more load than it can bear.
    """
    value, least = _ratio(seen.n_arrived, seen.n_expected), _MIN_ARRIVED
    if value is None or seen.n_expected < _MIN_EXPECTED:
        return Measure(measure="answered_ratio", passed=True, reason="too few requests to tell", threshold=least)
    passed = value >= least
    how = "at least" if passed else "under"
    reason = f"{seen.n_arrived} of about {seen.n_expected} requests were answered, {how} {least:.0%}"
    return Measure(measure="answered_ratio", passed=passed, reason=reason, value=value, threshold=least)


def judge_latency(seen: Seen, thresholds: Thresholds, *, final: bool) -> Measure:
    """The challenger's 95th percentile must not exceed so many times the champion's; below the floor nobody cares.

    Measured in the bento, from a request's headers to its answer. Clear: the share of requests slower than the limit is over
    5 % by its lower bound too.
    """
    ours, theirs = seen.challenger.latencies_ms, seen.champion.latencies_ms
    if min(len(ours), len(theirs)) < _MIN_LATENCIES:
        reason = f"too few requests to tell: {len(ours)}, and {len(theirs)} of the champion; {_MIN_LATENCIES} are needed"
        return Measure(measure="latency", passed=True, reason=reason)
    value, champion = percentile_95(ours), percentile_95(theirs)
    limit = max(thresholds.latency_ratio * champion, thresholds.latency_floor_ms)
    n_slow = sum(each > limit for each in ours)
    passed = value <= limit if final else bounds(n_slow, len(ours))[0] <= 0.05
    reason = f"95 % of {len(ours)} requests took up to {value:.1f} ms, {_at_most(value, limit, _milliseconds)}"
    return Measure(
        measure="latency",
        passed=passed,
        reason=reason + _beside(champion, _milliseconds) + _doubt(passed=passed, over=value > limit),
        value=value,
        threshold=limit,
        champion=champion,
    )


def judge_agreement(seen: Seen, thresholds: Thresholds, *, final: bool) -> Measure:
    """The challenger must not give another label than the champion to more than this share of the same rows.

    A retrained model differs at the edge; one that differs everywhere is another model. Clear: by the lower bound too.
    """
    n, limit = sum(pair.n for pair in seen.pairs), thresholds.disagreement_ratio
    if n < _MIN_PAIRS:
        reason = f"too few rows to tell: {n}; {_MIN_PAIRS} are needed"
        return Measure(measure="disagreement", passed=True, reason=reason, threshold=limit)
    n_other = sum(pair.n for pair in seen.pairs if (pair.challenger >= _THRESHOLD) != (pair.champion >= _THRESHOLD))
    value = n_other / n
    passed = value <= limit if final else bounds(n_other, n)[0] <= limit
    reason = f"{n_other} of {n} rows got another label than from the champion ({value:.1%}), {_at_most(value, limit, _percent)}"
    reason += _doubt(passed=passed, over=value > limit)
    return Measure(measure="disagreement", passed=passed, reason=reason, value=value, threshold=limit)


def judge_shift(seen: Seen, thresholds: Thresholds) -> Measure:
    """The challenger's predictions must not be higher or lower than the champion's, in the mean, by more than the limit.

    In log-odds, so that a model of rare events is held to the same. Over the limit by the lower bound too (99.9 %), at the end
    as before it. Each different row counts once: a caller who repeats one row says nothing about others. Without pairs no more
    rows count than there were requests.
    """
    limit = thresholds.log_odds_shift
    ours: Sequence[float] = [pair.challenger for pair in seen.pairs] or seen.challenger.predictions
    theirs: Sequence[float] = [pair.champion for pair in seen.pairs] or seen.champion.predictions
    sizes = None if seen.pairs else (seen.challenger.n_sampled_requests, seen.champion.n_sampled_requests)
    if min(len(ours), len(theirs), *(sizes or ())) < _MIN_PREDICTIONS:
        reason = f"too few different rows to tell: {min(len(ours), len(theirs))}; {_MIN_PREDICTIONS} are needed"
        return Measure(measure="shift", passed=True, reason=reason, threshold=limit)
    difference, error = compute_shift(ours, theirs, sizes=sizes)
    value = abs(difference)
    passed = value - Z_SURE * error <= limit
    reason = (
        f"predictions of {len(ours)} rows are {'lower' if difference < 0 else 'higher'} by {value:.2f} in log-odds, in the mean, "
        f"{_at_most(value, limit, '{:.2f}'.format)}{_doubt(passed=passed, over=value > limit)}"
    )
    return Measure(measure="shift", passed=passed, reason=reason, value=value, threshold=limit)


def judge_memory(seen: Seen, thresholds: Thresholds) -> Measure:
    """The process must not hold more memory than the spec allows. A leak gets there, if the stage is long enough.

    Resident memory, as the bento's own `/metrics` says it. A fact, no sample: it needs no proof.
    """
    limit, value = thresholds.memory_mb, seen.memory_mb
    if value is None:
        return Measure(measure="memory", passed=True, reason="the process did not say how much it holds", threshold=limit)
    reason = f"the process holds {value:.0f} MB, {_at_most(value, limit, '{:.0f} MB'.format)}"
    return Measure(measure="memory", passed=value <= limit, reason=reason, value=value, threshold=limit)


def judge_restarts(seen: Seen) -> Measure:
    """The process must not end again and again; once may be somebody else's doing."""
    passed = seen.n_restarts <= _MAX_RESTARTS
    reason = f"the process was started anew {seen.n_restarts} times, {'at most' if passed else 'more than'} {_MAX_RESTARTS}"
    value, limit = float(seen.n_restarts), float(_MAX_RESTARTS)
    return Measure(measure="restarts", passed=passed, reason=reason, value=value, threshold=limit)


def judge_readiness(seen: Seen, thresholds: Thresholds) -> Measure:
    """The challenger must be ready through the gateway, and not be away for longer than a start may take."""
    value, limit = seen.unready_seconds, thresholds.ready_seconds
    passed = value <= limit
    reason = f"it was not ready for {value:.0f} s on end, {_at_most(value, limit, '{:.0f} s'.format)}"
    return Measure(measure="unready_seconds", passed=passed, reason=reason, value=value, threshold=limit)


def describe_replay(seen: Seen) -> Measure:
    """How many logged requests stood in for live ones. Those of another schema say nothing for or against a model."""
    unfit = f"; {seen.n_unfit} of them do not fit this version's fields any more" if seen.n_unfit else ""
    reason = f"{seen.n_replayed} logged requests stood in for live ones{unfit}"
    return Measure(measure="replayed", passed=True, reason=reason, value=float(seen.n_replayed))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _milliseconds(value: float) -> str:
    return f"{value:.1f} ms"


def _at_most(value: float, limit: float, show: _Show) -> str:
    return f"{'at most' if value <= limit else 'more than'} {show(limit)}"


def _beside(champion: float | None, show: _Show) -> str:
    return f" (champion: {'unknown' if champion is None else show(champion)})"


def _doubt(*, passed: bool, over: bool) -> str:
    return ", which may be chance so far" if passed and over else ""
