"""Releases as people see them: Airflow waits for a person's word, and leads callers back on a person's word."""

import getpass
import itertools
import json
import mailbox
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
import yaml
from psycopg2.extras import RealDictCursor

from perennial.adapters.airflow_api import DagRunState
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec_file import load_spec, spec_path
from perennial.contracts import RegisteredVersion
from perennial.steps.approval import Answer, record_answer
from support.dags.loop import Loop
from support.pages.doc_examples import examples_to_run, run_example
from support.serving.served_models import ROW, accept
from support.serving.served_models import register as register_model
from support.stacks.services import perennial
from support.waiting import wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("dags"),
    # MLflow warns of its own type hints while it is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


@dataclass(frozen=True, kw_only=True)
class Airflow:
    """Runs as a person starts, watches and answers them."""

    loop: Loop
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def settings(self) -> Settings:
        return self.loop.settings

    def start(self, dag_id: str, **params: object) -> DagRunState:
        return self.loop.api.trigger(dag_id, f"by-hand-{next(self.numbers)}", params)

    def finish(self, run: DagRunState) -> tuple[str, Mapping[str, str | None]]:
        """How a run ended, and each of its tasks."""
        return self.loop.finish(run), self.loop.task_states(run)

    def finished(self, run: DagRunState, task_id: str) -> bool:
        found = self.loop.task(run, task_id)
        return bool(found and found.state == "success")

    def note(self, run: DagRunState) -> str:
        return self.loop.api.read_note(run.dag_id, run.dag_run_id)

    def question(self, run: DagRunState) -> dict[str, Any]:
        """What a person is asked, once the run waits for it."""

        def asked() -> dict[str, Any] | None:
            states = self.loop.task_states(run)
            assert "failed" not in states.values(), states
            return self.loop.call("GET", _question(run)) if states.get("approve") == "awaiting_input" else None

        return dict(wait_for(asked, what=f"{run.dag_run_id} waits for a person", seconds=300))

    def edit(self, model: str, **release: object) -> None:
        """Change what a spec says of releases, as a person does while runs go on."""
        path = spec_path(self.settings, model)
        spec = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump(spec | {"release": spec["release"] | release, "description": f"{release}"}))

    def take_over(self, model: str) -> None:
        """Wait until Airflow has made a Dag of the edited spec."""
        path, description = f"/dags/release__{model}", yaml.safe_load(spec_path(self.settings, model).read_text())["description"]
        self.loop.pages.put(f"/parseDagFile/{self.loop.call('GET', path)['file_token']}").raise_for_status()
        wait_for(
            lambda: description in self.loop.call("GET", path)["description"], what=f"Airflow parses {model} again", seconds=90
        )

    def answer(self, run: DagRunState, option: str, reason: str) -> None:
        body = {"chosen_options": [option], "params_input": {"reason": reason}}
        self.loop.call("PATCH", _question(run), json=body)


def _question(run: DagRunState) -> str:
    return f"/dags/{run.dag_id}/dagRuns/{run.dag_run_id}/taskInstances/approve/-1/hitlDetails"


@pytest.fixture(scope="module")
def airflow(loop: Loop) -> Airflow:
    return Airflow(loop=loop)


@pytest.fixture(scope="module")
def register(airflow) -> Callable[..., RegisteredVersion]:
    settings, seeds = airflow.settings, iter(range(1, 100))

    def make(model: str, *, champion: int | None = None) -> RegisteredVersion:
        version = register_model(settings, load_spec(spec_path(settings, model)), seed=next(seeds))
        accept(settings, version, champion=champion)
        return version

    return make


def release_state(settings: Settings, version: RegisteredVersion) -> str:
    with StateStore(settings.state_url) as state:
        row = state.read_release(version.model, version.model_version)
    assert row
    return row.state


def read_audit(settings: Settings, model: str) -> list[dict[str, Any]]:
    connection = psycopg2.connect(settings.state_url, cursor_factory=RealDictCursor)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM audit WHERE model = %s AND action <> 'mail' ORDER BY audit_id", (model,))
        rows = [dict(row) for row in cursor.fetchall()]
    connection.close()
    return rows


def read_answers(settings: Settings, model: str) -> list[dict[str, Any]]:
    return [row for row in read_audit(settings, model) if row["action"] in ("approved", "declined")]


def read_mails(settings: Settings, model: str) -> dict[str, str]:
    """Text of each mail on a model, by subject."""
    box = mailbox.Maildir(settings.paths.inbox, create=False)
    mails = [message_from_bytes(box.get_bytes(key), policy=default) for key in box.keys()]  # noqa: SIM118 - no dict
    found = {str(mail["Subject"]): mail.get_body(("plain",)).get_content() for mail in mails}
    return {subject: text for subject, text in found.items() if f"] {model}: " in subject}


