"""`monitor__<model>` in a real stack: from a window to a mail and a retraining, whatever is killed on the way, seven at once."""

import email
import email.policy
import mailbox
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml

from perennial.adapters import supervisor
from perennial.adapters.airflow_api import AirflowApi, DagRunState, TaskState
from perennial.adapters.state import StateStore
from perennial.contracts.monitoring import RetrainRequest, Verdict
from support.dags.loop import ENDED, text_of
from support.monitoring.monitored_models import (
    TRAINED_UNTIL,
    WEEK,
    Monitored,
    make_monitored,
    make_parcels,
    parcels_spec,
    parcels_values,
)
from support.stacks.projects import make_project
from support.waiting import wait_for

pytestmark = [
    pytest.mark.integration,
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

MODELS = [f"parcels{number}" for number in range(1, 8)]
START, END = TRAINED_UNTIL + WEEK, TRAINED_UNTIL + 2 * WEEK
SUITE = {
    "name": "parcels",
    "expectations": [
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}, "meta": {"why": "It is the key"}}
    ],
}


@dataclass(frozen=True, kw_only=True)
class Watch:
    """A stack with seven models that are monitored."""

    api: AirflowApi
    models: dict[str, Monitored]

    def start(self, model: str, dag_run_id: str, start: datetime = START, end: datetime = END) -> DagRunState:
        return self.api.trigger(f"monitor__{model}", dag_run_id, {"start": start.isoformat(), "end": end.isoformat()})

    def finish(self, run: DagRunState) -> str:
        def state() -> str | None:
            now = self.api.read_dag_run(run.dag_id, run.dag_run_id).state
            return now if now in ENDED else None

        return str(wait_for(state, what=f"{run.dag_id} {run.dag_run_id} ends", seconds=400, pause_seconds=0.3))

    def tasks(self, run: DagRunState) -> dict[str, str | None]:
        return {each.task_id: each.state for each in self.api.read_tasks(run.dag_id, run.dag_run_id)}

    def task(self, run: DagRunState, task_id: str) -> TaskState | None:
        return next((each for each in self.api.read_tasks(run.dag_id, run.dag_run_id) if each.task_id == task_id), None)

    def verdicts(self, model: str) -> tuple[Verdict, ...]:
        with StateStore(self.models[model].settings.state_url) as state:
            return state.read_verdicts(model, before=END, limit=10)

    def requests(self, model: str) -> tuple[RetrainRequest, ...]:
        with StateStore(self.models[model].settings.state_url) as state:
            return state.read_requests(model)

    def mails(self, dag_run_id: str) -> list[EmailMessage]:
        box = mailbox.Maildir(self.models[MODELS[0]].settings.paths.inbox, create=False)
        found = [email.message_from_bytes(box.get_bytes(key), policy=email.policy.default) for key in box.keys()]  # noqa: SIM118
        return [mail for mail in found if dag_run_id in text_of(mail)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = make_project(tmp_path_factory.mktemp("project"))
    for model in MODELS:
        (project / "include" / "models" / f"{model}.yaml").write_text(yaml.safe_dump(parcels_values(model)))
    (project / "include" / "expectations" / "parcels.yaml").write_text(yaml.safe_dump(SUITE))
    return project


@pytest.fixture(scope="module")
def stack(make_stack, project: Path):
    stack = make_stack(PERENNIAL_PROJECT=str(project))
    stack.up()
    yield stack
    stack.down()


@pytest.fixture(scope="module")
def watch(stack, project: Path) -> Iterator[Watch]:
    settings = stack.settings
    api = AirflowApi(settings.airflow_api_url, user="admin", password=settings.secret("admin_password"))
    models = {model: make_monitored(settings, parcels_spec(model), project) for model in MODELS}
    wait_for(lambda: all(api.has_dag(f"monitor__{model}") for model in MODELS), what="Airflow parses the Dags", seconds=120)
    assert api.read_import_errors() == []
    yield Watch(api=api, models=models)
    api.close()


def with_new_carrier(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(carrier=rows["carrier"].mask(np.arange(len(rows)) % 3 == 0, "ZZ"))


def test_a_window_that_drifted_is_mailed_and_retrained_on_once(stack, watch: Watch) -> None:
    model = "parcels1"
    watch.models[model].happen(START - WEEK, START, seed=1, prefix="before")
    watch.models[model].happen(START, END, seed=2, rows=with_new_carrier)
    run = watch.start(model, "drifted")
    assert watch.finish(run) == "success"
    assert watch.tasks(run) == dict.fromkeys(("plan", "measure", "ask_gatekeeper", "trigger_retraining", "report"), "success")

    [request] = watch.requests(model)
    assert (request.source, request.outcome, request.as_of) == ("monitor", "granted", END)
    retraining = watch.api.read_dag_run(f"retrain__{model}", request.dag_run_id)
    assert watch.finish(retraining) == "success", watch.tasks(retraining)
    [request] = watch.requests(model)
    assert request.ended_at is not None
    assert {"evaluate": "success", "end_request": "success"}.items() <= watch.tasks(retraining).items()
    with StateStore(stack.settings.state_url) as state:
        assert state.read_decision(model, request.dag_run_id) is not None

    [mail] = [each for each in watch.mails("drifted") if model in each["Subject"]]
    assert "drift" in mail["Subject"]
    assert request.dag_run_id in text_of(mail)
    assert len(mail.as_bytes()) <= 200_000
    page = stack.settings.paths.reports / watch.verdicts(model)[0].report
    assert page.is_file()

    again = watch.start(model, "looked-at-again")
    assert watch.finish(again) == "success"
    # The same wish has the same answer, and its run is there already.
    assert watch.tasks(again)["trigger_retraining"] == "skipped"
    assert len(watch.requests(model)) == len(watch.verdicts(model)) == 1
    assert [each.dag_run_id for each in watch.api.find_dag_runs(f"retrain__{model}")] == [request.dag_run_id]


def test_what_was_asked_for_is_shown_in_the_terminal_and_asked_for_twice_is_once(stack, watch: Watch) -> None:
    model = "parcels7"
    arguments = ["requests", model, "--ask", "--reason", "new depots", "--as-of", f"{TRAINED_UNTIL:%Y-%m-%d}"]
    first, second = perennial(stack, *arguments), perennial(stack, *arguments)
    assert (first.returncode, second.returncode, first.stdout) == (0, 0, second.stdout), first.stderr
    [request] = watch.requests(model)
    assert f"granted: request__{request.request_id}, not ended" in first.stdout
    [run] = watch.api.find_dag_runs(f"retrain__{model}")
    assert run.dag_run_id == request.dag_run_id
    other = perennial(stack, *arguments[:4], "at once", *arguments[5:], "--force")
    assert f"the retraining {run.dag_run_id} of request {request.request_id} has not ended" in other.stdout
    assert watch.finish(run) == "success", watch.tasks(run)
    listed = perennial(stack, "requests", model)
    shown = [line.split()[0] for line in listed.stdout.splitlines()][::2]
    assert shown == [str(each.request_id) for each in watch.requests(model)]


def perennial(stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "perennial"), *arguments]
    return subprocess.run(command, env=dict(stack.environment), capture_output=True, text=True, check=False, timeout=120)


def test_killed_on_the_way_it_is_one_verdict_one_mail_and_one_retraining(stack, watch: Watch) -> None:
    model, settings = "parcels2", stack.settings
    watch.models[model].happen(START - WEEK, START, seed=3, prefix="before")
    watch.models[model].happen(START, END, seed=4, rows=with_new_carrier)
    supervisor.stop_program(settings, "inbox")
    run = watch.start(model, "killed")
    kill_task(watch, run, "measure")
    wait_for(lambda: state_of(watch, run, "ask_gatekeeper") in ("scheduled", "queued", "running", "success"), seconds=300)
    [postgres] = [each for each in supervisor.program_states(settings) if each.program == "postgres"]
    os.kill(postgres.pid or 0, signal.SIGKILL)
    wait_for(lambda: state_of(watch, run, "report") == "up_for_retry", what="the mail server is missed", seconds=300)
    [verdict] = watch.verdicts(model)
    assert verdict.outcome == "drift"
    supervisor.start_program(settings, "inbox")
    assert watch.finish(run) == "success", watch.tasks(run)
    assert len(watch.verdicts(model)) == 1
    assert len([each for each in watch.mails("killed") if "drift" in each["Subject"]]) == 1
    [request] = watch.requests(model)
    assert [each.dag_run_id for each in watch.api.find_dag_runs(f"retrain__{model}")] == [request.dag_run_id]


def state_of(watch: Watch, run: DagRunState, task_id: str) -> str | None:
    found = watch.task(run, task_id)
    return found.state if found else None


def kill_task(watch: Watch, run: DagRunState, task_id: str) -> None:
    """Kill a task's process while it runs; returns when Airflow is about to try it again."""

    def running() -> int | None:
        found = watch.task(run, task_id)
        return found.process_id if found and found.state == "running" else None

    psutil.Process(wait_for(running, what=f"{task_id} runs", seconds=120)).kill()
    wait_for(lambda: state_of(watch, run, task_id) == "up_for_retry", what=f"the end of {task_id} is noticed", seconds=120)


def test_what_was_not_measured_is_not_mailed_as_a_verdict(watch: Watch) -> None:
    run = watch.start("parcels3", "backwards", END, START)
    assert watch.finish(run) == "failed"
    not_reached = dict.fromkeys(("measure", "ask_gatekeeper", "trigger_retraining"), "upstream_failed")
    assert watch.tasks(run) == not_reached | {"plan": "failed", "report": "skipped"}


def test_seven_at_once_finish_and_each_is_mailed(watch: Watch) -> None:
    start, end = END, END + WEEK
    for model in MODELS:
        watch.models[model].ask(make_parcels(start, end, seed=9, n_per_week=400), prefix="many")
    runs = [watch.start(model, "at-once", start, end) for model in MODELS]
    assert [watch.finish(run) for run in runs] == ["success"] * len(MODELS)
    # None of them asks for a retraining, and a verdict is mailed whatever it is.
    skipped = dict.fromkeys(("ask_gatekeeper", "trigger_retraining"), "skipped")
    assert [watch.tasks(run) for run in runs] == [dict.fromkeys(("plan", "measure", "report"), "success") | skipped] * len(MODELS)
    subjects = sorted(mail["Subject"].split(" (")[0] for mail in watch.mails("at-once"))
    assert [subject.split(":")[0] for subject in subjects] == [f"[perennial] {model}" for model in MODELS], subjects
