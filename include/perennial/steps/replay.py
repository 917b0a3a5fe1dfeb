"""Logged requests in place of live ones, where too few callers come for a judgement."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from perennial.adapters.bentos import Answer, BentoClient
from perennial.adapters.state.observations import RecordedRequest, RequestCounts
from perennial.core.stage_observation import Pair, Seen, Side
from perennial.errors import UnavailableError

# So many between two judgements: a challenger that fails is not asked all of them.
_AT_A_TIME = 25
# One that takes longer has failed; so many of them between two judgements last two minutes.
_TIMEOUT_SECONDS = 5.0

NO_REPLAY = Seen(challenger=Side(), champion=Side())


@dataclass(slots=True)
class _Tally:
    n_sent: int = 0
    n_unfit: int = 0
    n_failed: int = 0
    theirs_ms: list[float] = field(default_factory=list)
    # By content of the row, and both predictions.
    pairs: Counter[tuple[str, float, float]] = field(default_factory=Counter)

    def to_seen(self) -> Seen:
        n_judged = self.n_sent - self.n_unfit
        return Seen(
            challenger=Side(n_requests=n_judged, n_failed=self.n_failed),
            champion=Side(n_requests=n_judged, latencies_ms=tuple(self.theirs_ms)),
            pairs=tuple(Pair(challenger=ours, champion=theirs, n=n) for (_, ours, theirs), n in self.pairs.items()),
            n_replayed=self.n_sent,
            n_unfit=self.n_unfit,
        )


def replay(requests: Sequence[RecordedRequest], *, host: str, port: int) -> Iterator[Seen]:
    """Send requests that the champion answered to the challenger's bento, past the gateway; yields what was seen so far.

    A request that does not fit the challenger's fields (422) is counted, and says nothing against it. How long the challenger
    took is in the prediction log, measured where the champion's latencies are: in the bento.
    """
    tally = _Tally()
    with BentoClient(host, port, timeout_seconds=_TIMEOUT_SECONDS) as client:
        for number, request in enumerate(requests, start=1):
            _send(client, request, tally)
            if number % _AT_A_TIME == 0 or number == len(requests):
                yield tally.to_seen()


def count_replayed(seen: Seen) -> RequestCounts:
    """Requests that the challenger's bento counted of these."""
    return RequestCounts(n_requests=seen.n_replayed, n_failed=seen.challenger.n_failed, n_refused=seen.n_unfit)


def _send(client: BentoClient, request: RecordedRequest, tally: _Tally) -> None:
    body = json.dumps({"rows": request.rows}).encode()
    headers = {"content-type": "application/json", "x-perennial-source": "replay", "x-request-id": request.request_id}
    tally.n_sent += 1
    try:
        answer = client.ask("POST", "/predict", body, headers=headers)
    except UnavailableError:
        tally.n_failed += 1
        return
    if answer.status == 200:
        tally.theirs_ms.append(request.milliseconds)
        tally.pairs.update(_pair(request, answer))
    elif 400 <= answer.status < 500:
        tally.n_unfit += 1
    else:
        tally.n_failed += 1


def _pair(request: RecordedRequest, answer: Answer) -> Iterator[tuple[str, float, float]]:
    predictions: Sequence[dict[str, float]] = answer.content["predictions"]  # type: ignore[assignment]
    for row, ours, theirs in zip(request.rows, predictions, request.predictions, strict=True):
        yield json.dumps(row, sort_keys=True), float(ours["probability"]), theirs
