"""`perennial keys` against a stack that requires them."""

import json
from collections.abc import Callable

import httpx
import psycopg2
import pytest

from perennial.adapters import supervisor
from perennial.adapters.gateway import probing
from perennial.config.settings import Settings
from perennial.stack.waiting import wait_until
from perennial.steps.keys import apply_keys
from support import command_line
from support.serving.gateway_calls import client
from support.stacks.services import perennial

pytestmark = pytest.mark.integration

Keys = Callable[..., command_line.Ended]


@pytest.fixture(scope="module")
def guarded(make_stack):
    """A stack of its own, since keys concern all callers."""
    stack = make_stack(PERENNIAL_API_KEYS="required")
    stack.up("champions")
    yield stack
    stack.down()


@pytest.fixture
def settings(guarded) -> Settings:
    return guarded.settings


@pytest.fixture
def keys(guarded) -> Keys:
    return lambda *arguments: command_line.call(guarded.environment, "keys", *arguments)


def status(settings: Settings, caller: str = "", key: str = "") -> int:
    with client(settings, caller=caller, key=key) as calling:
        return calling.get("/v1/models").status_code


def audited(settings: Settings, caller: str) -> list[str]:
    with psycopg2.connect(settings.state_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT action FROM audit WHERE subject = %s ORDER BY audit_id", (caller,))
        return [action for (action,) in cursor.fetchall()]


def test_a_key_counts_from_the_command_that_made_it_until_the_one_that_revokes_it(guarded, settings):
    assert status(settings) == 401
    made = perennial(guarded, "keys", "create", "shop")
    assert (made.returncode, made.stderr) == (0, "")
    key = made.stdout.strip()
    assert len(key) >= 43
    assert (status(settings, "shop", key), status(settings, "shop", key + "x"), status(settings, "desk", key)) == (200, 401, 401)
    assert perennial(guarded, "keys", "revoke", "shop").returncode == 0
    assert status(settings, "shop", key) == 401
    assert audited(settings, "shop") == ["key_created", "key_revoked"]


def test_a_key_can_be_printed_for_programs(settings, keys):
    made = json.loads(keys("create", "program", "--json").stdout)
    assert set(made) == {"caller", "key"}
    assert status(settings, made["caller"], made["key"]) == 200


def test_a_caller_has_one_key_at_a_time(settings, keys):
    first = keys("create", "desk").stdout.strip()
    again = keys("create", "desk")
    assert (again.returncode, again.stdout) == (1, "")
    assert "caller desk has a key\n  → take it back: perennial keys revoke desk; or exchange it: --replace" in again.stderr
    second = keys("create", "desk", "--replace").stdout.strip()
    assert (status(settings, "desk", first), status(settings, "desk", second)) == (401, 200)
    keys("revoke", "desk")
    third = keys("create", "desk").stdout.strip()
    assert (status(settings, "desk", second), status(settings, "desk", third)) == (401, 200)


def test_a_key_is_shown_once_and_kept_nowhere(settings, keys):
    key = keys("create", "once").stdout.strip()
    listed, records = keys("list").stdout, json.loads(keys("list", "--json").stdout)
    assert "once" in listed
    assert [set(record) for record in records if record["caller"] == "once"] == [{"caller", "created_at", "revoked_at"}]
    with psycopg2.connect(settings.state_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(row_to_json(each)::text, '') FROM (SELECT key_hash FROM api_key) AS each")
        (kept,) = cursor.fetchone()
    files = "".join(path.read_text() for path in settings.paths.gateway.iterdir())
    assert kept and not [text for text in (listed, json.dumps(records), kept, files) if key in text]


@pytest.mark.parametrize("caller", ["", "-", "Shop", "a:b", "a b", "a\nb", "x" * 64])
def test_a_name_that_cannot_be_a_callers_is_refused(keys, caller):
    done = keys("create", "--", caller)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be a caller's name" in done.stderr


def test_who_has_no_key_cannot_lose_it(keys):
    done = keys("revoke", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert "caller nobody has no key\n  → see: perennial keys list" in done.stderr


def test_a_key_that_was_made_while_the_gateway_is_away_counts_when_it_is_back(settings, keys, monkeypatch):
    monkeypatch.setattr(probing, "WITHIN_SECONDS", 0.5)
    supervisor.stop_program(settings, "gateway")
    done = keys("create", "early")
    assert done.returncode == 3
    assert "has not taken the new routes" in done.stderr
    supervisor.start_program(settings, "gateway")
    assert wait_until(lambda: _is_taken(settings, done.stdout.strip()), seconds=20)


def test_a_changed_setting_restarts_neither_the_gateway_nor_postgres_and_keys_come_and_go(make_stack, guarded, settings, keys):
    key = keys("create", "steady").stdout.strip()
    before = _pids(settings)
    changed = {"PERENNIAL_MAIL_FROM": "other@localhost", "PERENNIAL_API_KEYS": "off"}
    unguarded = make_stack(**{**guarded.environment, **changed})
    for stack, earlier, expected in ((unguarded, guarded, 200), (guarded, unguarded, 401)):
        stack.up("postgres", "gateway")
        assert (status(settings), status(settings, "steady", key)) == (expected, 200)
        # As does a task that was started before.
        apply_keys(earlier.settings)
        assert (status(settings), status(settings, "steady", key)) == (expected, 200)
    assert _pids(settings) == before


def _pids(settings: Settings) -> dict[str, int]:
    return {state.program: state.pid for state in supervisor.program_states(settings) if state.pid}


def _is_taken(settings: Settings, key: str) -> bool:
    try:
        return status(settings, "early", key) == 200
    except httpx.TransportError:
        return False
