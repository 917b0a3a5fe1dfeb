"""Small upstreams for a gateway to lead to, and calls through it."""

import base64
import http.client
import json
import socket
import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from perennial.adapters.gateway import Models, Upstream, wait_until_taken, write_config
from perennial.config.settings import Settings
from support.waiting import wait_for

HOST = "127.0.0.1"
PREDICT = "/v1/models/late/predict"


@dataclass(frozen=True)
class Request:
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Server:
    """An upstream that answers as a version of a model does, or fails in its place."""

    model_version: int
    port: int = 0
    status: int = 200
    hangs_up: bool = False
    is_held: bool = False
    says_version: bool = True
    requests: list[Request] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    def upstream(self, weight: int = 100, *, mirror_percent: int = 0, is_canary: bool = False) -> Upstream:
        return Upstream(
            model_version=self.model_version, host=HOST, port=self.port, weight=weight, mirror_percent=mirror_percent,
            is_canary=is_canary,
        )  # fmt: skip


def start_server(server: Server) -> ThreadingHTTPServer:
    """Serve on a port of its own, until the caller shuts it down."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body are two writes; together they would wait for each other's acknowledgement.
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.requests.append(Request(self.path, headers, body))
            if server.is_held:
                wait_for(lambda: not server.is_held)
            if server.hangs_up:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self._answer(json.dumps({"version": server.model_version}).encode())

        do_GET = do_POST  # noqa: N815

        def _answer(self, content: bytes) -> None:
            self.send_response(server.status)
            self.send_header("content-length", str(len(content)))
            if server.says_version:
                self.send_header("x-model-version", str(server.model_version))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    listening = ThreadingHTTPServer((HOST, 0), Handler)
    listening.daemon_threads = True
    server.port = listening.server_port
    threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return listening


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    content: dict

    @property
    def code(self) -> str:
        return self.content["error"]["code"]

    @property
    def version(self) -> str:
        return self.headers["x-model-version"]


def ask(settings: Settings, path: str = PREDICT, *, method: str = "POST", headers: Mapping[str, str] | None = None) -> Answer:
    connection = http.client.HTTPConnection(settings.gateway_host, settings.gateway_port, timeout=20)
    try:
        connection.request(method, path, body=b"{}" if method == "POST" else None, headers=dict(headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, json.loads(answer.read() or b"null"))
    finally:
        connection.close()


def exchange(settings: Settings, request: bytes) -> Answer:
    """Send bytes as they are, and read the answer to them."""
    with socket.create_connection((HOST, settings.gateway_port), timeout=20) as connection:
        connection.sendall(request)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, json.loads(answer.read() or b"null"))


def client(settings: Settings, *, caller: str = "", key: str = "") -> httpx.Client:
    """Calls over one connection, as patient as the gateway is."""
    return httpx.Client(base_url=settings.gateway_url, auth=(caller, key) if caller else None, timeout=40)


def answers(settings: Settings) -> bool:
    """Whether a gateway runs and has its routes."""
    try:
        return ask(settings, "/health/config", method="GET").status == 200
    except OSError:
        return False


def ask_often(settings: Settings, n: int) -> Counter[tuple[int, str]]:
    """How often which status came from which version."""
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(settings), range(n)))
    return Counter((answer.status, answer.version) for answer in answers)


def basic(caller: str, key: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{caller}:{key}".encode()).decode()}


def lead(
    settings: Settings, models: Models, *, retired: Mapping[str, str] | None = None, callers: Mapping[str, str] | None = None
) -> None:
    wait_until_taken(settings, write_config(settings, models, retired=retired, callers=callers))
