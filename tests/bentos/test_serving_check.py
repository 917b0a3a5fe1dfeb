"""What a release asks of a running bento."""

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from perennial.adapters.bentos import BentoClient, read_golden_file, read_model_file
from perennial.config.spec_release import Release
from perennial.errors import ReleaseError
from perennial.steps.serving_check import BentoAddress, _check_parity, check_answers, check_budget, check_refusals, time_in_turn
from support.serving.bento_sample import FEATURES, ROW

Server = Callable[[str, bytes], tuple[int, bytes]]
TYPES = {name: {"type": kind, "nullable": nullable} for name, (kind, nullable) in FEATURES.items()}


@contextlib.contextmanager
def run_server(answer: Server) -> Iterator[int]:
    """Something that answers on a port: status and body by path and body asked."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self):
            status, content = answer(self.path, self.rfile.read(int(self.headers.get("content-length", 0))))
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_): ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server.server_port
        server.shutdown()


def address(bento, port: int | None = None) -> BentoAddress:
    return BentoAddress(path=bento.path, host="127.0.0.1", port=port or bento.port)


def test_a_sound_bento_passes_with_its_figures(bento):
    measured = check_answers(address(bento), spec=Release(p99_ms=60_000))
    assert measured.n_rows == 1 and measured.largest_difference <= 1e-12
    assert measured.p99_ms > 0
    assert 50 < measured.memory_mb < 2048


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"p99_ms": 1e-6}, r"^99th percentile of single rows: .* up to \d+\.\d ms in the best round, 1e-06 ms is the limit"),
        ({"memory_mb": 1.5, "p99_ms": 60_000}, r"^memory of the bento's process: \d+\.\d MB, allowed 1\.5 MB"),
    ],
)
def test_over_budget_is_refused_with_measure_value_and_threshold(bento, change, complaint):
    with pytest.raises(ReleaseError, match=complaint):
        check_answers(address(bento), spec=Release(**change))


def sound_answer(_path: str, body: bytes) -> tuple[int, bytes]:
    return 200, json.dumps({"predictions": [{"probability": 0.5} for _ in json.loads(body)["rows"]]}).encode()


def test_the_best_round_counts_and_the_champion_is_asked_in_between(bento):
    now, asked = [0.0], []

    def take(who: str, milliseconds: Callable[[int], float]) -> Server:
        """A server on a clock of its own: how long an answer takes depends on how many it has given."""

        def answer(path: str, body: bytes) -> tuple[int, bytes]:
            now[0] += milliseconds(asked.count(who)) / 1000
            asked.append(who)
            return sound_answer(path, body)

        return answer

    def busy_first(n: int) -> float:
        return 900.0 if n < 2 else 4.0

    with run_server(take("challenger", busy_first)) as ours, run_server(take("champion", lambda _: 7.0)) as theirs:
        with BentoClient("127.0.0.1", ours) as client:
            timed = time_in_turn(client, [ROW], address(bento, theirs), clock=lambda: now[0])
    assert timed.p99_ms == pytest.approx(4.0)
    assert timed.champion_p99_ms == pytest.approx(7.0)
    assert len(timed.probabilities) == asked.count("challenger")
    turns = [who for number, who in enumerate(asked) if number == 0 or asked[number - 1] != who]
    assert turns == ["challenger", "champion"] * 4


def test_a_champion_that_does_not_answer_is_left_out(bento):
    with run_server(sound_answer) as ours, run_server(lambda *_: (500, b"{}")) as theirs:
        with BentoClient("127.0.0.1", ours) as client:
            timed = time_in_turn(client, [ROW], address(bento, theirs), clock=time.perf_counter)
    assert timed.champion_p99_ms is None


def test_a_figure_that_is_no_number_is_over_every_budget():
    with pytest.raises(ReleaseError, match="nan ms, allowed 5 ms"):
        check_budget("latency", float("nan"), unit="ms", at_most=5, key="p99_ms")


@pytest.mark.parametrize(
    ("lenient", "named"),
    [
        (rb'{"rows": \[', "no JSON"),
        (rb'{"rows": \[\]}', "no rows"),
        (rb'{"rows": \[{}\]}', "a row without any field"),
        (rb'.*"no such field".*', "an unknown field"),
        (rb'.*"seats": {}.*', "an object for seats"),
        (rb'.*"carrier": null.*', "null for carrier"),
    ],
)
def test_a_malformed_request_that_is_not_refused_is_named(lenient, named):
    with run_server(lambda _path, body: (500 if re.fullmatch(lenient, body) else 422, b"{}")) as port:
        with BentoClient("127.0.0.1", port) as client:
            with pytest.raises(ReleaseError, match=rf"\({named}\) was answered 500"):
                check_refusals(client, ROW, features=TYPES)


MEMORY = b"process_resident_memory_bytes"


@pytest.mark.parametrize(
    ("path", "content", "complaint"),
    [
        ("/metadata", b"{", "its model is None, not 'late'"),
        ("/metadata", b"[]", "its model is None, not 'late'"),
        ("/predict", b'{"predictions": [', "golden rows were answered 200: {}"),
        ("/predict", b'{"predictions": [{"label": 1}]}', "without a probability: None in"),
        ("/predict", b'{"predictions": [0.5]}', "without a probability: None in"),
        ("/predict", b'{"predictions": [{"probability": "0.5"}]}', "without a probability: '0.5' in"),
        ("/predict", b'{"predictions": []}', "0 predictions for 1 golden rows"),
        ("/predict", b'{"predictions": [{"probability": NaN}]}', "golden row 0 is predicted differently: nan served"),
        ("/metrics", b"", "memory of the bento's process: unknown, its /metrics has no process_resident_memory_bytes"),
        ("/metrics", MEMORY + b" much\n", "memory of the bento's process: unknown"),
        ("/metrics", b"\xff\nx y z\n# HELP x\n" + MEMORY + b" 9e99\n", r"memory of the bento's process: \d+\.\d MB, allowed"),
    ],
)
def test_a_challenger_that_answers_nonsense_is_refused_by_measure(bento, path, content, complaint):
    golden, model = read_golden_file(bento.path), read_model_file(bento.path)
    sound = {"predictions": [{"probability": each} for each in golden["probabilities"]]}

    def answer(asked: str, body: bytes) -> tuple[int, bytes]:
        if asked == "/predict" and body != json.dumps({"rows": golden["rows"]}).encode():
            return 422, b"{}"
        answers = {"/metadata": json.dumps(model), "/predict": json.dumps(sound), "/metrics": f"{MEMORY.decode()} 1.5e8\n"}
        return 200, content if asked == path else answers[asked].encode()

    with run_server(answer) as port, pytest.raises(ReleaseError, match=complaint):
        check_answers(address(bento, port), spec=Release(p99_ms=60_000))


def test_a_prediction_that_is_no_number_is_the_worst_of_all():
    with pytest.raises(ReleaseError, match="golden row 1 is predicted differently: nan served"):
        _check_parity([0.1, float("nan"), 0.3], [0.1, 0.2, 0.3], tolerance=1.0)