def serving_version(settings: Settings, model: str) -> str | None:
    answer = httpx.post(f"{settings.gateway_url}/v1/models/{model}/predict", json={"rows": [ROW]}, timeout=5)
    return answer.headers.get("x-model-version") if answer.status_code == 200 else None


def answer_as_documented(settings: Settings, run: DagRunState, folder: Path) -> None:
    """Approve a release of `asked` with the commands that the documentation shows."""
    [example] = examples_to_run("release.md", "approval")
    texts = {"http://127.0.0.1:8080": settings.airflow_api_url, "flight_delay": "asked"}
    variables = {"PASSWORD": settings.secret("admin_password"), "RUN": run.dag_run_id}
    run_example(example, folder, environment=os.environ | variables, texts=texts)


def test_what_is_approved_goes_on_and_what_is_rejected_ends_there(airflow, register, tmp_path):
    """Whatever becomes of the spec while a run waits: the answer decides, as the spec said when the run began."""
    settings, first = airflow.settings, register("asked")
    run = airflow.start("release__asked", version=first.model_version)
    question = airflow.question(run)
    assert question["subject"] == "Release version 1 of asked to callers?"
    assert "| ROC AUC | 0.720 |" in question["body"]
    assert (question["options"], question["defaults"]) == (["Approve", "Reject"], ["Reject"])
    airflow.edit("asked", approval="none")
    answer_as_documented(settings, run, tmp_path)
    state, tasks = airflow.finish(run)
    assert (state, {tasks[task] for task in ("shadow", "canary")}, tasks["record_approval"]) == (
        "success",
        {"skipped"},
        "success",
    )
    assert (serving_version(settings, "asked"), airflow.note(run)) == ("1", "Version 1 is the champion")

    second = register("asked", champion=1)
    airflow.edit("asked", approval="required")
    run = airflow.start("release__asked", version=second.model_version)
    airflow.question(run)
    airflow.edit("asked", approval="none")
    airflow.take_over("asked")
    assert airflow.loop.task_states(run)["approve"] == "awaiting_input"
    airflow.answer(run, "Reject", "not before the holidays")
    state, tasks = airflow.finish(run)
    assert (state, tasks["record_approval"]) == ("success", "success")
    assert airflow.note(run) == "Version 2 was not approved: declined by admin: not before the holidays"
    assert {tasks[task] for task in ("promote", "drain", "withdraw")} == {"skipped"}
    assert (release_state(settings, second), serving_version(settings, "asked")) == ("rejected", "1")

    said = [row for row in read_audit(settings, "asked") if row["action"] in ("approved", "declined")]
    assert [
        (row["actor"], row["action"], row["subject"], row["detail"]["reason"], row["detail"]["by_default"]) for row in said
    ] == [
        ("admin", "approved", "version 1", "figures look right", False),
        ("admin", "declined", "version 2", "not before the holidays", False),
    ]
    assert all(datetime.fromisoformat(row["detail"]["answered_at"]) <= row["at"] <= datetime.now(UTC) for row in said)
    mails = read_mails(settings, "asked")
    [request] = [text for subject, text in mails.items() if "version 2 waits for approval" in subject]
    assert f"{settings.airflow_link}/dags/{run.dag_id}/runs/{run.dag_run_id}/tasks/approve/required_actions" in request
    assert "[perennial] asked: version 1 is the champion" in mails
    assert "[perennial] asked: version 2 was not approved (declined by admin: not before the holidays)" in mails


def test_an_answer_is_recorded_once_and_revives_nothing_that_was_stopped(airflow, register):
    settings, version = airflow.settings, register("spare")
    spec = load_spec(spec_path(settings, "spare"))
    no = Answer(word="reject", actor="ann", reason="why not", answered_at=datetime.now(UTC), by_default=False)
    goes_on = [
        record_answer(spec, version, answer, dag_run_id="r", settings=settings)
        for answer in (no, no, replace(no, word="approve", actor="bob", reason=""))
    ]
    assert goes_on == [False, False, False]
    assert [(row["actor"], row["action"], row["detail"]["reason"]) for row in read_answers(settings, "spare")] == [
        ("ann", "declined", "why not"),
        ("bob", "approved", "no reason given"),
    ]
    assert release_state(settings, version) == "rejected"


