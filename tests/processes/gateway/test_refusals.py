"""What the gateway says to what is hardly HTTP: every refusal has the form of every error."""

import pytest

from support.serving.gateway_calls import Server, exchange, lead

PREDICT = b"POST /v1/models/late/predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
READ = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
REFUSED = {
    "no HTTP": (400, b"GARBAGE\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9 + b"\r\n\r\n"),
    "no host": (400, b"GET /v1/models HTTP/1.1\r\n\r\n"),
    "header without a value": (400, PREDICT + b"nonsense\r\n\r\n"),
    "name with a blank": (400, PREDICT + b"x-request-id: mine\r\nbad name: 1\r\n\r\n"),
    "negative length": (400, PREDICT + b"content-length: -1\r\n\r\n"),
    "two lengths": (400, PREDICT + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello"),
    "length and chunks": (400, PREDICT + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
    "broken chunks": (400, PREDICT + b"transfer-encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n"),
    "unknown encoding": (400, PREDICT + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "unheard-of method": (400, b"FROBNICATE /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
    "path with a null": (400, b"GET /%00 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
    "no path": (404, b"OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
    "upgrade": (403, b"GET /v1/models HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"),
    "old HTTP": (426, b"GET /v1/models HTTP/1.0\r\n\r\n"),
    "huge header": (431, READ + b"x-big: " + b"a" * 70_000 + b"\r\n\r\n"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_has_the_form_of_every_error(settings, serve, name):
    server = serve(Server(1))
    lead(settings, {"late": [server.upstream()]})
    status, request = REFUSED[name]
    answer = exchange(settings, request)
    assert (answer.status, server.requests) == (status, [])
    assert set(answer.content["error"]) == {"code", "message", "details"}
    assert answer.content["request_id"] == answer.headers["x-request-id"] != ""
    assert answer.version == "none"


def test_a_header_that_could_be_taken_for_another_is_dropped(settings, serve):
    server = serve(Server(1))
    lead(settings, {"late": [server.upstream()]})
    assert exchange(settings, PREDICT + b"x_request_id: a\r\ncontent-length: 2\r\n\r\n{}").status == 200
    assert "x_request_id" not in server.requests[0].headers
