"""Follow a Dag run from the terminal: which task, how long."""

import time

from rich.console import Console
from rich.status import Status

from perennial.adapters.airflow_api import AirflowApi, DagRunState, TaskState
from perennial.errors import StackError, UnavailableError

_POLL_SECONDS = 1.0
_DONE = {"success": "[green]✓[/]", "failed": "[red]✗[/]", "skipped": "[dim]–[/]", "upstream_failed": "[dim]↯[/]"}


def watch_dag_run(api: AirflowApi, run: DagRunState, *, console: Console, deadline_seconds: float) -> DagRunState:
    """Print each task as it ends, and what is running meanwhile, until the run has ended.

    Raises
    ------
    StackError
        When the run has not ended by the deadline.
    """
    began, printed = time.monotonic(), set[tuple[str, str]]()
    with console.status(f"{run.dag_id}: waiting for its first task") as status:
        while time.monotonic() - began < deadline_seconds:
            try:
                run = api.read_dag_run(run.dag_id, run.dag_run_id)
                _show(api.read_tasks(run.dag_id, run.dag_run_id), run, printed, console, status, time.monotonic() - began)
            except UnavailableError as error:  # Airflow comes back by itself; the deadline bounds the wait.
                status.update(error.what)
            if run.state in ("success", "failed"):
                return run
            time.sleep(_POLL_SECONDS)
    raise StackError(
        f"{run.dag_id} run {run.dag_run_id} is still {run.state} after {deadline_seconds:.0f} s", "look at it in Airflow's UI"
    )


def _show(
    tasks: list[TaskState], run: DagRunState, printed: set[tuple[str, str]], console: Console, status: Status, seconds: float
) -> None:
    for task in tasks:
        if task.state in _DONE and (task.task_id, task.map_name) not in printed:
            printed.add((task.task_id, task.map_name))
            took = f"{task.seconds:6.1f} s" if task.seconds is not None else " " * 8
            console.print(f"  {_DONE[task.state]} {took}  {_name(task)}", highlight=False)
    running = ", ".join(_name(task) for task in tasks if task.state in ("running", "up_for_retry"))
    status.update(f"{run.dag_id}: {running or 'between tasks'} ({seconds:.0f} s)")


def _name(task: TaskState) -> str:
    return f"{task.task_id}  {task.map_name}".rstrip()
