"""Envoy itself in front of small upstreams: what it answers, how it splits, and that a change of routes costs no request."""

import http.client
import itertools
import json
import os
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from perennial.adapters import gateway, supervisor
from perennial.adapters.gateway import Upstream, wait_until_reachable, wait_until_taken, write_config
from perennial.config.settings import Settings
from perennial.errors import UnavailableError
from perennial.stack import gateway as envoy
from perennial.stack.waiting import wait_until

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return probe.getsockname()[1]


def settings_in(folder: Path) -> Settings:
    return Settings.load({"PERENNIAL_VAR": str(folder), "PERENNIAL_GATEWAY_PORT": str(free_port())})


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Iterator[Settings]:
    """A running Envoy with the stack's own bootstrap."""
    settings = settings_in(tmp_path_factory.mktemp("var"))
    supervisor.make_runtime_folder(settings)
    envoy.write_files(settings)
    settings.paths.logs.mkdir(parents=True)
    with (settings.paths.logs / "gateway.log").open("w") as log:
        process = subprocess.Popen(envoy.command(settings), stdout=log, stderr=log)
    yield settings
    process.terminate()
    process.wait(timeout=20)


@dataclass
class Server:
    """An upstream that answers as a version of a model does."""

    model_version: int
    port: int
    requests: list[str]

    def upstream(self, weight: int = 100) -> Upstream:
        return Upstream(model_version=self.model_version, host=HOST, port=self.port, weight=weight)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[ThreadingHTTPServer] = []

    def start(model_version: int, *, hangs_up: bool = False) -> Server:
        server = Server(model_version, 0, [])

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                server.requests.append(self.path)
                if hangs_up:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                body = json.dumps({"version": model_version}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: object) -> None: ...

        servers.append(ThreadingHTTPServer((HOST, 0), Handler))
        servers[-1].daemon_threads = True
        server.port = servers[-1].server_port
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    content: dict


def ask(settings: Settings, path: str, *, method: str = "POST", headers: dict[str, str] | None = None) -> Answer:
    connection = http.client.HTTPConnection(settings.gateway_host, settings.gateway_port, timeout=20)
    try:
        connection.request(method, path, body=b"{}" if method == "POST" else None, headers=headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, json.loads(answer.read()))
    finally:
        connection.close()


def lead(settings: Settings, models) -> None:
    wait_until_taken(settings, write_config(settings, models))


def test_a_model_is_reached_below_its_name(settings, serve):
    server = serve(3)
    lead(settings, {"late": [server.upstream()]})
    answer = ask(settings, "/v1/models/late/predict", headers={"x-request-id": "mine-1"})
    assert (answer.status, answer.content) == (200, {"version": 3})
    assert (answer.headers["x-model-version"], answer.headers["x-request-id"]) == ("3", "mine-1")
    ask(settings, "/v1/models/late/metadata?x=1", method="GET")
    assert server.requests == ["/predict", "/metadata?x=1"]


def test_what_the_gateway_answers_itself(settings, serve):
    lead(settings, {"late": [serve(3).upstream()], "later": []})
    listed = ask(settings, "/v1/models", method="GET")
    assert listed.content["models"] == [
        {"model": "late", "versions": [{"version": 3, "weight": 100}]},
        {"model": "later", "versions": []},
    ]
    cases = {
        "/v1/models/nope/predict": (404, "unknown_model"),
        "/v1/models/lat/predict": (404, "unknown_model"),
        "/v1/models/late2/predict": (404, "unknown_model"),
        "/v1/models/late/nothing": (404, "not_found"),
        "/v1/models/late": (404, "not_found"),
        "/v1/models/later/predict": (503, "no_champion"),
        "/": (404, "not_found"),
    }
    for path, (status, code) in cases.items():
        answer = ask(settings, path, headers={"x-request-id": "id-7"})
        assert (path, answer.status, answer.content["error"]["code"]) == (path, status, code)
        assert answer.content["request_id"] == answer.headers["x-request-id"] == "id-7"
        assert answer.headers["x-model-version"] == "none"
        assert answer.content["error"]["message"]
    assert ask(settings, "/v1/models/nope/predict").content["models"] == ["late", "later"]


