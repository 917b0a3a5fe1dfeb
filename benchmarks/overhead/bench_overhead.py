"""The loop's wall time from trigger to serving, against one bare script that does the same work in one process.

Starts a stack of its own in a temporary folder, with the example's spec but no time limit on the search, so that both sides fit
the same models. Prints where every second of the Dags goes. Run: `python benchmarks/overhead/bench_overhead.py`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from perennial.adapters.airflow_api import AirflowApi, DagRunState, TaskState
from perennial.adapters.flights import load_flights
from perennial.config.settings import Settings
from perennial.stack.lifecycle import down, up

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from support.stacks.projects import PROJECT, make_project

PORTS = {"AIRFLOW": 18080, "MLFLOW": 15000, "GATEWAY": 13000, "SMTP": 11025, "INBOX": 18025, "POSTGRES": 15433}
AS_OF = "2013-04-01"
DEADLINE_SECONDS = 1200
# The release's own build, start-up and checks are no overhead of the loop.
RELEASE_WORK = ("build_bento", "check_serving")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """The two Dag runs of one retraining, task by task, and when it was triggered."""

    triggered_at: datetime
    tasks: list[TaskState]

    def seconds(self, instant: datetime) -> float:
        return round((instant - self.triggered_at).total_seconds(), 1)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pn") as name:
        environ = prepare(Path(name))
        settings = Settings.load(environ)
        try:
            up(settings)
            load_flights(settings.database_url("warehouse"), settings.project, progress=lambda *_: None)
            bare = run_bare(environ, Path(name))
            loop = run_loop(settings)
        finally:
            down(settings)
    report(bare, loop)


def prepare(folder: Path) -> dict[str, str]:
    """A copy of the project, and the environment that leads to it."""
    project = folder / "project"
    project.mkdir()
    make_project(project)
    ports = {f"PERENNIAL_{name}_PORT": str(port) for name, port in PORTS.items()}
    places = {"PERENNIAL_PROJECT": str(project), "PERENNIAL_VAR": str(folder / "var")}
    return os.environ | ports | places | {"PERENNIAL_BENTO_PORTS": "13100-13199"}


def run_bare(environ: dict[str, str], folder: Path) -> dict[str, object]:
    script = PROJECT / "benchmarks" / "overhead" / "bare.py"
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, str(script), AS_OF, str(folder)]
    output = subprocess.run(command, env=environ | threads, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, object] = json.loads(output.splitlines()[-1])
    return result


def run_loop(settings: Settings) -> Loop:
    api = AirflowApi(settings.airflow_api_url, user="admin", password=settings.secret("admin_password"))
    wait(lambda: api.has_dag("retrain__flight_delay") and api.has_dag("release__flight_delay"))
    triggered_at = datetime.now().astimezone()
    retrain = api.trigger("retrain__flight_delay", "benchmark", {"as_of": AS_OF})
    finish(api, retrain)
    wait(lambda: bool(api.find_triggered(retrain.dag_id, retrain.dag_run_id)))
    [release] = api.find_triggered(retrain.dag_id, retrain.dag_run_id)
    finish(api, release)
    tasks = [task for run in (retrain, release) for task in api.read_tasks(run.dag_id, run.dag_run_id)]
    return Loop(triggered_at=triggered_at, tasks=[task for task in tasks if task.started_at and task.ended_at])


def finish(api: AirflowApi, run: DagRunState) -> None:
    wait(lambda: api.read_dag_run(run.dag_id, run.dag_run_id).state in ("success", "failed"))
    state = api.read_dag_run(run.dag_id, run.dag_run_id).state
    assert state == "success", f"{run.dag_id} ended as {state}"


def wait(is_done) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_done():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.5)


def report(bare: dict[str, object], loop: Loop) -> None:
    print(json.dumps({"bare": bare}))
    for task in loop.tasks:
        print(f"{loop.seconds(task.started_at):7.1f} +{task.seconds:6.1f}  {task.task_id}  {task.map_name}")
    [promoted] = [task.ended_at for task in loop.tasks if task.task_id == "promote"]
    release_work = sum(task.seconds for task in loop.tasks if task.task_id in RELEASE_WORK)
    to_serving = loop.seconds(promoted)
    summary = {
        "trigger_to_serving": to_serving,
        "of_it_bento_and_check": round(release_work, 1),
        "loop": round(to_serving - release_work, 1),
        "bare": bare["total"],
        "overhead": round(to_serving - release_work - float(str(bare["total"])), 1),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
