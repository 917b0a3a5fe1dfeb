"""One stack, whose project has the models that these tests run Dags of: small ones, that train and release in seconds.

The example as it is shipped goes round in `integration/loop`. All files of this folder are of the group `dags`,
so that one worker starts one stack for them.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perennial.config.settings import Settings
from support.dags.loop import MODEL, Loop, open_loop
from support.dags.project import MONITORED, RELEASED, make_dags_project
from support.data.warehouse_flights import load
from support.stacks.stack import Stack, StackFactory

# Each is of a file of its own, and files are parsed one after the other.
DAGS = [
    *(f"{kind}__{model}" for kind in ("retrain", "release", "rollback") for model in (MODEL, *RELEASED)),
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
