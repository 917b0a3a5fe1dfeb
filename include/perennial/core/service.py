"""Whether a service let its callers down in a window."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perennial.contracts.monitoring import Finding
from perennial.core.stage_statistics import bounds

# Below these, a figure is an anecdote.
_MIN_LATENCIES = 30
_MIN_CLEAR = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """The spec's `monitoring.service`."""

    error_ratio: float
    refused_ratio: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests of a window, from the tables `traffic` and `prediction`, and the rows in them. `latencies_ms` may be a sample."""

    n_requests: int
    n_failed: int
    n_refused: int
    n_rows: int = 0
    n_refused_rows: int = 0
    latencies_ms: Sequence[float] = ()


def judge_service(traffic: Traffic, limits: ServiceLimits) -> tuple[Finding, ...]:
    """Hold what callers saw against the spec.

    Returns
    -------
    Findings of the aspect `service`, subject empty: `requests`, `error_ratio` (5xx), `refused_ratio` (4xx),
    `refused_row_ratio` (told only), `p50_ms`, `p95_ms`, `p99_ms`. A ratio is breached over its limit by its lower bound (99 %)
    too and by three requests or more; the 99th percentile where by the same bound more than one request in a hundred is slower
    than the limit. Undefined without requests, or under 30 latencies.
    """
    n = traffic.n_requests
    return (
        Finding(aspect="service", measure="requests", reason=f"{n} requests came", value=float(n)),
        _judge_ratio("error_ratio", "failed", traffic.n_failed, n, limits.error_ratio),
        _judge_ratio("refused_ratio", "were refused", traffic.n_refused, n, limits.refused_ratio),
        _tell_rows(traffic),
        *_judge_latency(traffic.latencies_ms, limits.p99_ms),
    )


def _judge_ratio(measure: str, what: str, n_hits: int, n: int, limit: float) -> Finding:
    if not n:
        return Finding(aspect="service", measure=measure, reason="no request came", threshold=limit)
    value = n_hits / n
    is_breached = n_hits >= _MIN_CLEAR and bounds(n_hits, n)[0] > limit
    reason = f"{n_hits} of {n} requests {what} ({value:.1%}), {'at most' if value <= limit else 'more than'} {limit:.1%}"
    reason += ", which may be chance" if value > limit and not is_breached else ""
    return Finding(aspect="service", measure=measure, reason=reason, breached=is_breached, value=value, threshold=limit)


def _tell_rows(traffic: Traffic) -> Finding:
    """The rows of one request are refused together, so that how many they are proves nothing more than the requests do."""
    n, n_refused = traffic.n_rows, traffic.n_refused_rows
    if not n:
        return Finding(aspect="service", measure="refused_row_ratio", reason="no row came")
    reason = f"{n_refused} of {n} rows came in requests that were refused ({n_refused / n:.1%})"
    return Finding(aspect="service", measure="refused_row_ratio", reason=reason, value=n_refused / n)


def _judge_latency(latencies_ms: Sequence[float], limit: float) -> list[Finding]:
    n = len(latencies_ms)
    if n < _MIN_LATENCIES:
        reason = f"{n} latencies are too few to tell; {_MIN_LATENCIES} are needed"
        return [Finding(aspect="service", measure=f"p{percent}_ms", reason=reason) for percent in (50, 95, 99)]
    values = np.asarray(latencies_ms, dtype=np.float64)
    p50, p95, p99 = (float(np.quantile(values, each, method="higher")) for each in (0.5, 0.95, 0.99))
    is_breached = p99 > limit and bounds(int((values > limit).sum()), n)[0] > 0.01
    reason = f"99 % of {n} requests took up to {p99:.1f} ms, {'at most' if p99 <= limit else 'more than'} {limit:g} ms"
    reason += ", which may be chance" if p99 > limit and not is_breached else ""
    return [
        Finding(aspect="service", measure="p50_ms", reason=f"half of the requests took up to {p50:.1f} ms", value=p50),
        Finding(aspect="service", measure="p95_ms", reason=f"95 % of the requests took up to {p95:.1f} ms", value=p95),
        Finding(aspect="service", measure="p99_ms", reason=reason, breached=is_breached, value=p99, threshold=limit),
    ]
