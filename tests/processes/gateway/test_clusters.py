"""What callers see when a version breaks: nothing, as long as another one can answer."""

from perennial.adapters.gateway import Upstream
from support.free_ports import find_free_port
from support.serving.gateway_calls import HOST, Server, ask, ask_often, lead
from support.waiting import wait_for


def test_a_canary_that_is_gone_costs_no_request(settings, serve):
    champion = serve(Server(1))
    gone = Upstream(model_version=2, host=HOST, port=find_free_port(), weight=50, is_canary=True)
    lead(settings, {"late": [champion.upstream(50), gone]})
    assert ask_often(settings, 100) == {(200, "1"): 100}


def test_a_canary_that_fails_is_left_to_the_champion_after_some_answers(settings, serve):
    champion, canary = serve(Server(1)), serve(Server(2, status=500))
    lead(settings, {"late": [champion.upstream(50), canary.upstream(50, is_canary=True)]})
    before = ask_often(settings, 200)
    # Five in a row, and what was on its way meanwhile.
    assert before.pop((500, "2")) >= 5
    assert set(before) == {(200, "1")}
    wait_for(lambda: ask_often(settings, 50) == {(200, "1"): 50})


def test_a_canary_that_fails_once_in_a_while_goes_on(settings, serve):
    champion, canary = serve(Server(1)), serve(Server(2))
    lead(settings, {"late": [champion.upstream(1), canary.upstream(99, is_canary=True)]})
    for _ in range(3):
        canary.status = 500
        while ask(settings).status == 200:
            pass
        canary.status = 200
        while ask(settings).version == "1":
            pass
    assert ask_often(settings, 50)[200, "2"] > 25


def test_a_champion_is_never_ejected_into_no_answer(settings, serve):
    champion, canary = serve(Server(1, status=500)), serve(Server(2, status=500))
    lead(settings, {"late": [champion.upstream(50), canary.upstream(50, is_canary=True)]})
    assert {status for status, _ in ask_often(settings, 60)} == {500}
    champion.status = canary.status = 200
    assert {status for status, _ in ask_often(settings, 20)} == {200}
    lead(settings, {"late": [champion.upstream()]})
    champion.status = 500
    assert ask_often(settings, 20) == {(500, "1"): 20}
    champion.status = 200
    assert ask_often(settings, 20) == {(200, "1"): 20}


def test_where_nobody_answers_the_error_keeps_its_form(settings):
    gone = [
        Upstream(model_version=number, host=HOST, port=find_free_port(), weight=50, is_canary=number == 2) for number in (1, 2)
    ]
    lead(settings, {"late": gone})
    for _ in range(20):
        answer = ask(settings, headers={"x-request-id": "id-7"})
        assert (answer.status, answer.code, answer.content["request_id"]) == (503, "unavailable", "id-7")
        assert answer.version in ("1", "2")
