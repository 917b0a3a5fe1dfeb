"""A run by hand from Airflow's own pages, with what its form holds: it must do something, or say why not."""

from datetime import UTC, datetime
from typing import Any

import pytest

from perennial.adapters.airflow_api import TaskState
from support.dags.loop import Loop
from support.pages.browser import CHROMIUM, Browser, open_browser
from support.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("dags")]

# The example's spec, whose schedule ended with its data; no other test trains it.
MODEL = "spare"


@pytest.fixture
def browser(tmp_path):
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed, so nobody can press the button: apt-get install chromium")
    with open_browser(tmp_path) as browser:
        yield browser


def runs_of(loop: Loop, dag_id: str) -> list[dict[str, Any]]:
    return list(loop.call("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"])


def task(loop: Loop, dag_id: str, dag_run_id: str, task_id: str) -> TaskState | None:
    return next((each for each in loop.api.read_tasks(dag_id, dag_run_id) if each.task_id == task_id), None)


def test_the_forms_own_values_start_a_run_with_tasks_after_the_schedule_has_ended(loop: Loop, browser: Browser):
    dag_id = f"retrain__{MODEL}"
    token = loop.pages.headers["Authorization"].removeprefix("Bearer ")
    browser.open(f"{loop.settings.airflow_api_url}/dags/{dag_id}", cookies={"_token": token})
    browser.click('[data-testid="trigger-dag-button"]')
    browser.click('[data-testid="trigger-dag-submit"]')
    try:
        [run] = wait_for(lambda: runs_of(loop, dag_id), what="the run is there", seconds=60)
    except AssertionError:
        raise AssertionError(browser.run("document.body.innerText")) from None
    path = f"/dags/{dag_id}/dagRuns/{run['dag_run_id']}"
    try:
        assert run["logical_date"] is not None, "the form has stopped to fill in a date"
        ended = ("success", "failed", "skipped", "upstream_failed")
        plan = wait_for(
            lambda: (found := task(loop, dag_id, run["dag_run_id"], "plan")) and found.state in ended and found,
            what="plan ends",
            seconds=90,
        )
        assert plan.state == "success"
        assert loop.call("GET", path)["state"] in ("queued", "running")
        last = datetime(2014, 1, 1, 6, tzinfo=UTC)
        assert datetime.fromisoformat(run["data_interval_end"]) == last
        seen = loop.call("GET", f"{path}/taskInstances/plan/xcomEntries/return_value")["value"]["as_of"]
        assert datetime.fromisoformat(seen) == last
    finally:
        loop.call("PATCH", path, json={"state": "failed"})


@pytest.mark.parametrize(
    ("kind", "params", "said"),
    [
        ("retrain", {"as_of": "next week"}, "as_of"),
        ("retrain", {"window": "3 moons"}, "window"),
        ("monitor", {"start": "2013-4-1", "end": "2013-05-01"}, "start"),
    ],
)
def test_a_typing_mistake_is_told_at_once_and_starts_nothing(loop: Loop, kind: str, params: dict[str, str], said: str):
    dag_id = f"{kind}__late_no"
    answer = loop.pages.post(f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": params})
    assert (answer.status_code, f"Invalid input for param {said}" in answer.text) == (400, True), answer.text
    assert runs_of(loop, dag_id) == []


def test_half_a_window_is_told_in_the_runs_note_and_mails_nobody(loop: Loop):
    dag_id = "score__late_no"
    body = {"logical_date": None, "conf": {"start": "2013-04-01"}, "note": "for the board"}
    run = loop.call("POST", f"/dags/{dag_id}/dagRuns", json=body)
    path = f"/dags/{dag_id}/dagRuns/{run['dag_run_id']}"
    ended = wait_for(lambda: (now := loop.call("GET", path))["state"] in ("success", "failed") and now, what="the run ends")
    wait_for(lambda: "give both or none" in (loop.call("GET", path)["note"] or ""), what="the note says why", seconds=20)
    note = loop.call("GET", path)["note"]
    assert (ended["state"], note.startswith("for the board\n\nNothing was done: a window needs a start and an end")) == (
        "failed",
        True,
    )
    assert loop.mails(run["dag_run_id"]) == []


def test_a_run_that_has_nothing_to_do_says_so(loop: Loop):
    dag_id = "score__late_no"
    body = {"logical_date": datetime.now(UTC).isoformat(), "conf": {}}
    run = loop.call("POST", f"/dags/{dag_id}/dagRuns", json=body)
    path = f"/dags/{dag_id}/dagRuns/{run['dag_run_id']}"
    wait_for(lambda: loop.call("GET", path)["state"] == "success", what="the run ends")
    assert task(loop, dag_id, run["dag_run_id"], "score").state == "skipped"
    why = "Nothing was scored: nobody serves late_no yet"
    assert loop.call("GET", path)["note"] == why
    log = loop.call("GET", f"{path}/taskInstances/score/logs/1")["content"]
    assert any(why in str(line) for line in log)