def test_the_list_of_models_is_for_reading(settings):
    lead(settings, {"later": []})
    assert ask(settings, "/v1/models/", method="GET").content["models"] == [{"model": "later", "versions": []}]
    for method in ("DELETE", "POST", "PUT"):
        answer = ask(settings, "/v1/models", method=method)
        assert (answer.status, answer.content["error"]["code"]) == (405, "method_not_allowed")
        assert answer.headers["allow"] == "GET, HEAD"
        assert answer.headers["x-model-version"] == "none"


def test_a_version_without_weight_is_reached_on_its_own_path_only(settings, serve):
    champion, challenger = serve(1), serve(2)
    lead(settings, {"late": [champion.upstream(), challenger.upstream(weight=0)]})
    wait_until_reachable(settings, "late", 2)
    assert {ask(settings, "/v1/models/late/predict").content["version"] for _ in range(20)} == {1}
    assert set(challenger.requests) == {"/readyz"}


def test_weights_split_the_traffic(settings, serve):
    first, second = serve(1), serve(2)
    lead(settings, {"late": [first.upstream(80), second.upstream(20)]})
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(settings, "/v1/models/late/predict"), range(400)))
    counts = Counter(answer.headers["x-model-version"] for answer in answers)
    assert counts["1"] + counts["2"] == 400
    assert 40 <= counts["2"] <= 130  # five standard deviations around 80


def test_a_switch_costs_no_request(settings, serve):
    servers = {1: serve(1), 2: serve(2)}
    stopped = threading.Event()
    answers: list[Answer] = []

    def call() -> None:
        while not stopped.is_set():
            answers.append(ask(settings, "/v1/models/late/predict"))

    def let_some_be_answered() -> None:
        enough = len(answers) + 5
        assert wait_until(lambda: len(answers) >= enough, seconds=30)

    lead(settings, {"late": [servers[1].upstream()]})
    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in (2, 1, 2):
        other = servers[3 - number]
        lead(settings, {"late": [other.upstream(), servers[number].upstream(weight=0)]})
        lead(settings, {"late": [servers[number].upstream(), other.upstream(weight=0)]})
        lead(settings, {"late": [servers[number].upstream()]})
        let_some_be_answered()
    stopped.set()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} == {200}
    assert {answer.headers["x-model-version"] for answer in answers} == {"1", "2"}


def test_a_request_that_may_have_run_is_not_sent_again(settings, serve):
    server = serve(1, hangs_up=True)
    lead(settings, {"late": [server.upstream()]})
    answer = ask(settings, "/v1/models/late/predict")
    assert (answer.status, answer.content["error"]["code"], server.requests) == (503, "unavailable", ["/predict"])


def test_a_bento_that_is_away_is_said_to_be(settings):
    lead(settings, {"late": [Upstream(model_version=4, host=HOST, port=free_port())]})
    answer = ask(settings, "/v1/models/late/predict")
    assert (answer.status, answer.content["error"]["code"], answer.headers["x-model-version"]) == (503, "unavailable", "4")
    with pytest.raises(UnavailableError, match="versions/4/readyz was not ready"):
        wait_until_reachable(settings, "late", 4, deadline_seconds=0.3)


def test_a_host_by_name_is_looked_up(settings, serve):
    server = serve(5)
    lead(settings, {"late": [Upstream(model_version=5, host="localhost", port=server.port)]})
    wait_until_reachable(settings, "late", 5)
    assert ask(settings, "/v1/models/late/predict").content == {"version": 5}


