"""What holds for all tests: which of them share a worker, and in which order they run."""

import gc
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from support.data.data_registry import begin
from support.run_folder import make_run_folder
from support.stacks.environment import AIRFLOW_WAITS

# It goes when all tests have passed, else when the next run begins.
_LEAD = "PYTEST_XDIST_WORKER" not in os.environ
if _LEAD:
    os.environ["TMPDIR"] = tempfile.tempdir = str(make_run_folder(Path("/tmp")))
# Importing Airflow makes a folder for its logs, in the user's home unless told otherwise.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-")
# `Stack.up` starts services from this process: they inherit its variables, not those of the stack's `environment`.
os.environ.update(AIRFLOW_WAITS)
# Threads of OpenMP that wait for each other sleep: by default they turn, which takes the cores from the other worker.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

# The longest first: what begins last must not be long. Before all else those groups whose files share a stack with Airflow.
_FIRST = ("dags", "kills")
_ORDER = ("integration", "processes", "bentos", "dags", "plugins", "unit")
_TESTS = Path(__file__).parent


@pytest.fixture(scope="session")
def begun_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data registry in which nothing was kept yet, to be copied: DVC takes half a second to begin one."""
    return begin(tmp_path_factory.mktemp("begun") / "data-registry")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(exitstatus: int) -> None:
    # pytest collects garbage five times before it ends, of everything that a worker has imported: a minute, all together.
    gc.freeze()
    if _LEAD and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one file share a worker, and with it their fixtures; so do those of files that name a common group.

    First, as pytest-xdist reads the groups afterwards.
    """
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(_TESTS).with_suffix("").as_posix()))
    items.sort(key=_rank)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Put the group behind the id, by which workers get tests: pytest-xdist 3.8 does it where pytest 9.2 no longer looks.

    Not before, as `--lf` chooses tests by their ids.
    """
    if getattr(session.config.option, "loadgroup", False):
        for item in session.items:
            group = item.get_closest_marker("xdist_group")
            item._id = type(item._id).parse(f"{item.nodeid}@{group.args[0]}")
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell of a test under the id by which it can be run again."""
    at = report.nodeid.rfind("@")
    if _LEAD and at > report.nodeid.rfind("]"):
        report.nodeid = report.nodeid[:at]


def _rank(item: pytest.Item) -> tuple[bool, int]:
    group = item.get_closest_marker("xdist_group")
    return not (group and group.args[0] in _FIRST), _ORDER.index(item.path.relative_to(_TESTS).parts[0])
