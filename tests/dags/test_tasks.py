"""What holds for the tasks of every Dag."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from perennial_airflow import factory
from support.dags.dag_files import load_dag_file

KINDS = ("retrain", "release", "rollback", "monitor", "score", "housekeeping")


def load_dag(kind: str) -> Any:
    loaded = vars(load_dag_file(kind))
    return loaded["dag"] if kind == "housekeeping" else loaded[f"{kind}__flight_delay"]


@pytest.fixture
def seven_seconds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The setting in a process that has made no Dag yet."""
    monkeypatch.setenv("PERENNIAL_RETRY_DELAY_SECONDS", "7")
    factory._retry_arguments.cache_clear()
    yield
    factory._retry_arguments.cache_clear()


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_is_tried_again_as_late_as_the_setting_says(seven_seconds: None, kind: str) -> None:
    dag = load_dag(kind)
    waits = {task.retry_delay for task in dag.tasks} | {task.retry_policy.rules[-1].retry_delay for task in dag.tasks}
    assert waits == {timedelta(seconds=7)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_leaves_its_record_as_one_xcom(kind: str) -> None:
    """Each further one is a request to the API server."""
    tasks = {task.task_id: (task.is_mapped and task.partial_kwargs) or vars(task) for task in load_dag(kind).tasks}
    assert [name for name, options in tasks.items() if options.get("multiple_outputs")] == []