def test_writing_the_same_again_touches_no_file(tmp_path):
    settings = settings_in(tmp_path)
    models = {"late": [Upstream(model_version=1, host=HOST, port=9)]}
    first = write_config(settings, models)
    files = sorted(settings.paths.gateway.iterdir())
    os.utime(files[0], ns=(1, 1))
    os.utime(files[1], ns=(1, 1))
    assert write_config(settings, models) == first
    assert [file.name for file in files] == ["clusters.yaml", "routes.yaml"]
    assert [file.stat().st_mtime_ns for file in files] == [1, 1]


def test_a_moved_port_is_a_change_though_the_routes_stay(tmp_path):
    settings = settings_in(tmp_path)
    digests = {write_config(settings, {"m": [Upstream(model_version=1, host=HOST, port=port)]}) for port in (1, 2, 1)}
    assert len(digests) == 2


def test_a_cluster_stays_until_no_worker_can_have_a_route_to_it(tmp_path):
    settings = settings_in(tmp_path)
    path = settings.paths.gateway / "clusters.yaml"
    kept = []
    for versions in ([1], [2], [2, 3], [2, 3]):
        write_config(settings, {"m": [Upstream(model_version=number, host=HOST, port=9) for number in versions]})
        kept.append([each["name"] for each in json.loads(path.read_text())["resources"]])
    assert kept == [["m__v1"], ["m__v1", "m__v2"], ["m__v2", "m__v3"], ["m__v2", "m__v3"]]


def test_one_worker_behind_the_others_is_waited_for(tmp_path):
    """A server whose every eighth connection meets a worker with the old routes."""
    settings, n_connections = settings_in(tmp_path), itertools.count(1)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("x-gateway-config", "old" if next(n_connections) % 8 == 0 else "new")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer((HOST, settings.gateway_port), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        with pytest.raises(UnavailableError, match="has not taken the new routes"):
            wait_until_taken(settings, "new", deadline_seconds=0.5)
        server.shutdown()


@pytest.mark.parametrize("left", ["", '{"version_info": "', "[]"])
def test_a_file_that_was_cut_short_is_written_anew(tmp_path, left):
    settings = settings_in(tmp_path)
    models = {"m": [Upstream(model_version=1, host=HOST, port=1)]}
    write_config(settings, models)
    path = settings.paths.gateway / "clusters.yaml"
    whole = path.read_text()
    path.write_text(left)
    write_config(settings, models)
    assert path.read_text() == whole


def test_routes_never_point_at_a_cluster_that_is_not_there(tmp_path, monkeypatch):
    settings = settings_in(tmp_path)
    seen = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        result = replace(self, target)
        seen.append(_dangling(settings.paths.gateway))
        return result

    monkeypatch.setattr(Path, "replace", watched)
    one, two = (Upstream(model_version=number, host=HOST, port=9) for number in (1, 2))
    for models in ({"a": [one]}, {"a": [two]}, {"a": [], "b": [one, two]}, {}):
        write_config(settings, models)
    assert len(seen) > 6
    assert set().union(*seen) == set()


def _dangling(folder: Path) -> set[str]:
    def names(file: str, key: str) -> set[str]:
        text = (folder / file).read_text() if (folder / file).exists() else "{}"
        found: set[str] = set()

        def collect(value: object) -> None:
            if isinstance(value, dict):
                found.update(each for name, each in value.items() if name == key and isinstance(each, str))
                list(map(collect, value.values()))
            elif isinstance(value, list):
                list(map(collect, value))

        collect(json.loads(text))
        return {name for name in found if "__v" in name}

    return (names("routes.yaml", "name") | names("routes.yaml", "cluster")) - names("clusters.yaml", "name")


def test_without_a_gateway_the_wait_ends_with_a_next_step(tmp_path):
    settings = settings_in(tmp_path)
    digest = gateway.write_config(settings, {})
    with pytest.raises(UnavailableError, match="perennial status"):
        wait_until_taken(settings, digest, deadline_seconds=0.3)
