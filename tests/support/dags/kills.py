"""`kill -9` of a task's process, as a machine that loses its memory does it."""

from collections.abc import Callable

import psutil

from perennial.adapters.airflow_api import DagRunState
from support.dags.loop import ENDED, Loop
from support.waiting import wait_for


def kill_task(loop: Loop, run: DagRunState, task_id: str, *, is_there: Callable[[], bool] = lambda: True) -> None:
    """Kill a task's process as soon as the task runs and is there; returns when Airflow is about to try it again, or does.

    Raises
    ------
    AssertionError
        Where the task ends in spite of it: then nothing was killed on the way.
    """

    def running() -> psutil.Process | None:
        found = loop.task(run, task_id)
        assert found is None or found.state not in ENDED, f"{task_id} ended before it was killed"
        return psutil.Process(found.process_id) if found and found.state == "running" and found.process_id else None

    process: psutil.Process = wait_for(
        lambda: (found := running()) and is_there() and found, what=f"{task_id} is there", seconds=120
    )
    process.kill()

    def is_tried_again() -> bool:
        found = loop.task(run, task_id)
        return bool(found and (found.state == "up_for_retry" or found.process_id != process.pid))

    wait_for(is_tried_again, what=f"the end of {task_id} is noticed", seconds=120)
