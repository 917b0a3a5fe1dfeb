"""Whether a service let its callers down in a window."""

from collections.abc import Sequence
from dataclasses import dataclass

from perennial.contracts.monitoring import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """The spec's `monitoring.service`."""

    error_ratio: float
    refused_ratio: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests of a window, from the tables `traffic` and `prediction`. `latencies_ms` may be a sample of them."""

    n_requests: int
    n_failed: int
    n_refused: int
    latencies_ms: Sequence[float] = ()


def judge_service(traffic: Traffic, limits: ServiceLimits) -> tuple[Finding, ...]:
    """Findings of aspect `service`: `requests`, `error_ratio`, `refused_ratio`, `p50_ms`, `p95_ms`, `p99_ms`.

    A ratio is breached over its limit by its lower bound too (99 %); `p99_ms` where more than one request in a hundred is believably
    slower than the limit.
    """
    raise NotImplementedError
