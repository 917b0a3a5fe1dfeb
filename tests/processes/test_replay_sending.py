import json
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from perennial.adapters.state.replays import Replayed
from perennial.config.settings import Settings
from perennial.errors import UnavailableError
from perennial.steps import replay_sending
from perennial.steps.replay_sending import RowRequest, Sender

APRIL = Replayed(model="flights", start=datetime(2013, 4, 1, tzinfo=UTC), end=datetime(2013, 5, 1, tzinfo=UTC), prefix="replay:")
LOST = 0


class Gateway(ThreadingHTTPServer):
    """Answers each request id with its scripted statuses, then with 200, and logs what a bento would have logged."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: dict[str, list[int]] = {}
        self.log: dict[str, int] = {}
        self.seen: Counter[str] = Counter()
        self.order: list[str] = []
        self.headers: dict[str, str] = {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def do_POST(self) -> None:
        rows = json.loads(self.rfile.read(int(self.headers["content-length"])))["rows"]
        request_id, self.server.headers = self.headers["x-request-id"], dict(self.headers)
        self.server.seen[request_id] += 1
        self.server.order.append(request_id)
        waiting = self.server.script.get(request_id, [])
        status = waiting.pop(0) if waiting else 200
        if status in (200, LOST):
            self.server.log[request_id] = len(rows)
        if status == LOST:
            self.close_connection = True
            return
        body = json.dumps({"error": {"message": "carrier is missing"}} if status == 422 else {}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """A gateway whose log is what the sender reads, and a sender that does not wait long."""
    with Gateway() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setattr(Sender, "_read_logged", lambda *_: dict(server.log))
        monkeypatch.setattr(replay_sending, "_PAUSE_SECONDS", 0.01)
        yield server
        server.shutdown()


def sender(gateway: Gateway, rate: float | None = None) -> Sender:
    settings = Settings.load({"PERENNIAL_GATEWAY_PORT": str(gateway.server_port)})
    return Sender("flights", settings=settings, headers={"authorization": "Basic c2VjcmV0"}, rate=rate)


def requests(*names: str) -> list[RowRequest]:
    return [RowRequest(request_id=name, rows=[{"miles": 1}, {"miles": 2}]) for name in names]


def test_every_request_goes_out_once_with_its_id_and_the_callers_key(gateway: Gateway) -> None:
    counted: list[int] = []
    sent = sender(gateway).send(requests("a", "b", "c"), APRIL, count=counted.append)
    assert (sent.n_rows, sent.n_requests, sent.n_before, sent.n_failed) == (6, 3, 0, 0)
    assert gateway.seen == {"a": 1, "b": 1, "c": 1}
    assert gateway.headers["authorization"] == "Basic c2VjcmV0"
    assert sum(counted) == 6


def test_what_the_log_holds_is_not_sent_again(gateway: Gateway) -> None:
    gateway.log = {"a": 2, "other": 5}
    counted: list[int] = []
    sent = sender(gateway).send(requests("a", "b"), APRIL, count=counted.append)
    assert (sent.n_rows, sent.n_before) == (4, 1)
    assert gateway.seen == {"b": 1}
    assert sum(counted) == 4


def test_an_answer_of_the_gateway_alone_leaves_a_request_to_be_sent_again(gateway: Gateway) -> None:
    gateway.script = {"a": [503, 502, 504]}
    sent = sender(gateway).send(requests("a", "b"), APRIL, count=lambda _: None)
    assert (sent.n_rows, sent.n_failed) == (4, 0)
    assert gateway.seen == {"a": 4, "b": 1}


def test_a_lost_answer_that_is_in_the_log_is_not_asked_for_again(gateway: Gateway) -> None:
    gateway.script = {"a": [LOST]}
    sent = sender(gateway).send(requests("a"), APRIL, count=lambda _: None)
    assert (sent.n_rows, sent.n_failed) == (2, 0)
    assert gateway.seen == {"a": 1}


def test_a_refused_request_is_counted_with_its_words_and_not_sent_again(gateway: Gateway) -> None:
    gateway.script = {"b": [422], "c": [500]}
    sent = sender(gateway).send(requests("a", "b", "c"), APRIL, count=lambda _: None)
    assert (sent.n_rows, sent.n_requests, sent.n_failed) == (2, 3, 2)
    assert sent.fault in ('422 to b: {"error": {"message": "carrier is missing"}}', "500 to c: {}")
    assert gateway.seen == {"a": 1, "b": 1, "c": 1}


def test_a_gateway_that_stays_away_ends_the_replay(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.script = {"a": [503] * 1000}
    monkeypatch.setattr(replay_sending, "_PATIENCE_SECONDS", 0.05)
    with pytest.raises(UnavailableError, match="answers none of 1 requests"):
        sender(gateway).send(requests("a"), APRIL, count=lambda _: None)


def test_a_rate_spreads_the_requests_and_keeps_their_order(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(replay_sending.time, "sleep", slept.append)
    names = [f"{number:03d}" for number in range(10)]
    sender(gateway, rate=10.0).send(requests(*names), APRIL, count=lambda _: None)
    assert max(slept) == pytest.approx(18 / 10, abs=0.3)
    assert sorted(gateway.order) == names
