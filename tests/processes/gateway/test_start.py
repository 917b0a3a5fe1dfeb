"""Whom a gateway lets in that starts with the files of an earlier one."""

import pytest

from perennial.adapters.gateway import hash_key, write_config
from perennial.stack import gateway as envoy
from support.serving.gateway_calls import Server, answers, ask, basic, lead
from support.waiting import wait_for

CALLERS = {"shop": hash_key("key-of-shop")}


def test_a_gateway_that_requires_keys_by_now_lets_nobody_in_until_it_is_told_who_has_one(unused, serve, start):
    server = serve(Server(1))
    write_config(unused, {"late": [server.upstream()]})
    required = unused.model_copy(update={"api_keys": "required"})
    start(required)
    wait_for(lambda: answers(required))
    assert [ask(required, headers=headers).status for headers in ({}, basic("shop", "key-of-shop"), basic("-", ""))] == [401] * 3
    lead(required, {"late": [server.upstream()]}, callers=CALLERS)
    assert ask(required, headers=basic("shop", "key-of-shop")).status == 200
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("callers", "api_keys"), [(None, "off"), ({}, "required"), (CALLERS, "required"), ({}, "off"), (CALLERS, "off")]
)
def test_files_that_let_nobody_in_who_should_not_be_stay(unused, callers, api_keys):
    write_config(unused, {"late": [Server(1, port=9).upstream()]}, callers=callers)
    before = (unused.paths.gateway / "routes.yaml").read_text()
    envoy.write_files(unused.model_copy(update={"api_keys": api_keys}))
    assert (unused.paths.gateway / "routes.yaml").read_text() == before


@pytest.mark.parametrize("left", ["", '{"version_info": "', '{"resources": []}', "[]"])
def test_of_a_file_that_was_cut_short_nobody_knows_whom_it_lets_in(unused, left):
    write_config(unused, {}, callers=CALLERS)
    routes = unused.paths.gateway / "routes.yaml"
    routes.write_text(left)
    envoy.write_files(unused.model_copy(update={"api_keys": "required"}))
    assert "basic_auth" in routes.read_text()
