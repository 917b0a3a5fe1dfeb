"""Envoy with our bootstrap, before anything is released."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from perennial.adapters.gateway import Upstream, wait_until_taken, write_config
from perennial.contracts import MAX_BODY_BYTES
from perennial.stack import gateway
from perennial.stack.waiting import wait_until
from support.serving.gateway_calls import client

pytestmark = pytest.mark.integration

PREDICT = "/v1/models/m/predict"


@pytest.fixture
def settings(stack):
    return stack.up("gateway")


@pytest.fixture
def caller(settings) -> Iterator[httpx.Client]:
    with client(settings) as calling:
        yield calling


@pytest.fixture
def model():
    """A server in a bento's place, which answers with the size of the request."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = len(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"size": size, "request_id": self.headers["x-request-id"]}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_model_that_is_not_there_is_a_404_that_says_so(caller):
    answer = caller.post("/v1/models/x/predict", json={"rows": []})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_model"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_the_gateways_own_health_does_not_depend_on_models(caller):
    assert caller.get("/health").status_code == 200


def test_a_request_keeps_its_id_and_gets_one_if_it_has_none(settings, caller, model):
    route(settings, model.server_address)
    own = caller.post(PREDICT, json={}, headers={"x-request-id": "mine"})
    assert (own.headers["x-request-id"], own.json()["request_id"]) == ("mine", "mine")
    made = caller.post(PREDICT, json={})
    assert made.headers["x-request-id"] == made.json()["request_id"] != "mine"


def test_a_body_may_be_large_but_not_larger_than_the_limit(settings, caller, model):
    route(settings, model.server_address)
    size = 20 * 1024 * 1024
    assert caller.post(PREDICT, content=b"x" * size).json()["size"] == size
    # One byte too many: all of it is read before it is refused, so that no connection is closed on what is still being sent.
    answer = caller.post(PREDICT, content=b"x" * (MAX_BODY_BYTES + 1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_a_model_that_is_away_is_a_503_that_says_so(settings, caller, model):
    host, port = model.server_address
    model.server_close()
    route(settings, (host, port))
    answer = caller.post(PREDICT, json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")


def test_every_request_is_a_line_of_json_in_the_log(settings, caller):
    made = caller.get("/v1/models", headers={"x-request-id": "to-be-found"})
    assert made.status_code == 200
    log = settings.paths.logs / "gateway.log"
    assert wait_until(lambda: "to-be-found" in log.read_text(), seconds=30)
    (line,) = (line for line in log.read_text().splitlines() if "to-be-found" in line)
    assert json.loads(line)["status"] == 200


def test_routes_that_a_release_wrote_are_not_written_over(make_stack):
    settings = make_stack().settings
    gateway.write_files(settings)
    write_config(settings, {"m": []})
    before = (settings.paths.gateway / "routes.yaml").read_text()
    gateway.write_files(settings)
    assert (settings.paths.gateway / "routes.yaml").read_text() == before


def route(settings, address) -> None:
    upstream = Upstream(model_version=1, host=address[0], port=address[1])
    wait_until_taken(settings, write_config(settings, {"m": [upstream]}))
