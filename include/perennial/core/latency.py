"""How long single rows take, judged so that a busy machine fails no model."""

import math
from collections.abc import Sequence

from perennial.contracts import Measure


def best_p99(rounds: Sequence[Sequence[float]]) -> float:
    """The least 99th percentile of several rounds: a busy neighbour slows some of them, a slow model all.

    Parameters
    ----------
    rounds
        Durations of each round, one or more, in any unit; the result has the same.

    Examples
    --------
    >>> best_p99([[3.0, 90.0], [2.0, 4.0]])
    4.0
    """
    return min(sorted(each)[max(0, math.ceil(0.99 * len(each)) - 1)] for each in rounds)


def judge_latency(p99_ms: float, champion_ms: float | None, *, at_most: float, ratio: float) -> Measure:
    """Hold a challenger's 99th percentile against its limit, and where it is over it, against the champion's of the same minute.

    A champion that is over the limit itself shows that the machine is busy, or that the limit is under what is served already:
    up to `ratio` times its own figure is then no fault of the challenger. A value that is no number fails.

    Parameters
    ----------
    champion_ms
        None where no champion runs.
    at_most
        The spec's `release.p99_ms`.
    ratio
        The spec's `release.limits.latency_ratio`.

    Examples
    --------
    >>> judge_latency(300.0, 280.0, at_most=250, ratio=2).passed, judge_latency(300.0, 20.0, at_most=250, ratio=2).passed
    (True, False)
    """
    is_excused = champion_ms is not None and champion_ms > at_most and p99_ms <= ratio * champion_ms
    passed = p99_ms <= at_most or is_excused
    reason = f"99 % of single rows took up to {p99_ms:.1f} ms in the best round, {at_most:g} ms is the limit"
    if champion_ms is not None:
        reason += f"; the champion took {champion_ms:.1f} ms in the same minute"
        reason += f", so that up to {ratio:g} times that is allowed" if is_excused and p99_ms > at_most else ""
    return Measure(measure="p99", passed=passed, reason=reason, value=p99_ms, threshold=at_most, champion=champion_ms)
