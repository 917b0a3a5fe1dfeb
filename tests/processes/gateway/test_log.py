"""What the gateway keeps of a request: one id for all who see it, and nothing that is not meant for a log."""

import json
import uuid

import pytest

from support.serving.gateway_calls import PREDICT, Server, ask, exchange, lead
from support.waiting import wait_for

KEPT = ["mine-1", "a", "-", "A.b_c:D-9", "x" * 128]
UNFIT = ["", "a b", "me@example.org", "x" * 129, "x" * 3000, "a,b", "%REQ(A)%", '"}{', "a\u00ff"]
# Refused before anybody looks at the id.
EARLY = {
    "OPTIONS * HTTP/1.1\r\nhost: x": 404,
    "GET /%00 HTTP/1.1\r\nhost: x": 400,
    "GET /v1/models HTTP/1.1": 400,
    "GET /v1/models HTTP/1.0": 426,
    "GET /v1/models HTTP/1.1\r\nhost: x\r\nbad name: 1": 400,
    "GET /v1/models HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade": 403,
}


def lines(settings, *, request_id: str) -> list[dict]:
    """What the log says of a request, once it does."""
    log, found = settings.paths.logs / "gateway.log", []

    def is_written() -> bool:
        written = (json.loads(line) for line in log.read_text().splitlines() if line.startswith("{") and line.endswith("}"))
        found[:] = [line for line in written if line["request_id"] == request_id]
        return bool(found)

    wait_for(is_written, what="the log tells of it")
    return found


@pytest.fixture
def servers(settings, serve):
    """A champion and its shadow."""
    champion, shadow = serve(Server(1)), serve(Server(2))
    lead(settings, {"late": [champion.upstream(), shadow.upstream(0, mirror_percent=100)]})
    return champion, shadow


@pytest.mark.parametrize("given", [*KEPT, *UNFIT])
def test_gateway_bento_and_shadow_have_one_id_and_it_is_fit_for_a_log(settings, servers, given):
    answer = ask(settings, headers={"x-request-id": given})
    request_id = answer.headers["x-request-id"]
    assert request_id == (given if given in KEPT else str(uuid.UUID(request_id)))
    wait_for(lambda: all(server.requests for server in servers))
    assert [server.requests[0].headers["x-request-id"] for server in servers] == [request_id] * 2


@pytest.mark.parametrize("request_line", EARLY)
@pytest.mark.parametrize("given", ["mine-2", "me@example.org", "x" * 129, None])
def test_a_refusal_does_not_repeat_an_id_that_is_none(settings, servers, request_line, given):
    head = request_line if given is None else f"{request_line}\r\nx-request-id: {given}"
    answer = exchange(settings, f"{head}\r\n\r\n".encode())
    assert answer.status == EARLY[request_line]
    assert answer.content["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-request-id"] == "mine-2" or uuid.UUID(answer.headers["x-request-id"])


def test_the_log_has_neither_queries_nor_ids_that_are_none(settings, servers):
    secret = "me@example.org"
    asked = [
        ask(settings, path, headers={"x-request-id": secret}) for path in (f"{PREDICT}?mail={secret}", f"/v1/models?q={secret}")
    ]
    refused = exchange(settings, f"GET /%00?{secret} HTTP/1.1\r\nhost: x\r\nx-request-id: {secret}\r\n\r\n".encode())
    forged = ask(settings, "/v1/models", headers={"x-envoy-original-path": f"/{secret}"})
    found = [lines(settings, request_id=answer.headers["x-request-id"]) for answer in (*asked, refused, forged)]
    assert [[line["path"] for line in each] for each in found] == [[PREDICT], ["/v1/models"], ["/%00"], ["/v1/models"]]
    assert servers[0].requests[0].path == f"/predict?mail={secret}"
    assert secret not in (settings.paths.logs / "gateway.log").read_text()
