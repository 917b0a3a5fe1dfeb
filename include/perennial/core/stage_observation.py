"""What was seen of a challenger and the champion in the window of one stage."""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one version did in a stage's window. `n_requests` counts all of them, failed (5xx) and refused (4xx) too.

    `latencies_ms` has one value per answered request. `predictions` has one per different row; `n_sampled_requests` are those
    that they come from.
    """

    n_requests: int = 0
    n_failed: int = 0
    n_refused: int = 0
    latencies_ms: Sequence[float] = ()
    predictions: Sequence[float] = ()
    n_sampled_requests: int = 0

    @property
    def n_answerable(self) -> int:
        """Requests that were right: what a caller got wrong says nothing about a model."""
        return self.n_requests - self.n_refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A row that both versions predicted, seen `n` times."""

    challenger: float
    champion: float
    n: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that was seen of both in a stage's window. None is unknown.

    `n_expected` requests should have reached the challenger by its share of the traffic, and `n_arrived` were answered.
    """

    challenger: Side
    champion: Side
    pairs: Sequence[Pair] = ()
    n_expected: int = 0
    n_arrived: int = 0
    memory_mb: float | None = None
    n_restarts: int = 0
    unready_seconds: float = 0.0
    n_replayed: int = 0
    n_unfit: int = 0


def join(live: Seen, replayed: Seen) -> Seen:
    """What was seen of live requests and of replayed ones, as one; all but the requests is as it was seen live."""
    return replace(
        live,
        challenger=_join_sides(live.challenger, replayed.challenger),
        champion=_join_sides(live.champion, replayed.champion),
        pairs=(*live.pairs, *replayed.pairs),
        n_replayed=replayed.n_replayed,
        n_unfit=replayed.n_unfit,
    )


def _join_sides(one: Side, other: Side) -> Side:
    return Side(
        n_requests=one.n_requests + other.n_requests,
        n_failed=one.n_failed + other.n_failed,
        n_refused=one.n_refused + other.n_refused,
        latencies_ms=(*one.latencies_ms, *other.latencies_ms),
        predictions=(*one.predictions, *other.predictions),
        n_sampled_requests=one.n_sampled_requests + other.n_sampled_requests,
    )
