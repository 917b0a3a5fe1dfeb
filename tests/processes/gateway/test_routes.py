"""Envoy itself in front of small upstreams: what it answers, how it splits, and that a change of routes costs no request."""

import itertools
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from perennial.adapters.gateway import Upstream, clusters, wait_until_reachable
from support.free_ports import find_free_port
from support.serving.gateway_calls import HOST, Answer, Server, ask, ask_often, lead
from support.waiting import wait_for


def test_a_model_is_reached_below_its_name(settings, serve):
    server = serve(Server(3))
    lead(settings, {"late": [server.upstream()]})
    answer = ask(settings, headers={"x-request-id": "mine-1"})
    assert (answer.status, answer.content) == (200, {"version": 3})
    assert (answer.version, answer.headers["x-request-id"]) == ("3", "mine-1")
    ask(settings, "/v1/models/late/metadata?x=1", method="GET")
    assert server.paths == ["/predict", "/metadata?x=1"]


def test_what_a_bento_offers_callers_is_reached_and_nothing_else(settings, serve):
    server = serve(Server(1))
    lead(settings, {"late": [server.upstream()]})
    reached = ["/predict", "/explain", "/metadata", "/openapi.json", "/docs", "/docs/", "/docs/swagger-ui.css"]
    hidden = ["/metrics", "/readyz", "/livez", "/docs/../metrics", "/docs/page.js", "/docsx", "/predict/"]
    hidden += ["/versions/1/readyz", "/versions/2/readyz"]  # of which the first one may be read
    assert {ask(settings, f"/v1/models/late{path}").status for path in reached} == {200}
    assert server.paths == reached
    assert {ask(settings, f"/v1/models/late{path}").status for path in hidden} == {404}
    assert server.paths == reached


