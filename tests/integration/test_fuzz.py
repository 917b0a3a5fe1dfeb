"""Thousands of requests that nobody would send on purpose: the gateway and the bento answer every one, and neither fails.

Repeat a failure with the command that the report gives; look further with another `--seed`.
"""

import gzip
import http.client
import itertools
import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import jsonschema
import pytest

from perennial.adapters import supervisor
from perennial.config.settings import Settings
from support.serving.flights import MODEL, flight_row, serve_flights
from support.serving.gateway_calls import client

pytestmark = [
    pytest.mark.integration,
    # With the documentation's examples, which ask the same model.
    pytest.mark.xdist_group("integration/flights"),
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

URL = f"/v1/models/{MODEL}"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "allow_header_conformance",
    "negative_data_rejection",
    "positive_data_acceptance",
)
# 413 is how too many rows are refused; an id that is none is replaced, not refused.
CONFIGURATION = """
[checks.negative_data_rejection]
expected-statuses = [400, 404, 405, 413, 422]
"""


@pytest.fixture
def settings(stack) -> Iterator[Settings]:
    """The stack, where the model serves; what is asked in the test ends no process of it."""
    settings = stack.up("postgres", "gateway", "mlflow")
    serve_flights(settings)
    before = processes(settings)
    yield settings
    assert processes(settings) == before


@pytest.fixture
def row(settings) -> dict[str, object]:
    return flight_row(settings)


def processes(settings: Settings) -> dict[str, int | None]:
    states = supervisor.program_states(settings)
    return {state.program: state.pid for state in states if state.program == "gateway" or state.program.startswith("bento__")}