def test_after_the_deadline_the_spec_decides(airflow, register):
    """The spec as it was when the run began."""
    expected = {"late_no": ("declined", "rejected"), "late_yes": ("approved", "champion")}
    versions = {model: register(model) for model in expected}
    runs = {model: airflow.start(f"release__{model}", version=version.model_version) for model, version in versions.items()}
    for model, otherwise in {"late_no": "approve", "late_yes": "reject"}.items():
        wait_for(lambda run=runs[model]: airflow.finished(run, "choose_version"), what=f"the run of {model} begins")
        airflow.edit(model, approval="none", approval_policy={"within": "1 hour", "otherwise": otherwise})
    for model, (action, state) in expected.items():
        ended, _ = airflow.finish(runs[model])
        assert (ended, release_state(airflow.settings, versions[model])) == ("success", state)
        [said] = read_answers(airflow.settings, model)
        assert (said["actor"], said["action"], said["detail"]["by_default"]) == (f"release__{model}", action, True)
        assert said["detail"]["reason"] == "nobody answered within 3 seconds"


def test_a_release_that_failed_says_why(airflow, register):
    settings, version = airflow.settings, register("spare")
    next(settings.paths.mlflow_artifacts.rglob(f"{version.mlflow_run_id}/artifacts/golden.json")).unlink()
    run = airflow.start("release__spare", version=version.model_version)
    ended, tasks = airflow.finish(run)
    assert airflow.note(run).startswith("Not released: build_bento failed: ")
    assert (ended, tasks["build_bento"], tasks["withdraw"]) == ("failed", "failed", "success"), tasks
    with StateStore(settings.state_url) as state:
        row = state.read_release("spare", version.model_version)
    assert (row.state, row.reason.startswith("build_bento failed: "), "golden.json" in row.reason) == ("rejected", True, True)


@pytest.fixture(scope="module")
def two_champions(airflow, register) -> tuple[RegisteredVersion, RegisteredVersion]:
    """The champion and the one before, whose bento is kept warm."""
    versions = []
    for champion in (None, 1):
        versions.append(register("back", champion=champion))
        run = airflow.start("release__back", version=versions[-1].model_version)
        assert airflow.finish(run)[0] == "success", airflow.loop.task_states(run)
    return tuple(versions)


def test_the_champion_is_not_released_again(airflow, two_champions):
    run = airflow.start("release__back", version=2)
    ended, tasks = airflow.finish(run)
    assert airflow.note(run) == "Not released: back version 2 serves already"
    assert (ended, tasks.pop("choose_version"), set(tasks.values())) == ("success", "success", {"skipped"})


def test_a_person_brings_the_last_champion_back_within_seconds(airflow, two_champions):
    settings = airflow.settings
    assert serving_version(settings, "back") == "2"
    began = time.monotonic()
    run = airflow.start("rollback__back", reason="late flights look wrong")
    wait_for(lambda: serving_version(settings, "back") == "1", what="version 1 answers")
    seconds = time.monotonic() - began
    assert airflow.finish(run)[0] == "success"
    assert seconds < 30, f"{seconds:.2f} s from the trigger until callers were answered by version 1"
    assert release_state(settings, two_champions[1]) == "rolled_back"
    [said] = [row for row in read_audit(settings, "back") if row["action"] == "rollback"]
    assert (said["actor"], said["subject"], said["detail"]["reason"]) == ("admin", "version 1", "late flights look wrong")
    assert "[perennial] back: rolled back from version 2 to version 1 by admin" in read_mails(settings, "back")


def test_the_same_from_a_terminal(stack, airflow, two_champions):
    here = int(serving_version(airflow.settings, "back") or 0)
    there = 3 - here
    done = perennial(stack, "rollback", "back", "--to", str(there), "--reason", "from a terminal", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["before"], said["model_version"], said["actor"]) == (here, there, f"cli:{getpass.getuser()}")
    assert said["seconds"] < 30
    assert serving_version(airflow.settings, "back") == str(there)
    again = perennial(stack, "rollback", "back", "--to", str(there), "--reason", "once more")
    assert (again.returncode, f"version {there} serves already" in again.stdout) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["no_such_model", "--reason", "x"], 1, "models: asked, "),
        (["back", "--reason", " "], 1, "a rollback needs a reason"),
        (["back", "--to", "9", "--reason", "x"], 1, "back version 9 never served"),
        (["spare", "--reason", "x"], 1, "spare has no champion"),
        (["back"], 2, "Missing option '--reason'"),
    ],
)
def test_a_rollback_that_cannot_be_says_why(stack, two_champions, arguments: list[str], code: int, said: str):
    done = perennial(stack, "rollback", *arguments)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_a_rollback_needs_a_reason(airflow):
    answer = airflow.loop.pages.post("/dags/rollback__back/dagRuns", json={"logical_date": None, "conf": {}})
    assert (answer.status_code, "reason" in answer.text) == (400, True)
