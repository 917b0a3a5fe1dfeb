"""What holds for all tests."""

import os
import tempfile

import pytest

# Importing Airflow makes a folder for its logs, in the user's home unless told otherwise. Gone when the tests end.
_airflow_home = tempfile.TemporaryDirectory(prefix="pn-airflow-home-")
os.environ["AIRFLOW_HOME"] = _airflow_home.name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Workers share the tests by file; those that need the example's loop go to one worker, which makes it once, and first."""
    with_loop = {item.path for item in items if "loop" in getattr(item, "fixturenames", ())}
    for item in items:
        item.add_marker(pytest.mark.xdist_group("loop" if item.path in with_loop else item.path.name))
    items.sort(key=lambda item: item.path not in with_loop)
