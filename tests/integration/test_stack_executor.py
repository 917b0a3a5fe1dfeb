"""A Dag through the running stack: tasks find the libraries loaded, and a killed scheduler does not lose the run."""

import json
import os
import shutil
from pathlib import Path

import httpx
import pytest

from perennial.stack.status import read_status
from perennial.stack.waiting import wait_until

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).parents[2]
DAG = """
import os
import sys
import time

from airflow.sdk import dag, task


@task(pool="training")
def probe():
    loaded = [name for name in ("pandas", "sklearn", "mlflow", "great_expectations") if name in sys.modules]
    return " ".join([*loaded, os.environ["OMP_NUM_THREADS"]])


@task(retries=1, retry_delay=1)
def wait_for(path):
    from pathlib import Path

    Path(path + ".started").touch()
    while not Path(path).exists():
        time.sleep(0.1)


@dag(schedule=None, params={"path": ""})
def probe_dag():
    probe() >> wait_for("{{ params.path }}")


probe_dag()
"""


@pytest.fixture(scope="module")
def stack(make_stack, tmp_path_factory):
    """A stack on a project of its own, which has one Dag."""
    project = tmp_path_factory.mktemp("project")
    for name in (".env", "airflow.cfg"):
        shutil.copy(PROJECT / name, project / name)
    shutil.copytree(PROJECT / "sql" / "migrations", project / "sql" / "migrations")
    (project / "dags").mkdir()
    (project / "dags" / "probe.py").write_text(DAG)
    stack = make_stack(PERENNIAL_PROJECT=str(project))
    stack.up()
    yield stack
    stack.down()


@pytest.fixture
def airflow(stack):
    settings = stack.settings
    login = {"username": "admin", "password": settings.secret("admin_password")}
    token = httpx.post(f"{settings.airflow_api_url}/auth/token", json=login).json()["access_token"]
    with httpx.Client(
        base_url=f"{settings.airflow_api_url}/api/v2", headers={"Authorization": f"Bearer {token}"}, timeout=30
    ) as client:
        assert wait_until(lambda: client.get("/dags/probe_dag").status_code == 200, seconds=60)
        yield client


def start(airflow, path: Path) -> str:
    answer = airflow.post("/dags/probe_dag/dagRuns", json={"logical_date": None, "conf": {"path": str(path)}})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["dag_run_id"])


def state(airflow, run: str) -> str:
    return str(airflow.get(f"/dags/probe_dag/dagRuns/{run}").json()["state"])


def test_a_task_finds_the_libraries_loaded_and_has_its_share_of_threads(stack, airflow, tmp_path):
    (tmp_path / "go").touch()
    run = start(airflow, tmp_path / "go")
    assert wait_until(lambda: state(airflow, run) in ("success", "failed"), seconds=60)
    assert state(airflow, run) == "success"
    answer = airflow.get(f"/dags/probe_dag/dagRuns/{run}/taskInstances/probe/xcomEntries/return_value")
    expected = f"pandas sklearn mlflow great_expectations {stack.settings.threads_per_task}"
    assert answer.json()["value"] in (expected, json.dumps(expected))


def test_a_run_ends_well_although_the_scheduler_is_killed_in_the_middle(stack, airflow, tmp_path):
    run = start(airflow, tmp_path / "go")
    assert wait_until((tmp_path / "go.started").exists, seconds=60)
    (pid,) = (service.pid for service in read_status(stack.settings).services if service.name == "scheduler")
    os.kill(pid, 9)
    (tmp_path / "go.started").unlink()
    assert wait_until((tmp_path / "go.started").exists, seconds=120), "the task was not started again"
    (tmp_path / "go").touch()
    assert wait_until(lambda: state(airflow, run) in ("success", "failed"), seconds=120)
    assert state(airflow, run) == "success"
