"""One stack, whose project has the models that these tests run Dags of: the example as it is shipped, but for its budget,
and small ones, that train and release in seconds.

All files of this folder are of the group `dags`, so that one worker starts one stack for them; what kills tasks and
services for minutes, in the soak, is of the group `kills` and has a stack to itself.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from perennial.adapters.airflow_api import DagRunState
from perennial.config.settings import Settings
from perennial.config.spec_file import load_spec, spec_path
from perennial.steps.rows import read_feature_rows
from support.dags.loop import DEMO_RUN, MODEL, Loop, open_loop
from support.dags.project import BACKFILLED, MONITORED, RELEASED, make_dags_project
from support.data.warehouse_flights import load
from support.stacks.services import perennial
from support.stacks.stack import Stack, StackFactory

# Each is of a file of its own, and files are parsed one after the other.
DAGS = [
    *(f"{kind}__{model}" for kind in ("retrain", "release", "rollback") for model in (MODEL, BACKFILLED, *RELEASED)),
    *(f"{kind}__{model}" for kind in ("retrain", "monitor") for model in MONITORED),
]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dags_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def stack(make_stack: StackFactory, project: Path) -> Stack:
    return make_stack(PERENNIAL_PROJECT=str(project))


@pytest.fixture(scope="session")
def loop(stack: Stack, up_with_airflow: Callable[[Stack], Settings]) -> Iterator[Loop]:
    """The stack once all of its Dags are parsed, with the example's warehouse."""
    settings = up_with_airflow(stack)
    load(settings)
    with open_loop(settings, dags=[*DAGS, "probe_dag"]) as loop:
        yield loop


@pytest.fixture(scope="session")
def demo(stack: Stack, loop: Loop) -> str:
    """What the demo says, which retrains and releases the example for the first time."""
    done = perennial(stack, "demo", seconds=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def first(loop: Loop, demo: str) -> DagRunState:
    """The example's first retraining, of all candidates, released."""
    return loop.api.read_dag_run(loop.retrain, DEMO_RUN)


@pytest.fixture(scope="session")
def row(loop: Loop) -> dict[str, object]:
    """A real flight of April, as a caller would send it."""
    spec = load_spec(spec_path(loop.settings, MODEL))
    noon = datetime(2013, 4, 1, 16, tzinfo=UTC)
    return read_feature_rows(spec, noon, noon + timedelta(hours=1), settings=loop.settings, limit=1)[0]
