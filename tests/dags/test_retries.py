"""How long tasks wait before they are tried again."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from perennial_airflow import factory
from support.dags.dag_files import load_dag_file


@pytest.fixture
def seven_seconds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The setting in a process that has made no Dag yet."""
    monkeypatch.setenv("PERENNIAL_RETRY_DELAY_SECONDS", "7")
    factory._retry_arguments.cache_clear()
    yield
    factory._retry_arguments.cache_clear()


@pytest.mark.parametrize("kind", ["retrain", "release", "rollback", "monitor", "score", "housekeeping"])
def test_tasks_of_every_dag_wait_as_long_as_the_setting_says(seven_seconds: None, kind: str) -> None:
    loaded = vars(load_dag_file(kind))
    dag = loaded["dag"] if kind == "housekeeping" else loaded[f"{kind}__flight_delay"]
    waits = {task.retry_delay for task in dag.tasks} | {task.retry_policy.rules[-1].retry_delay for task in dag.tasks}
    assert waits == {timedelta(seconds=7)}
