"""Logged requests that a challenger takes too long for."""

import socket
import time

import pytest

from perennial.adapters.state.observations import RecordedRequest
from perennial.steps.replay import count_replayed, replay


def test_one_that_never_answers_has_failed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perennial.steps.replay._TIMEOUT_SECONDS", 0.1)
    requests = [RecordedRequest(request_id=str(n), rows=({"a": n},), predictions=(0.5,), milliseconds=1.0) for n in range(3)]
    with socket.create_server(("127.0.0.1", 0)) as server:
        started = time.monotonic()
        (seen,) = replay(requests, host="127.0.0.1", port=server.getsockname()[1])
    assert time.monotonic() - started < 10
    assert (seen.n_replayed, count_replayed(seen).n_failed, seen.challenger.latencies_ms) == (3, 3, ())