@pytest.mark.parametrize(
    ("n_examples", "at_least"), [(40, 300), pytest.param(400, 1_500, marks=pytest.mark.soak)], ids=["short", "long"]
)
def test_what_the_published_interface_says_is_so(settings, tmp_path, n_examples: int, at_least: int):
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    command = [
        str(Path(sys.executable).parent / "st"), "run", f"{settings.gateway_url}{URL}/openapi.json",
        "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing", "--max-examples", str(n_examples),
        "--suppress-health-check", "all", "--continue-on-failure", "--generation-database", "none",
        "--seed", "20130401", "--workers", "2", "--no-color",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    n_cases = int(done.stdout.split(" generated")[0].split()[-1].replace(",", ""))
    assert n_cases > at_least


def test_no_body_breaks_it(settings, row):
    found = {}
    with client(settings) as caller:
        error = caller.get(f"{URL}/openapi.json").json()["components"]["schemas"]["Error"]
        for (name, body), endpoint in itertools.product(bodies(row).items(), ("predict", "explain")):
            answer = caller.post(f"{URL}/{endpoint}", content=body, headers={"content-type": "application/json"})
            found[f"{endpoint}: {name}"] = answer.status_code
            jsonschema.validate(answer.json(), error)
            assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert {name: status for name, status in found.items() if status not in (400, 413, 422)} == {}


def bodies(row: Mapping[str, object]) -> Mapping[str, bytes]:
    """Bodies that are no valid request, though some nearly are."""
    whole, field = json.dumps({"rows": [row]}), next(iter(row))
    deep = 100_000
    return {
        "nothing": b"",
        "blanks": b" \n\t " * 1_000,
        "not text": bytes(range(256)),
        "cut short": whole.encode()[:-3],
        "twice": (whole * 2).encode(),
        "zipped": gzip.compress(whole.encode()),
        "UTF-16": whole.encode("utf-16"),
        "byte order mark": b"\xef\xbb\xbf" + whole.encode(),
        "overlong UTF-8": b'{"rows": "\xc0\xaf"}',
        "half a surrogate as bytes": b'{"rows": [{"' + field.encode() + b'": "\xed\xa0\x80"}]}',
        "half a surrogate as escape": json.dumps({"rows": [dict(row, **{field: "\ud800"})]}).encode(),
        "deep lists": b"[" * deep + b"]" * deep,
        "deep objects": b'{"rows":' * deep + b"1" + b"}" * deep,
        "deep in a row": b'{"rows": [{"x": ' + b"[" * deep + b"]" * deep + b"}]}",
        "open lists": b"[" * deep,
        "huge integer": b'{"rows": [' + b"9" * 100_000 + b"]}",
        "huge exponent": b'{"rows": [1e999999999]}',
        "NaN": b'{"rows": [NaN]}',
        "duplicate rows": b'{"rows": [], "rows": []}',
        "other field": b'{"rows": [{}], "__proto__": {}}',
        "many fields": json.dumps({"rows": [{f"f{n}": n for n in range(50_000)}]}).encode(),
        "long name": json.dumps({"rows": [{"x" * 1_000_000: 1}]}).encode(),
        "many empty rows": json.dumps({"rows": [{}] * 10_000}).encode(),
        "too many rows": json.dumps({"rows": [None] * 1_000_000}).encode(),
        "row of lists": json.dumps({"rows": [[[]]] * 100}).encode(),
        **{f"{value!r} for all": json.dumps({"rows": value}).encode() for value in (None, True, 0, "", {}, [], [None], ["x"])},
        **{
            f"{value!r} for a field": json.dumps({"rows": [dict.fromkeys(row, value)]}).encode()
            for value in ({}, [], [row], 10**400, -(10**30), {"$ref": "#"})
        },
    }


def test_no_form_of_a_request_breaks_it(settings, row):
    found = {name: status_of(settings, request) for name, request in requests(json.dumps({"rows": [row]}).encode()).items()}
    assert {name: status for name, status in found.items() if not 200 <= status < 500} == {}
    # What came before did no harm to what comes after.
    with client(settings) as caller:
        assert caller.post(f"{URL}/predict", json={"rows": [row]}).status_code == 200


def requests(body: bytes) -> Mapping[str, bytes]:
    """Requests byte by byte: methods, paths, headers and framings out of the ordinary."""
    methods = ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "post", "P\u00d6ST", "X" * 100)
    paths = (
        "/", "//", "*", "predict", "/v1", "/v1/models", "/v1/models/", "/v1/models//predict", "http://elsewhere/v1/models",
        "/v1/models/\u00e4/predict", "/v1/models/%ff%fe/predict", "/v1/models/{model}/predict",
        f"{URL}/predict/", f"{URL}//predict", f"{URL}/./predict", f"{URL}/x/../predict", f"{URL}%2Fpredict", f"{URL}/%70redict",
        f"{URL}/predict%00", f"{URL}/predict#x", f"{URL}/predict?{'a=1&' * 5_000}", f"{URL}/metadata;a=b",
        f"{URL}/docs/../../../etc/passwd", f"{URL}/docs/%2e%2e/metrics", f"{URL}/docs/{'x' * 8_000}",
        f"{URL}/versions/1/readyz", f"{URL}/versions/-1/readyz", f"{URL}/versions/{'9' * 400}/readyz",
    )  # fmt: skip
    headers = (
        "content-type: text/plain", "content-type: application/xml; charset=utf-7", "content-encoding: gzip",
        "accept: image/png", "accept-encoding: zstd, *;q=0", "expect: 100-continue", "range: bytes=0-1", "te: trailers",
        "x-request-id: ", "x-request-id: a b", "x-request-id: \u00ff", f"x-request-id: {'a' * 5_000}",
        'x-request-id: "}{%REQ(A)%', "x-perennial-source: replay", "x-perennial-source: nonsense", "x-model-version: 99",
        "traceparent: nonsense", "x-envoy-upstream-rq-timeout-ms: 1x", "x-envoy-original-path: /metrics",
        "x-forwarded-for: 1.2.3.4, \u00ff", "x-http-method-override: DELETE", "authorization: Basic ????",
        "cookie: a=b; c", "host: other", "\r\n\r\n",
    )  # fmt: skip
    length = f"content-length: {len(body)}\r\n"
    chunks = b"".join(b"1\r\n" + body[at : at + 1] + b"\r\n" for at in range(len(body)))
    return {
        **{
            f"method {method}": request(f"{method} {path}")
            for method in methods
            for path in (f"{URL}/predict", f"{URL}/metadata")
        },
        **{f"{method} {path[:60]}": request(f"{method} {path}") for method in ("GET", "POST") for path in paths},
        **{header[:60]: request(f"POST {URL}/predict", f"{length}{header}\r\n", body) for header in headers},
        "one byte a chunk": request(f"POST {URL}/predict", "transfer-encoding: chunked\r\n", chunks + b"0\r\n\r\n"),
        "trailers": request(f"POST {URL}/predict", "transfer-encoding: chunked\r\n", chunks + b"0\r\nx-trailer: 1\r\n\r\n"),
        "more than said": request(f"POST {URL}/predict", "content-length: 2\r\n", body),
        "broken chunk": request(f"POST {URL}/predict", "transfer-encoding: chunked\r\n", b"FFFFFFFFFFFFFFFF1\r\n"),
        "two encodings": request(f"POST {URL}/predict", "transfer-encoding: gzip, chunked\r\n", chunks + b"0\r\n\r\n"),
        "huge length": request(f"POST {URL}/predict", "content-length: 99999999999999999999999\r\n", body),
        "many headers": request(f"GET {URL}/metadata", "".join(f"x-{n}: {n}\r\n" for n in range(1_000))),
    }


def request(line: str, headers: str = "", body: bytes = b"") -> bytes:
    head = f"{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n"
    return head.encode("latin-1") + body


def status_of(settings: Settings, request: bytes) -> int:
    """The status that comes back, whatever was sent; an answer is complete, and of the form of every error if it is one."""
    with socket.create_connection((settings.gateway_host, settings.gateway_port), timeout=40) as connection:
        connection.sendall(request)
        answer = http.client.HTTPResponse(connection, method=request.split(b" ", 1)[0].decode("latin-1"))
        answer.begin()
        content = answer.read()
        assert answer.headers["x-model-version"] and answer.headers["x-request-id"]
        if answer.status >= 400 and content:
            assert set(json.loads(content)["error"]) == {"code", "message", "details"}
        return answer.status
