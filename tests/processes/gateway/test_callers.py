"""Who may call, where keys are required."""

import pytest

from perennial.adapters.gateway import hash_key
from support.serving.gateway_calls import PREDICT, Server, ask, basic, client, exchange, lead

KEYS = {"shop": "key-of-shop", "desk.2": "key-of-desk"}
ODD_PATHS = (
    "//v1/models", "/v1//models", "/V1/MODELS", "/v1/models/late%2Fpredict", "/v1/models/late/%70redict", "/v1/%2e%2e/v1/models",
    "/health/../v1/models", "/health/..%2fv1/models", "/health/config/../../v1/models", "/health/", "/health%2f",
    "/Health", "/health;/v1/models", "/health?/v1/models", "/health/config/", "/health/config;x", "/%68ealth/x", "/health\\v1",
    "\\v1\\models", "/v1/models/late/versions/1/readyz/../../../predict", "/v1/models/late/versions/1/readyz;/predict",
    "/v1/models/late/versions/1/readyz%2f..%2fpredict", "/v1/models/late/versions/2/readyz", "http://x/v1/models", "*", "x",
)  # fmt: skip
HASHES = {caller: hash_key(key) for caller, key in KEYS.items()}


def test_where_keys_are_off_everybody_may_call(settings, serve):
    server = serve(Server(1))
    lead(settings, {"late": [server.upstream()]})
    answers = [ask(settings, headers=headers) for headers in ({}, basic("shop", "wrong"), {"authorization": "Bearer x"})]
    assert [answer.status for answer in answers] == [200, 200, 200]


def test_a_caller_needs_its_own_key(settings, serve):
    server = serve(Server(1))
    lead(settings, {"late": [server.upstream()]}, callers=HASHES)
    assert [ask(settings, headers=basic(*each)).status for each in KEYS.items()] == [200, 200]
    assert [request.headers["x-perennial-caller"] for request in server.requests] == ["shop", "desk.2"]
    refused = (
        {},
        basic("shop", KEYS["desk.2"]),
        basic("nobody", KEYS["shop"]),
        basic("-", ""),
        basic("shop", ""),
        basic("shop", HASHES["shop"]),
        {"authorization": "Bearer " + KEYS["shop"]},
        {"authorization": "Basic ?"},
    )
    assert [ask(settings, headers=headers).status for headers in refused] == [401] * len(refused)
    assert len(server.requests) == 2


def test_a_refusal_has_the_form_of_every_error(settings, serve):
    lead(settings, {"late": [serve(Server(1)).upstream()]}, callers=HASHES)
    answer = ask(settings, headers={"x-request-id": "id-7"})
    assert (answer.status, answer.code, answer.version) == (401, "unauthorized", "none")
    assert answer.headers["www-authenticate"] == 'Basic realm="perennial"'
    assert answer.content["request_id"] == answer.headers["x-request-id"] == "id-7"


@pytest.mark.parametrize("callers", [{}, {"desk.2": HASHES["desk.2"]}])
def test_a_revoked_key_is_refused_at_once(settings, serve, callers):
    models = {"late": [serve(Server(1)).upstream()]}
    with client(settings, caller="shop", key=KEYS["shop"]) as shop:
        lead(settings, models, callers=HASHES)
        assert shop.post(PREDICT, json={}).status_code == 200
        lead(settings, models, callers=callers)
        assert shop.post(PREDICT, json={}).status_code == 401


def test_probes_need_no_key_and_everything_else_does(settings, serve):
    lead(settings, {"late": [serve(Server(1)).upstream()]}, callers=HASHES)
    open_paths = ("/health", "/health/config", "/v1/models/late/versions/1/readyz")
    assert {ask(settings, path, method="GET").status for path in open_paths} == {200}
    prefix = "/v1/models/late"
    others = (
        "/",
        "/v1/models",
        "/v1/models/nope/predict",
        *(f"{prefix}/{end}" for end in ("metadata", "docs", "docs/x.js", "nope")),
    )
    assert {path: ask(settings, path, method="GET").status for path in others} == dict.fromkeys(others, 401)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_way_of_writing_a_path_leads_past_the_key(settings, serve, method):
    server = serve(Server(1))
    lead(settings, {"late": [server.upstream()]}, callers=HASHES)
    head = "HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"
    answers = {path: exchange(settings, f"{method} {path} {head}".encode()) for path in ODD_PATHS}
    assert {path: answer.status for path, answer in answers.items() if answer.status not in (400, 401)} == {}
    assert server.requests == []


def test_a_bento_sees_the_caller_but_no_key_and_no_forged_name(settings, serve):
    server = serve(Server(1))
    forged = {"x-perennial-caller": "boss"}
    lead(settings, {"late": [server.upstream()]})
    ask(settings, headers=basic("shop", KEYS["shop"]) | forged)
    lead(settings, {"late": [server.upstream()]}, callers=HASHES)
    ask(settings, headers=basic("shop", KEYS["shop"]) | forged)
    assert [request.headers.get("x-perennial-caller") for request in server.requests] == [None, "shop"]
    assert not [request for request in server.requests if "authorization" in request.headers]
