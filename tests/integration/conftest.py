"""A real stack for the integration tests: the code of `perennial up`, on free ports, in a short temporary folder.

A test asks for as much of it as it needs, and what one test started the next one finds running:

    def test_something(stack):
        settings = stack.up("postgres", "mlflow")   # these and what they need
        settings = stack.up()                       # everything

Inside such a test `Settings.load()` and child processes find the same stack through `PERENNIAL_*` variables.
"""

from collections.abc import Callable, Iterator

import psycopg2
import pytest

from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.stack.postgres import connect
from support.data.state_tables import forget
from support.data.warehouse_flights import load
from support.stacks.stack import Stack, StackFactory, making_stacks


@pytest.fixture(scope="session")
def make_stack() -> Iterator[StackFactory]:
    """Makes further stacks, with `PERENNIAL_*` variables over the defaults; they end with the session."""
    with making_stacks() as make:
        yield make


@pytest.fixture(scope="session")
def stack(make_stack: StackFactory) -> Stack:
    """The stack that the tests of a session share. Nothing runs until a test calls its `up`."""
    return make_stack()


@pytest.fixture(scope="module")
def settings(stack: Stack) -> Settings:
    """The shared stack with its Postgres; files whose tests need more of it have a fixture of this name of their own."""
    return stack.up("postgres")


@pytest.fixture(scope="module")
def warehouse(stack: Stack) -> Settings:
    """The shared stack with the example's flights in its warehouse: loaded for the first file that asks, found by the others."""
    settings = stack.up("postgres")
    load(settings)
    return settings


@pytest.fixture
def state(settings: Settings) -> Iterator[StateStore]:
    with StateStore(settings.state_url) as store:
        yield store


@pytest.fixture
def cursor(settings: Settings) -> Iterator[psycopg2.extensions.cursor]:
    """Plain SQL in the state database, each statement a transaction."""
    with connect(settings, "perennial", role="perennial") as connection, connection.cursor() as open_cursor:
        yield open_cursor


@pytest.fixture
def model(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    """A model of the test's own, as the stack is shared; gone after it, so that no other test meets it."""
    yield request.node.name
    forget(settings, request.node.name)


_WITH_AIRFLOW = pytest.StashKey[list[Stack]]()


@pytest.fixture(scope="session")
def up_with_airflow(request: pytest.FixtureRequest) -> Callable[[Stack], Settings]:
    """Starts all of a stack until the tests of its group are over: idle, Airflow would take a third of a core from the others."""
    started = request.session.stash.setdefault(_WITH_AIRFLOW, [])

    def start(stack: Stack) -> Settings:
        started.append(stack)
        return stack.up()

    return start


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End what `up_with_airflow` started; a stack that others use as well starts again what they need."""
    started = item.session.stash.get(_WITH_AIRFLOW, [])
    if started and nextitem and _group(item) != _group(nextitem):
        while started:
            started.pop().kill()


def _group(item: pytest.Item) -> object:
    marker = item.get_closest_marker("xdist_group")
    return marker and marker.args[0]


@pytest.fixture(autouse=True, scope="session")
def _pages_with_one_column_drawn_in_detail() -> Iterator[None]:
    """Each takes Evidently half a second. All are drawn in tests/unit/adapters/test_drift_report and tests/integration/dags."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("perennial.adapters.drift_report._N_DETAILED", 1)
        yield


@pytest.fixture(autouse=True)
def _lead_to_the_stack(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "stack" not in request.fixturenames:
        return
    for name, value in request.getfixturevalue("stack").environment.items():
        monkeypatch.setenv(name, value)
