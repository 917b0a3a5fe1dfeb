"""`perennial history` over promotions, rollbacks and rejections in a real Postgres."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from typer.testing import CliRunner

from perennial.adapters.state import StateStore
from perennial.cli.main import app
from perennial.config.settings import Settings
from perennial.contracts import Measure, RegisteredVersion, Run, Snapshot
from perennial.contracts.monitoring import RetrainRequest
from perennial.errors import ConfigurationError, DataFault
from perennial.steps.history import find_served, read_history
from perennial.steps.report import report_failure
from perennial.steps.start import record_start
from support.data.state_tables import change_past
from support.records.report_records import build_decision

pytestmark = pytest.mark.integration

APRIL = datetime(2013, 4, 1, tzinfo=UTC)
# When each of the tenures below began: the last within the second in which the one before did.
BEGINNINGS = [
    datetime(2023, 6, 3, 9, 30, second, microsecond, tzinfo=UTC)
    for second, microsecond in ((5, 0), (17, 400_000), (40, 100_000), (40, 900_000))
]
MODEL = "told"


@pytest.fixture(scope="module")
def settings(stack) -> Settings:
    """Three versions, of which the second was rolled back, the fourth rejected, and a decision against a fifth."""
    settings = stack.up("postgres")
    with StateStore(settings.state_url) as state:
        for version in (1, 2, 3, 4):
            register(state, version, settings)
        for version in (1, 2):
            promote(state, version)
        state.roll_back(MODEL, to=1, dag_run_id="rollback by cli:ann", reason="2 is late", actor="cli:ann")
        promote(state, 3)
        breach(state, 4)
        against = build_decision(accepted=False, champion=True)
        state.write_decision(replace(against, model=MODEL, dag_run_id="retrain5", snapshot_id=f"{MODEL}-s"))
    move_to_beginnings(settings)
    return settings


def register(state: StateStore, version: int, settings: Settings) -> None:
    snapshot = Snapshot(
        snapshot_id=f"{MODEL}-s", model=MODEL, as_of=APRIL, start=APRIL - timedelta(days=90),
        holdout_start=APRIL - timedelta(days=14), n_rows=100, digest="d", sql_digest="s", dvc_revision="r", path="",
    )  # fmt: skip
    run = Run(model=MODEL, dag_id=f"retrain__{MODEL}", dag_run_id=f"retrain{version}", as_of=APRIL, start=snapshot.start)
    for _ in range(2):  # a task that is tried again
        record_start(replace(run, cause="schedule" if version == 1 else f"request {version}"), settings=settings)
    registered = RegisteredVersion(
        model=MODEL, model_version=version, mlflow_run_id=f"m{version}", model_uri="u", snapshot_id=snapshot.snapshot_id,
        training_end=APRIL,
    )  # fmt: skip
    decision = replace(build_decision(accepted=True, champion=version > 1), mlflow_run_id=registered.mlflow_run_id)
    state.write_snapshot(snapshot, ())
    state.write_decision(replace(decision, model=MODEL, dag_run_id=run.dag_run_id, snapshot_id=snapshot.snapshot_id))
    state.write_release(registered, run.dag_run_id)


def promote(state: StateStore, version: int) -> None:
    state.move_release(MODEL, version, state="checked")
    state.promote(MODEL, version, dag_run_id=f"release{version}", reason="better", actor=f"release__{MODEL}")


def breach(state: StateStore, version: int) -> None:
    state.move_release(MODEL, version, state="checked")
    stage = state.start_stage(MODEL, version, dag_run_id=f"release{version}", stage="canary", step=1, percent=5)
    slow = Measure(measure="latency", passed=False, reason="95 of 100 requests take 80 ms or less", value=80.0, threshold=25.0)
    state.end_stage(stage, outcome="breached", reason="latency: slow", n_requests=9, measures=[slow], state="rolled_back")


def move_to_beginnings(settings: Settings) -> None:
    """Put the tenures, which the test began at once, where each has a time of its own; the open one last."""
    connection = psycopg2.connect(settings.state_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT valid_from FROM champion WHERE model = %s ORDER BY valid_from", (MODEL,))
        found = [row[0] for row in cursor.fetchall()]
        ends = [*BEGINNINGS[1:], None]
        for was, begins, ends_at in zip(found, BEGINNINGS, ends, strict=True):
            sql = "UPDATE champion SET valid_from = %s, valid_to = %s WHERE model = %s AND valid_from = %s"
            change_past(settings, sql, begins, ends_at, MODEL, was)
        # The audit trail cannot be changed, so its rows are written again where the tenures are now.
        cursor.execute(
            "SELECT actor, action, subject, detail FROM audit WHERE model = %s AND action IN ('promote', 'rollback')"
            " ORDER BY audit_id",
            (MODEL,),
        )
        for row, begins in zip(cursor.fetchall(), BEGINNINGS, strict=True):
            cursor.execute(
                "INSERT INTO audit (at, actor, action, model, subject, detail) VALUES (%s, %s, %s, %s, %s, %s)",
                (begins, row[0], row[1], MODEL, row[2], json.dumps(row[3])),
            )
    connection.close()


@pytest.mark.parametrize(
    ("instant", "version"),
    [
        ("2023-06-03T09:30:04Z", None),
        ("2023-06-03T09:30:05Z", 1),
        ("2023-06-03T09:30:17Z", 1),
        ("2023-06-03T09:30:17.4Z", 2),
        ("2023-06-03T09:30:18Z", 2),
        ("2023-06-03T11:30:40.1+02:00", 1),
        ("2023-06-03T09:30:40.899999Z", 1),
        ("2023-06-03T09:30:41Z", 3),
    ],
)
def test_who_served_to_the_second(settings, instant, version):
    found = find_served(read_history(MODEL, settings=settings), datetime.fromisoformat(instant))
    assert (found.chapter.tenure.model_version if found.chapter else None) == version


def test_each_tenure_tells_why_it_came_and_went_and_how_it_fared(settings):
    history = read_history(MODEL, settings=settings)
    assert [(each.tenure.model_version, each.came, each.went) for each in history.chapters] == [
        (1, f"promoted, the first by release__{MODEL}: better", "replaced by version 2"),
        (2, f"promoted by release__{MODEL}: better", "rolled back to version 1 by cli:ann: 2 is late"),
        (1, "brought back from version 2 by cli:ann: 2 is late", "replaced by version 3"),
        (3, f"promoted by release__{MODEL}: better", ""),
    ]
    decisions = [each.decision for each in history.chapters]
    assert [each.cause for each in decisions] == ["schedule", "request 2", "schedule", "request 3"]
    assert all(each.decision.challenger_metrics["roc_auc"] > 0.5 for each in decisions)


def test_a_retraining_that_failed_is_told_until_it_decides(settings):
    model, fault = "failing", "raw data fails expect_table_row_count_to_be_between: observed 9"

    def fail(dag_run_id: str) -> None:
        error = DataFault(f"{model}: {fault}\n  - more", "widen it")
        report_failure(
            model, error, dag_id=f"retrain__{model}", dag_run_id=dag_run_id, task_id="validate_raw", run=None, settings=settings
        )

    with StateStore(settings.state_url) as state:
        requests = {run: ask(state, model, run) for run in ("healed", "broken", "open")}
        for run in ("healed", "broken"):
            fail(run)
            state.end_request(requests[run], actor="test", why="its run has ended")
        decision = replace(build_decision(accepted=False, champion=True), model=model, dag_run_id="healed")
        state.write_decision(replace(decision, snapshot_id=f"{MODEL}-s"))
    (failed,) = read_history(model, settings=settings).failed
    assert (failed.dag_run_id, failed.reason) == ("broken", f"validate_raw: {fault}")
    assert f"✗ validate_raw: {fault}" in " ".join(tell("history", model).split())
    listed = tell("requests", model)
    assert (
        f"UTC, failed at validate_raw: {fault}" in listed and "UTC, rejected" in listed and "granted: open, not ended\n" in listed
    )
    told = {each["dag_run_id"]: each["result"] for each in json.loads(tell("requests", model, "--json"))}
    assert told == {"healed": "rejected", "broken": "failed", "open": ""}


def tell(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output


def ask(state: StateStore, model: str, dag_run_id: str) -> int:
    """A granted request; one at a time is open."""
    wish = RetrainRequest(model=model, request_key=dag_run_id, source="person", actor="ann", as_of=APRIL, reason="new depots")
    request = state.write_request(wish)
    if running := state.read_open_request(model):
        state.end_request(running.request_id, actor="test", why="its run has ended")
    return state.decide_request(request.request_id, outcome="granted", checks=(), dag_run_id=dag_run_id).request_id


def test_what_was_rejected_says_where_and_by_which_measure(settings):
    history = read_history(MODEL, settings=settings)
    [decision], [stop] = history.rejected, history.stopped
    assert (decision.decision.dag_run_id, decision.model_version, decision.cause) == ("retrain5", None, "")
    assert (stop.model_version, stop.state, stop.stage, stop.step) == (4, "rolled_back", "canary", 1)
    assert [each.measure for each in stop.measures] == ["latency"]


def test_the_command_tells_people_and_machines(settings):
    told = CliRunner().invoke(app, ["history", MODEL])
    assert told.exit_code == 0, told.output
    for part in (
        "version 3  2023-06-03 09:30:40 UTC – now",
        "rolled back to version 1 by cli:ann: 2 is late",
        "cause: request 2",
        "rolled back in its canary",
        "latency: 95 of 100",
    ):
        assert part in told.output
    record = json.loads(CliRunner().invoke(app, ["history", MODEL, "--json"]).output)
    assert [each["tenure"]["valid_from"] for each in record["chapters"]] == [each.isoformat() for each in BEGINNINGS]
    at = json.loads(CliRunner().invoke(app, ["history", MODEL, "--at", "2023-06-03 09:30:20", "--json"]).output)
    assert at["chapter"]["tenure"]["model_version"] == 2
    nobody = CliRunner().invoke(app, ["history", MODEL, "--at", "2023-06-03"]).output
    assert "Nobody served told at 2023-06-03 00:00:00 UTC" in nobody
    assert "The nearest after: version 1, 2023-06-03 09:30:05 UTC" in nobody


def test_a_model_that_is_unknown_is_named_with_those_there_are(settings):
    with pytest.raises(ConfigurationError, match="no model 'flight_dely'") as caught:
        read_history("flight_dely", settings=settings)
    assert "flight_delay" in caught.value.next_step
