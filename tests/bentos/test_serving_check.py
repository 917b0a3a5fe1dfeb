"""What a release asks of a running bento."""

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from perennial.adapters.bentos import BentoClient, read_golden_file, read_model_file
from perennial.config.spec_release import Release
from perennial.errors import ReleaseError
from perennial.steps.serving_check import _check_parity, check_answers, check_budget, check_refusals
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


def test_a_sound_bento_passes_with_its_figures(bento):
    measured = check_answers(bento.path, "127.0.0.1", bento.port, spec=Release(p99_ms=60_000))
    assert measured.n_rows == 1 and measured.largest_difference <= 1e-12
    assert measured.p99_ms > 0
    assert 50 < measured.memory_mb < 2048


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"p99_ms": 1e-6}, r"^99th percentile of single rows: \d+\.\d ms, allowed 1e-06 ms"),
        ({"memory_mb": 1.5, "p99_ms": 60_000}, r"^memory of the bento's process: \d+\.\d MB, allowed 1\.5 MB"),
    ],
)
def test_over_budget_is_refused_with_measure_value_and_threshold(bento, change, complaint):
    with pytest.raises(ReleaseError, match=complaint):
        check_answers(bento.path, "127.0.0.1", bento.port, spec=Release(**change))


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
        check_answers(bento.path, "127.0.0.1", port, spec=Release(p99_ms=60_000))


def test_a_prediction_that_is_no_number_is_the_worst_of_all():
    with pytest.raises(ReleaseError, match="golden row 1 is predicted differently: nan served"):
        _check_parity([0.1, float("nan"), 0.3], [0.1, 0.2, 0.3], tolerance=1.0)
