"""The whole stack: healthy, open to those who may, and mending itself."""

import json
import os
from pathlib import Path

import httpx
import pytest

from perennial.stack.environment import airflow_environment
from perennial.stack.services import SERVICES
from perennial.stack.status import read_status
from support.stacks.services import perennial, pids, statuses
from support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("dags")]


def test_everything_gets_healthy_and_up_again_changes_nothing(stack):
    settings = stack.up()
    now = statuses(settings)
    assert {name: now[name].reason for name in SERVICES} == dict.fromkeys(SERVICES, "")
    before = pids(settings)
    stack.up()
    assert pids(settings) == before


def test_status_is_for_people_and_for_programs(stack):
    settings = stack.up()
    done = perennial(stack, "status", "--json")
    record = json.loads(done.stdout)
    assert (done.returncode, record["is_healthy"]) == (0, True)
    assert {service["name"] for service in record["services"]} >= set(SERVICES)
    assert record["login"]["url"] == settings.airflow_link
    assert Path(record["login"]["password_file"]).read_text() == settings.secret("admin_password")
    said = perennial(stack, "status").stdout
    assert settings.airflow_api_url in said
    assert str(settings.paths.secrets / "admin_password") in said.replace("\n", "")


def test_the_admin_logs_in_with_the_secret_and_nobody_else_does(stack):
    settings = stack.up()
    login = {"username": "admin", "password": settings.secret("admin_password")}
    with httpx.Client(base_url=settings.airflow_api_url) as client:
        assert client.post("/auth/token", json=login).status_code == 201
        assert client.post("/auth/token", json={"username": "admin", "password": "admin"}).status_code == 401
        assert client.get("/api/v2/dags").status_code == 401


def test_what_may_last_or_come_in_numbers_leaves_slots_for_a_rollback(stack):
    settings = stack.up()
    done = perennial(stack, "airflow", "pools", "list", "-o", "json")
    assert done.returncode == 0, done.stderr
    slots = {pool["pool"]: int(pool["slots"]) for pool in json.loads(done.stdout)}
    assert slots["training"] == slots["preparing"] == settings.n_training_slots
    assert (slots["watching"], slots["monitoring"]) == (4, 2)
    parallelism = int(airflow_environment(settings)["AIRFLOW__CORE__PARALLELISM"])
    assert parallelism - sum(slots[pool] for pool in ("training", "preparing", "watching", "monitoring")) == 2


def test_psql_opens_the_business_state(stack):
    stack.up("postgres")
    done = perennial(stack, "psql", "-Atc", "SELECT current_user, current_database()")
    assert (done.returncode, done.stdout) == (0, "perennial|perennial\n"), done.stderr


@pytest.mark.soak
@pytest.mark.xdist_group("kills")
@pytest.mark.parametrize("name", SERVICES)
def test_a_killed_service_comes_back(stack, name):
    """All at once, while a run is under way: `test_resilience.py`."""
    settings = stack.up()
    before = pids(settings)[name]
    os.kill(before, 9)
    wait_for(lambda: pids(settings)[name] not in (0, before), what="it runs again")
    wait_for(lambda: read_status(settings).is_healthy, what="all are healthy", seconds=180)