def test_what_the_gateway_answers_itself(settings, serve):
    lead(settings, {"late": [serve(Server(3)).upstream()], "later": []})
    listed = ask(settings, "/v1/models", method="GET")
    assert listed.content["models"] == [
        {"model": "late", "versions": [{"version": 3, "weight": 100}], "docs": "/v1/models/late/docs"},
        {"model": "later", "versions": [], "docs": "/v1/models/later/docs"},
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
        assert (path, answer.status, answer.code) == (path, status, code)
        assert answer.content["request_id"] == answer.headers["x-request-id"] == "id-7"
        assert answer.version == "none"
        assert answer.content["error"]["message"]
    assert ask(settings, "/v1/models/nope/predict").content["models"] == ["late", "later"]


def test_a_retired_model_is_gone_and_says_why(settings, serve):
    """A version of it that runs is reached on its own path alone, as it may be about to come back."""
    server = serve(Server(3))
    models = {"late": [serve(Server(1)).upstream()], "old": [server.upstream()]}
    lead(settings, models, retired={"old": "100 % of it is in `late`", "older": "nobody called it"})
    for path in ("/v1/models/old/predict", "/v1/models/old", "/v1/models/older/predict"):
        answer = ask(settings, path)
        assert (answer.status, answer.code, answer.version) == (410, "retired", "none")
    assert (
        ask(settings, "/v1/models/old/explain").content["error"]["message"] == "model old was retired: 100 % of it is in `late`"
    )
    assert [each["model"] for each in ask(settings, "/v1/models", method="GET").content["models"]] == ["late"]
    assert ask(settings, "/v1/models/nope/predict").content["models"] == ["late"]
    assert ask(settings).status == 200
    wait_until_reachable(settings, "old", 3)
    assert set(server.paths) == {"/readyz"}
    lead(settings, models)
    assert ask(settings, "/v1/models/old/predict").status == 200


def test_the_list_of_models_is_for_reading(settings):
    lead(settings, {"later": []})
    assert ask(settings, "/v1/models/", method="GET").content["models"] == [
        {"model": "later", "versions": [], "docs": "/v1/models/later/docs"}
    ]
    for method in ("DELETE", "POST", "PUT"):
        answer = ask(settings, "/v1/models", method=method)
        assert (answer.status, answer.code) == (405, "method_not_allowed")
        assert answer.headers["allow"] == "GET, HEAD"
        assert answer.version == "none"


def test_a_version_without_weight_is_reached_on_its_own_path_only(settings, serve):
    champion, challenger = serve(Server(1)), serve(Server(2))
    lead(settings, {"late": [champion.upstream(), challenger.upstream(weight=0)]})
    wait_until_reachable(settings, "late", 2)
    assert {ask(settings).content["version"] for _ in range(20)} == {1}
    assert set(challenger.paths) == {"/readyz"}


def test_weights_split_the_traffic(settings, serve):
    champion, canary = serve(Server(1)), serve(Server(2))
    lead(settings, {"late": [champion.upstream(80), canary.upstream(20, is_canary=True)]})
    counts = ask_often(settings, 400)
    assert counts[200, "1"] + counts[200, "2"] == 400
    assert 40 <= counts[200, "2"] <= 130  # five standard deviations around 80


@pytest.mark.parametrize("champions", [(2,), pytest.param((2, 1, 2), marks=pytest.mark.soak)], ids=["once", "often"])
def test_a_release_costs_no_request(settings, serve, champions: tuple[int, ...]):
    """Two versions replace each other by all stages, while callers call."""
    servers = {number: serve(Server(number)) for number in (1, 2)}
    stopped = threading.Event()
    answers: list[Answer] = []

    def call() -> None:
        while not stopped.is_set():
            answers.append(ask(settings))

    def let_some_be_answered() -> None:
        enough = len(answers) + 5
        wait_for(lambda: len(answers) >= enough, seconds=30)

    lead(settings, {"late": [servers[1].upstream()]})
    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in champions:
        for upstreams in stages(servers[3 - number], servers[number]):
            lead(settings, {"late": upstreams})
            let_some_be_answered()
    stopped.set()
    for thread in threads:
        thread.join()
    assert Counter(answer.status for answer in answers) == {200: len(answers)}
    assert {answer.version for answer in answers} == {"1", "2"}


def stages(champion: Server, challenger: Server) -> list[list[Upstream]]:
    """What the gateway is told in a release, one after the other."""
    return [
        [champion.upstream(), challenger.upstream(0)],
        [champion.upstream(), challenger.upstream(0, mirror_percent=100)],
        [champion.upstream(90), challenger.upstream(10, is_canary=True)],
        [champion.upstream(50), challenger.upstream(50, is_canary=True)],
        [challenger.upstream(), champion.upstream(0)],
        [challenger.upstream()],
    ]


@pytest.mark.parametrize("n_changes", [8, pytest.param(30, marks=pytest.mark.soak)])
def test_once_a_change_is_taken_nothing_goes_where_it_went_before(settings, serve, n_changes: int):
    servers = itertools.cycle([serve(Server(1)), serve(Server(1))])
    for server in itertools.islice(servers, n_changes):
        lead(settings, {"late": [server.upstream()]})
        before = len(server.requests)
        assert ask_often(settings, 4) == {(200, "1"): 4}
        assert len(server.requests) == before + 4


def test_a_request_that_may_have_run_is_not_sent_again(settings, serve):
    server = serve(Server(1, hangs_up=True))
    lead(settings, {"late": [server.upstream()]})
    answer = ask(settings)
    assert (answer.status, answer.code, server.paths) == (503, "unavailable", ["/predict"])


def test_no_caller_can_have_a_request_repeated(settings, serve):
    server = serve(Server(1, status=503))
    lead(settings, {"late": [server.upstream()]})
    wishes = {"x-envoy-retry-on": "5xx", "x-envoy-max-retries": "5", "x-envoy-upstream-rq-per-try-timeout-ms": "1"}
    assert ask(settings, headers=wishes).status == 503
    assert server.paths == ["/predict"]


def test_a_bento_that_is_away_is_said_to_be(settings):
    lead(settings, {"late": [Upstream(model_version=4, host=HOST, port=find_free_port())]})
    answer = ask(settings)
    assert (answer.status, answer.code, answer.version) == (503, "unavailable", "4")


def test_a_model_with_more_requests_than_it_may_have_is_said_to_be_busy(settings, serve, monkeypatch):
    monkeypatch.setattr(clusters, "_MAX_REQUESTS", 3)
    server = serve(Server(4, is_held=True))
    lead(settings, {"late": [server.upstream()]})
    # Three are worked on and three wait.
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(ask, settings) for _ in range(12)]
        wait_for(lambda: sum(each.done() for each in asked) == 6)
        server.is_held = False
    assert Counter(each.result().status for each in asked) == {200: 6, 503: 6}
    busy = [each.result() for each in asked if each.result().status == 503]
    assert {(answer.code, answer.content["request_id"] == answer.headers["x-request-id"]) for answer in busy} == {("busy", True)}
    assert len(server.requests) == 6


