"""`monitor__<model>` in a real stack: from a window to a mail and a retraining, whatever is killed on the way, many at once."""

import os
import signal
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perennial.adapters import supervisor
from perennial.adapters.airflow_api import DagRunState
from perennial.adapters.state import StateStore
from perennial.contracts.monitoring import RetrainRequest, Verdict
from support.dags.kills import kill_task
from support.dags.loop import Loop, text_of
from support.dags.project import MONITORED
from support.monitoring.monitored_models import (
    TRAINED_UNTIL,
    WEEK,
    Monitored,
    make_monitored,
    make_parcels,
    parcels_spec,
)
from support.stacks.services import perennial
from support.waiting import wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("dags"),
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

START, END = TRAINED_UNTIL + WEEK, TRAINED_UNTIL + 2 * WEEK


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Models that are monitored on one stack, each made when it is first asked for."""

    loop: Loop
    project: Path
    made: dict[str, Monitored] = field(default_factory=dict)

    def model(self, name: str) -> Monitored:
        if name not in self.made:
            self.made[name] = make_monitored(self.loop.settings, parcels_spec(name), self.project)
        return self.made[name]

    def start(self, model: str, dag_run_id: str, start: datetime = START, end: datetime = END) -> DagRunState:
        return self.loop.api.trigger(f"monitor__{model}", dag_run_id, {"start": start.isoformat(), "end": end.isoformat()})

    def verdicts(self, model: str) -> tuple[Verdict, ...]:
        with StateStore(self.loop.settings.state_url) as state:
            return state.read_verdicts(model, before=END, limit=10)

    def requests(self, model: str) -> tuple[RetrainRequest, ...]:
        with StateStore(self.loop.settings.state_url) as state:
            return state.read_requests(model)


@pytest.fixture(scope="module")
def watch(loop: Loop, project: Path) -> Watch:
    return Watch(loop=loop, project=project)


def with_new_carrier(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(carrier=rows["carrier"].mask(np.arange(len(rows)) % 3 == 0, "ZZ"))


def test_a_window_that_drifted_is_mailed_and_retrained_on_once(stack, watch: Watch) -> None:
    model = "parcels1"
    watch.model(model).happen(START - WEEK, START, seed=1, prefix="before")
    watch.model(model).happen(START, END, seed=2, rows=with_new_carrier)
    run = watch.start(model, "drifted")
    assert watch.loop.finish(run) == "success"
    tasks = ("plan", "measure", "ask_gatekeeper", "trigger_retraining", "report")
    assert watch.loop.task_states(run) == dict.fromkeys(tasks, "success")

    [request] = watch.requests(model)
    assert (request.source, request.outcome, request.as_of) == ("monitor", "granted", END)
    retraining = watch.loop.api.read_dag_run(f"retrain__{model}", request.dag_run_id)
    assert watch.loop.finish(retraining) == "success", watch.loop.task_states(retraining)
    [request] = watch.requests(model)
    assert request.ended_at is not None
    assert {"evaluate": "success", "refit": "success", "end_request": "success"}.items() <= watch.loop.task_states(
        retraining
    ).items()
    with StateStore(stack.settings.state_url) as state:
        assert state.read_decision(model, request.dag_run_id) is not None

    said = watch.loop.api.read_note(run.dag_id, run.dag_run_id)
    assert (said[:7], said.rpartition("\n\n")[2]) == ("Drift: ", f"Retraining granted: {request.dag_run_id}")
    assert watch.loop.api.read_note(retraining.dag_id, retraining.dag_run_id).startswith("Challenger ")

    [mail] = [each for each in watch.loop.mails("drifted") if model in each["Subject"]]
    assert "drift" in mail["Subject"]
    assert request.dag_run_id in text_of(mail)
    assert len(mail.as_bytes()) <= 200_000
    page = stack.settings.paths.reports / watch.verdicts(model)[0].report
    assert page.is_file()

    again = watch.start(model, "looked-at-again")
    assert watch.loop.finish(again) == "success"
    # The same wish has the same answer, and its run is there already.
    assert watch.loop.task_states(again)["trigger_retraining"] == "skipped"
    assert len(watch.requests(model)) == len(watch.verdicts(model)) == 1
    assert [each.dag_run_id for each in watch.loop.api.find_dag_runs(f"retrain__{model}")] == [request.dag_run_id]


def test_what_was_asked_for_is_shown_in_the_terminal_and_asked_for_twice_is_once(stack, watch: Watch) -> None:
    model = "parcels4"
    watch.model(model)
    arguments = ["requests", model, "--ask", "--reason", "new depots", "--as-of", f"{TRAINED_UNTIL:%Y-%m-%d}"]
    first, second = perennial(stack, *arguments), perennial(stack, *arguments)
    assert (first.returncode, second.returncode, first.stdout) == (0, 0, second.stdout), first.stderr
    [request] = watch.requests(model)
    assert f"granted: request__{request.request_id}, not ended" in first.stdout
    [run] = watch.loop.api.find_dag_runs(f"retrain__{model}")
    assert run.dag_run_id == request.dag_run_id
    other = perennial(stack, *arguments[:4], "at once", *arguments[5:], "--force")
    assert f"the retraining {run.dag_run_id} of request {request.request_id} has not ended" in other.stdout
    watch.loop.call("PATCH", f"/dags/{run.dag_id}/dagRuns/{run.dag_run_id}", json={"state": "failed"})
    listed = perennial(stack, "requests", model)
    shown = [line.split()[0] for line in listed.stdout.splitlines()][::2]
    assert shown == [str(each.request_id) for each in watch.requests(model)]


@pytest.mark.soak
def test_killed_on_the_way_it_is_one_verdict_one_mail_and_one_retraining(stack, watch: Watch) -> None:
    model, settings = "parcels2", stack.settings
    watch.model(model).happen(START - WEEK, START, seed=3, prefix="before")
    watch.model(model).happen(START, END, seed=4, rows=with_new_carrier)
    supervisor.stop_program(settings, "inbox")
    run = watch.start(model, "killed")
    kill_task(watch.loop, run, "measure")
    wait_for(lambda: state_of(watch, run, "ask_gatekeeper") in ("scheduled", "queued", "running", "success"), seconds=300)
    [postgres] = [each for each in supervisor.program_states(settings) if each.program == "postgres"]
    os.kill(postgres.pid or 0, signal.SIGKILL)
    wait_for(lambda: state_of(watch, run, "report") == "up_for_retry", what="the mail server is missed", seconds=300)
    [verdict] = watch.verdicts(model)
    assert verdict.outcome == "drift"
    supervisor.start_program(settings, "inbox")
    assert watch.loop.finish(run) == "success", watch.loop.task_states(run)
    assert len(watch.verdicts(model)) == 1
    assert len([each for each in watch.loop.mails("killed") if "drift" in each["Subject"]]) == 1
    [request] = watch.requests(model)
    assert [each.dag_run_id for each in watch.loop.api.find_dag_runs(f"retrain__{model}")] == [request.dag_run_id]


def state_of(watch: Watch, run: DagRunState, task_id: str) -> str | None:
    found = watch.loop.task(run, task_id)
    return found.state if found else None


def test_what_was_not_measured_is_not_mailed_as_a_verdict(watch: Watch) -> None:
    run = watch.start("parcels3", "backwards", END, START)
    assert watch.loop.finish(run) == "failed"
    not_reached = dict.fromkeys(("measure", "ask_gatekeeper", "trigger_retraining"), "upstream_failed")
    assert watch.loop.task_states(run) == not_reached | {"plan": "failed", "report": "skipped"}
    # Who asked for a window that ends before it begins is told, and nobody else.
    assert "has no width. give a start before the end" in watch.loop.api.read_note(run.dag_id, run.dag_run_id)
    assert watch.loop.mails("backwards") == []


@pytest.mark.soak
def test_many_at_once_finish_and_each_is_mailed(watch: Watch) -> None:
    """More than may be measured at the same time."""
    start, end, key = END, END + WEEK, "at-once"
    for name in MONITORED:
        watch.model(name).ask(make_parcels(start, end, seed=9, n_per_week=400), prefix=key)
    runs = [watch.start(name, key, start, end) for name in MONITORED]
    assert [watch.loop.finish(run) for run in runs] == ["success"] * len(MONITORED)
    # None of them asks for a retraining, and a verdict is mailed whatever it is.
    skipped = dict.fromkeys(("ask_gatekeeper", "trigger_retraining"), "skipped")
    expected = dict.fromkeys(("plan", "measure", "report"), "success") | skipped
    assert [watch.loop.task_states(run) for run in runs] == [expected] * len(MONITORED)
    subjects = sorted(mail["Subject"].split(" (")[0] for mail in watch.loop.mails(key))
    assert [subject.split(":")[0] for subject in subjects] == [f"[perennial] {name}" for name in MONITORED], subjects
