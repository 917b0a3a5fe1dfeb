"""`kill -9` of services while a run is under way: the run ends well, and callers are served again by themselves."""

import os
import signal

import httpx
import psutil
import psycopg2
import pytest

from perennial.adapters import supervisor
from perennial.adapters.airflow_api import DagRunState
from perennial.stack.services import SERVICES
from perennial.stack.status import read_status
from support.dags.loop import AS_OF, MODEL, Loop
from support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("dags")]


def pid(loop: Loop, program: str) -> int:
    [state] = [each for each in supervisor.program_states(loop.settings) if each.program.startswith(program)]
    assert state.pid
    return state.pid


def kill(loop: Loop, program: str) -> None:
    os.kill(pid(loop, program), signal.SIGKILL)


def is_training(loop: Loop, run: DagRunState) -> bool:
    states = loop.task_states(run)
    assert "failed" not in states.values(), states
    return any("train_candidate" in task for task, state in states.items() if state == "running")


def answers(loop: Loop, row: dict[str, object]) -> bool:
    try:
        return loop.predict({"rows": [row]}).status_code == 200
    except httpx.TransportError:
        return False


# All but the gateway, which alone answers callers meanwhile.
BEHIND = tuple(name for name in SERVICES if name != "gateway")


@pytest.mark.soak
@pytest.mark.xdist_group("kills")
def test_a_run_survives_the_end_of_all_services_at_once(loop: Loop, first: DagRunState, row: dict[str, object]) -> None:
    """The run is of an interval that was trained on before, so it also makes nothing twice."""
    before, earlier = loop.champion(), loop.decision(first.dag_run_id)
    assert earlier is not None
    run = loop.start("without-services", as_of=AS_OF, candidates=["baseline", "logistic"])
    wait_for(lambda: is_training(loop, run), what="training begins", seconds=300)
    below = {service: psutil.Process(pid(loop, service)).children(recursive=True) for service in BEHIND}
    assert below["scheduler"], below
    for service in BEHIND:
        kill(loop, service)
    assert answers(loop, row), "callers need none of these services"
    for service, workers in below.items():
        wait_for(lambda workers=workers: not any(each.is_running() for each in workers), what=f"what ran below {service} ends")
    assert loop.finish(run) == "success", loop.task_states(run)
    later = loop.decision(run.dag_run_id)
    assert later is not None
    assert (later.snapshot_id, later.outcome) == (earlier.snapshot_id, "rejected")
    assert loop.task_states(run)["register"] == "skipped"
    assert loop.api.find_triggered(loop.retrain, run.dag_run_id) == []
    assert (loop.champion(), count_snapshots(loop)) == (before, 1)
    wait_for(lambda: read_status(loop.settings).is_healthy, what="all are healthy", seconds=180)


@pytest.mark.parametrize("program", ["gateway", f"bento__{MODEL}"])
def test_serving_recovers_from_the_end_of(loop: Loop, first: DagRunState, row: dict[str, object], program: str) -> None:
    assert answers(loop, row)
    kill(loop, program)
    wait_for(lambda: answers(loop, row), what=f"the gateway answers after {program} was killed")


def count_snapshots(loop: Loop) -> int:
    """Snapshots of the interval that every run here trains on."""
    connection = psycopg2.connect(loop.settings.state_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM snapshot WHERE model = %s AND as_of = %s", (MODEL, AS_OF))
        [(count,)] = cursor.fetchall()
    connection.close()
    return int(count)