def test_a_host_by_name_is_looked_up(settings, serve):
    server = serve(Server(5))
    lead(settings, {"late": [Upstream(model_version=5, host="localhost", port=server.port)]})
    wait_until_reachable(settings, "late", 5)
    assert ask(settings).content == {"version": 5}


def test_a_version_that_does_not_say_which_it_is_is_named_by_the_gateway(settings, serve):
    lead(settings, {"late": [serve(Server(6, says_version=False)).upstream()]})
    assert ask(settings).version == "6"


def test_what_is_led_to_a_bento_is_marked_whatever_the_caller_says(settings, serve):
    server = serve(Server(1))
    lead(settings, {"late": [server.upstream()]})
    for source in ("replay", "shadow", ""):
        ask(settings, headers={"x-perennial-source": source})
        ask(settings, "/v1/models/late/explain", headers={"x-perennial-source": source})
    assert {request.headers["x-perennial-source"] for request in server.requests} == {"live"}


def test_a_shadow_gets_copies_of_predictions_and_answers_nobody(settings, serve):
    champion, shadow = serve(Server(1)), serve(Server(2))
    lead(settings, {"late": [champion.upstream(), shadow.upstream(0, mirror_percent=100)]})
    ids = [f"id-{number}" for number in range(20)]
    for each in ids:
        assert ask(settings, headers={"x-request-id": each}).version == "1"
    for path in ("explain", "metadata", "openapi.json", "docs"):
        ask(settings, f"/v1/models/late/{path}")
    wait_for(lambda: len(shadow.requests) >= len(ids))
    assert sorted(request.headers["x-request-id"] for request in shadow.requests) == sorted(ids)
    copied = {(request.path, request.body, request.headers["x-perennial-source"]) for request in shadow.requests}
    assert copied == {("/predict", b"{}", "shadow")}
    assert {request.headers["x-perennial-source"] for request in champion.requests} == {"live"}


def test_a_shadow_may_get_a_share_only(settings, serve):
    champion, shadow = serve(Server(1)), serve(Server(2))
    lead(settings, {"late": [champion.upstream(), shadow.upstream(0, mirror_percent=25)]})
    assert ask_often(settings, 400) == {(200, "1"): 400}
    # Five standard deviations around 100; nobody waits for copies.
    wait_for(lambda: len(shadow.requests) >= 55)
    assert len(shadow.requests) <= 150


@pytest.mark.parametrize("broken", [{"status": 500}, {"hangs_up": True}])
def test_a_shadow_that_breaks_is_no_callers_business(settings, serve, broken):
    champion, shadow = serve(Server(1)), serve(Server(2, **broken))
    lead(settings, {"late": [champion.upstream(), shadow.upstream(0, mirror_percent=100)]})
    assert ask_often(settings, 50) == {(200, "1"): 50}
    # An ejected shadow gets copies all the same: what it does with them is to be seen. Those on a broken connection are lost.
    wait_for(lambda: len(shadow.requests) >= (5 if shadow.hangs_up else 50))
