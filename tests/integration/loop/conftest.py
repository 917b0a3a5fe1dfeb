"""One stack with the example as it is shipped, but for its budget; all files of this folder are of the group `loop`."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from perennial.adapters.airflow_api import DagRunState
from perennial.config.settings import Settings
from perennial.config.spec_file import load_spec, spec_path
from perennial.steps.rows import read_feature_rows
from support.dags.loop import AS_OF, MODEL, RELEASE, RETRAIN, Loop, open_loop
from support.data.warehouse_flights import load
from support.stacks.git_projects import copy_project
from support.stacks.projects import PROJECT
from support.stacks.stack import Stack, StackFactory

# All candidates go the same way as with the whole budget, and the retraining that all tests begin with is over soon.
BUDGET = {"trials": 2, "seconds": 20, "rows": 12000, "folds": 2}


@pytest.fixture(scope="session")
def stack(make_stack: StackFactory, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """A stack whose project is a git repository of its own: what is trained here can be built again."""
    project = tmp_path_factory.mktemp("example")
    spec = yaml.safe_load((PROJECT / "include" / "models" / f"{MODEL}.yaml").read_text())
    copy_project(project, specs={MODEL: {**spec, "budget": BUDGET}})
    return make_stack(PERENNIAL_PROJECT=str(project))


@pytest.fixture(scope="session")
def loop(stack: Stack, up_with_airflow: Callable[[Stack], Settings]) -> Iterator[Loop]:
    """The stack with the example's warehouse and Dags."""
    settings = up_with_airflow(stack)
    load(settings)
    with open_loop(settings, dags=(RETRAIN, RELEASE)) as loop:
        yield loop


@pytest.fixture(scope="session")
def first(loop: Loop) -> DagRunState:
    """The first retraining of all candidates, released."""
    run = loop.start("first", as_of=AS_OF)
    assert loop.finish(run) == "success", loop.task_states(run)
    assert loop.finish_release(run) == "success"
    return run


@pytest.fixture(scope="session")
def row(loop: Loop) -> dict[str, object]:
    """A real flight of April, as a caller would send it."""
    spec = load_spec(spec_path(loop.settings, MODEL))
    noon = datetime(2013, 4, 1, 16, tzinfo=UTC)
    return read_feature_rows(spec, noon, noon + timedelta(hours=1), settings=loop.settings, limit=1)[0]
