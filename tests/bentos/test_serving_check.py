"""What a release asks of a running bento."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bento_sample import FEATURES, ROW
from perennial.adapters.bentos import BentoClient
from perennial.config.spec_release import Release
from perennial.errors import ReleaseError
from perennial.steps.serving_check import check_answers, check_budget, check_refusals

TYPES = {name: {"type": kind, "nullable": nullable} for name, (kind, nullable) in FEATURES.items()}


def test_a_sound_bento_passes_with_its_figures(bento):
    measured = check_answers(bento.path, "127.0.0.1", bento.port, spec=Release())
    assert measured.n_rows == 1 and measured.largest_difference <= 1e-12
    assert 0 < measured.p99_ms < 250
    assert 50 < measured.memory_mb < 2048


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"p99_ms": 1e-6}, r"^99th percentile of single rows: \d+\.\d ms, allowed 1e-06 ms"),
        ({"memory_mb": 1.5}, r"^memory of the bento's process: \d+\.\d MB, allowed 1\.5 MB"),
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
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(500 if re.fullmatch(lenient, body) else 422)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_): ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        with BentoClient("127.0.0.1", server.server_port) as client:
            with pytest.raises(ReleaseError, match=rf"\({named}\) was answered 500"):
                check_refusals(client, ROW, features=TYPES)
        server.shutdown()
