"""`kill -9` of the worker's task in every state of a release: Airflow's own retry goes on from there, and no caller notices."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from mlflow import MlflowClient

from perennial.adapters import supervisor
from perennial.adapters.airflow_api import DagRunState
from perennial.adapters.registry import Registry
from perennial.adapters.registry.pipelines import LoggedModel
from perennial.adapters.state import StateStore
from perennial.config.spec_file import load_spec, spec_path
from perennial.steps.register import read_registered
from perennial.steps.rollback import roll_back
from perennial.steps.serving import program_name
from support.dags.kills import kill_task
from support.dags.loop import MODEL, Loop
from support.serving.load import Load, body_of
from support.serving.swap_records import query
from support.waiting import wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.soak,
    pytest.mark.xdist_group("kills"),
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

DAG_RUN = "killed-in-every-state"


def test_a_release_whose_tasks_are_killed_in_every_state_ends_with_one_champion(
    loop: Loop, first: DagRunState, row: dict[str, object]
) -> None:
    champion, challenger = loop.champion().model_version, register_again(loop)
    with steady_calls(loop, row) as load:
        run = loop.api.trigger(loop.release, DAG_RUN, {"version": challenger})
        kill_each(loop, run, challenger)
        assert loop.finish(run) == "success", loop.task_states(run)
        load.wait_for(20)
    states = read_states(loop)
    assert (states.pop(champion), states.pop(challenger)) == ("retired", "champion")
    assert "champion" not in states.values()
    assert (
        loop.champion().model_version == Registry(loop.settings.mlflow_tracking_url).read_alias(MODEL, "champion") == challenger
    )
    assert load.failed == []
    assert set(load.versions) == {str(champion), str(challenger)}
    assert {each.model_version for each in load.answered[-10:]} == {str(challenger)}
    spec = load_spec(spec_path(loop.settings, MODEL))
    canaries = [("canary", step) for step in range(1, 1 + len(spec.release.canary.steps))]
    with StateStore(loop.settings.state_url) as state:
        stages = [(stage.stage, stage.step, stage.outcome) for stage in state.read_stages(MODEL, challenger)]
    assert stages == [(*each, "passed") for each in [("check", 1), ("shadow", 1), *canaries]]
    leave_as_it_was(loop, champion)


def kill_each(loop: Loop, run: DagRunState, challenger: int) -> None:
    """Locks that the stack's own steps take hold a task where it is to be killed, so that no kill comes too late."""

    def is_in(state: str, *, n_stages: int) -> bool:
        with StateStore(loop.settings.state_url) as store:
            return (store.read_release(MODEL, challenger).state, len(store.read_stages(MODEL, challenger))) == (state, n_stages)

    def kill(task: str, is_there: Callable[[], bool]) -> None:
        kill_task(loop, run, task, is_there=is_there)

    kill("build_bento", lambda: is_in("registered", n_stages=0))
    kill("check_serving", lambda: is_in("registered", n_stages=1))
    wait_for(lambda: is_in("checked", n_stages=1), what="the check passes")
    with held(loop, "gateway"):
        kill("shadow", lambda: is_blocked(loop) and is_in("checked", n_stages=1))
    kill("shadow", lambda: is_in("shadow", n_stages=2))
    kill("canary", lambda: is_in("canary", n_stages=3))
    with held(loop, f"serving/{MODEL}"):
        kill("promote", lambda: is_blocked(loop) and is_in("canary", n_stages=4))
    with held_in_between(loop, "gateway"):
        kill("promote", lambda: is_blocked(loop) and is_in("champion", n_stages=4))


@contextlib.contextmanager
def held(loop: Loop, lock: str) -> Iterator[None]:
    with StateStore(loop.settings.state_url) as state, state.lock(lock):
        yield


@contextlib.contextmanager
def held_in_between(loop: Loop, lock: str) -> Iterator[None]:
    """Hold a lock from when a task gives it back until it wants it again: Postgres serves those who wait in turn."""
    with contextlib.ExitStack() as ours, ThreadPoolExecutor(1) as pool:
        with held(loop, lock):
            wait_for(lambda: count_blocked(loop) == 1, what="the task waits for the lock", seconds=120)
            entering = pool.submit(ours.enter_context, held(loop, lock))
            wait_for(lambda: count_blocked(loop) == 2, what="we are next in turn")
        entering.result(timeout=60)
        yield


def is_blocked(loop: Loop) -> bool:
    return count_blocked(loop) > 0


def count_blocked(loop: Loop) -> int:
    """How many wait for a lock of the state database."""
    sql = """SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
             WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"""
    [(count,)] = query(loop.settings, sql)
    return count


def steady_calls(loop: Loop, row: dict[str, object]) -> Load:
    """Few callers, so that a stage lasts long enough to be killed in."""
    settings = loop.settings
    return Load(
        host=settings.gateway_host, port=settings.gateway_port, path=f"/v1/models/{MODEL}/predict", bodies=[body_of([row])],
        n_connections=2, pause_seconds=0.1, prefix="killed",
    )  # fmt: skip


def register_again(loop: Loop) -> int:
    """The champion's model as another version: a challenger that nothing can be said against."""
    registry = Registry(loop.settings.mlflow_tracking_url)
    champion = registry.read_version(MODEL, loop.champion().model_version)
    source = MlflowClient(loop.settings.mlflow_tracking_url).get_model_version(MODEL, str(champion.model_version)).source
    logged = LoggedModel(model_id=source.removeprefix("models:/"), serialization=champion.tags["serialization"])
    tags = {**champion.tags, "dag_run_id": DAG_RUN}
    made = registry.create_version(MODEL, logged, run_id=champion.mlflow_run_id, tags=tags)
    with StateStore(loop.settings.state_url) as state:
        state.write_release(read_registered(MODEL, made.model_version, settings=loop.settings), DAG_RUN)
    return made.model_version


def read_states(loop: Loop) -> dict[int, str]:
    with StateStore(loop.settings.state_url) as state:
        return {row.model_version: row.state for row in state.read_releases(MODEL)}


def leave_as_it_was(loop: Loop, champion: int) -> None:
    challenger = loop.champion().model_version
    spec = load_spec(spec_path(loop.settings, MODEL))
    roll_back(spec, to=champion, reason="the test is over", actor="test", settings=loop.settings)
    supervisor.remove_program(loop.settings, program_name(MODEL, challenger))
