"""When a change counts as taken."""

import itertools
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from perennial.adapters.gateway import Upstream, probing, wait_until_reachable, wait_until_taken, write_config
from perennial.errors import UnavailableError
from support.free_ports import find_free_port
from support.serving.gateway_calls import HOST, lead


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "WITHIN_SECONDS", 0.5)


def test_one_worker_behind_the_others_is_waited_for(unused):
    """A server whose every eighth connection meets a worker with the old routes."""
    n_connections = itertools.count(1)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("x-gateway-config", "old" if next(n_connections) % 8 == 0 else "new")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer((HOST, unused.gateway_port), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        with pytest.raises(UnavailableError, match="has not taken the new routes"):
            wait_until_taken(unused, "new")
        server.shutdown()


def test_without_a_gateway_the_wait_ends_with_a_next_step(unused):
    with pytest.raises(UnavailableError, match="perennial status"):
        wait_until_taken(unused, write_config(unused, {}))


def test_a_version_that_is_away_is_not_reachable(settings):
    lead(settings, {"late": [Upstream(model_version=4, host=HOST, port=find_free_port(), weight=0)]})
    with pytest.raises(UnavailableError, match="versions/4/readyz was not ready"):
        wait_until_reachable(settings, "late", 4)
