"""The whole loop through real services: Airflow runs it, MLflow registers, a bento serves, Envoy routes, SMTP delivers."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

import psycopg2
import pytest

from perennial.adapters.airflow_api import DagRunState
from perennial.adapters.code import DIRTY, read_commit
from perennial.adapters.registry import Registry
from perennial.adapters.scores.reading import count_scores, read_scores
from perennial.adapters.state import StateStore
from perennial.config.spec_file import load_spec, spec_path
from perennial.core.frames import features_frame, to_rows
from perennial.errors import UnavailableError
from perennial.steps.modelling import feature_types
from perennial.steps.reproduce import reproduce
from support.dags.loop import AS_OF, MODEL, Loop, text_of
from support.stacks.services import perennial
from support.stacks.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("dags")]


def test_the_demo_shows_a_decision_and_an_answer_and_run_again_picks_up_what_is_there(
    stack: Stack, loop: Loop, first: DagRunState, demo: str
) -> None:
    champion = loop.champion()
    assert champion is not None
    for output in (demo, perennial(stack, "demo").stdout):
        said = " ".join(output.split())
        assert f"retrain__{MODEL} as of {AS_OF}" in said
        assert f"decision of {first.dag_run_id}" in said
        assert f"says version {champion.model_version}" in said
        assert f"{loop.settings.gateway_url}/v1/models/{MODEL}/predict" in said
    runs = [run.dag_run_id for run in loop.api.find_dag_runs(loop.retrain)]
    assert [name for name in runs if name.startswith("demo__")] == [first.dag_run_id]
    assert loop.champion() == champion


def test_a_dag_that_airflow_has_not_parsed_is_a_matter_of_time(loop: Loop, first: DagRunState) -> None:
    with pytest.raises(UnavailableError, match=r"does not know retrain__new, or not yet(.|\n)*perennial check"):
        loop.api.trigger("retrain__new", "r", {})
    assert loop.api.find_dag_run(first.dag_id, "r") is None
    assert loop.api.trigger(first.dag_id, first.dag_run_id, {}) == first


def test_a_champion_serves_after_the_first_run(loop: Loop, first: DagRunState, row: dict[str, object]) -> None:
    champion, decision = loop.champion(), loop.decision(first.dag_run_id)
    assert champion is not None
    assert decision is not None
    assert decision.challenger_metrics["roc_auc"] > 0.6
    answer = loop.predict({"rows": [row]})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["model"], body["version"]) == (MODEL, champion.model_version)
    assert 0 < body["predictions"][0]["probability"] < 1
    assert answer.headers["x-model-version"] == str(champion.model_version)
    aliases = Registry(loop.settings.mlflow_tracking_url)
    assert aliases.read_alias(MODEL, "champion") == champion.model_version


def test_every_candidate_was_trained_and_the_report_says_which_won(loop: Loop, first: DagRunState) -> None:
    spec = load_spec(spec_path(loop.settings, MODEL))
    states = loop.task_states(first)
    assert {name: states.get(f"train.train_candidate[{name}]") for name in spec.candidates} == dict.fromkeys(
        spec.candidates, "success"
    )
    decision = loop.decision(first.dag_run_id)
    assert decision is not None
    # The release that follows mails about the model's first champion.
    [mail] = [each for each in loop.mails(first.dag_run_id) if "accepted" in each["Subject"]]
    assert decision.candidate in text_of(mail)
    assert len(mail.as_bytes()) <= 200_000


@pytest.mark.parametrize(
    ("change", "status", "named"),
    [
        ({"carrier": ...}, 422, "carrier"),  # a missing field
        ({"distance": "far"}, 422, "distance"),
        ({"carrier": None}, 422, "carrier"),
        ({"colour": "red"}, 422, "colour"),
        ({"carrier": "ZZ"}, 200, "probability"),  # a category never seen is a fact of life, not a fault
    ],
    ids=["missing", "wrong type", "null", "unknown field", "unknown category"],
)
def test_a_row_is_answered_or_its_fault_named(
    loop: Loop, first: DagRunState, row: dict[str, object], change: dict[str, object], status: int, named: str
) -> None:
    changed = {name: value for name, value in (row | change).items() if value is not ...}
    answer = loop.predict({"rows": [row, changed]})
    assert (answer.status_code, named in answer.text) == (status, True), answer.text


@pytest.mark.parametrize(
    ("content", "status"), [(b'{"rows": []}', 422), (b'{"rows": [', 400), (b"[]", 422), (b"", 400), (b'{"rows": 1}', 422)]
)
def test_a_body_that_makes_no_sense_is_refused(loop: Loop, first: DagRunState, content: bytes, status: int) -> None:
    answer = loop.predict(content=content)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]


def test_ten_thousand_rows_are_answered_in_order(loop: Loop, first: DagRunState, row: dict[str, object]) -> None:
    other = row | {"carrier": "EV", "scheduled_hour": 20, "scheduled_minute_of_day": 1200}
    answer = loop.predict(content=json.dumps({"rows": [row, other] * 5_000}).encode())
    assert answer.status_code == 200
    probabilities = [each["probability"] for each in answer.json()["predictions"]]
    assert len(probabilities) == 10_000
    assert probabilities[0::2] == pytest.approx([probabilities[0]] * 5_000)
    assert probabilities[1::2] == pytest.approx([probabilities[1]] * 5_000)
    assert probabilities[0] != pytest.approx(probabilities[1])


def test_the_champion_scores_a_day_in_a_batch_as_it_answers_callers(loop: Loop, first: DagRunState) -> None:
    spec, day = load_spec(spec_path(loop.settings, MODEL)), {"start": "2013-04-01", "end": "2013-04-02"}
    for dag_run_id in ("scored", "scored_again"):
        assert loop.finish(loop.api.trigger(f"score__{MODEL}", dag_run_id, day)) == "success"
    window = {name: datetime.fromisoformat(value).replace(tzinfo=UTC) for name, value in day.items()}
    table = loop.settings.warehouse_reader_url, spec.scoring.table, spec.source.entity_key
    [counts] = count_scores(*table, **window)
    assert counts.n_rows > 800
    scores, types = read_scores(*table, counts.model_version, **window, max_rows=1000), feature_types(spec)
    answer = loop.predict({"rows": to_rows(features_frame(scores.features, types), types)})
    served = [each["probability"] for each in answer.json()["predictions"]]
    assert scores.rows["prediction"].tolist() == pytest.approx(served, abs=spec.release.parity_tolerance)
    assert answer.json()["version"] == counts.model_version
    with psycopg2.connect(loop.settings.warehouse_reader_url) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT DISTINCT dag_run_id, scored_at FROM {spec.scoring.table}")
        assert cursor.fetchall() == [("scored", window["end"])]
    connection.close()


def test_its_version_tells_what_caused_it_and_can_be_built_again(loop: Loop, first: DagRunState) -> None:
    with StateStore(loop.settings.state_url) as state:
        [recorded] = state.read_decisions(MODEL, dag_run_id=first.dag_run_id)
    assert recorded.model_version is not None
    assert recorded.cause == "by hand: admin"
    done = reproduce(MODEL, recorded.model_version, settings=loop.settings, tell=lambda _: None)
    if read_commit(loop.settings.project).endswith(DIRTY):
        assert [link.name for link in done.links if not link.holds] == ["commit"]
    else:
        assert done.outcome == "identical", done


def test_housekeeping_leaves_what_serves_alone(loop: Loop, first: DagRunState, row: dict[str, object]) -> None:
    before, folder = loop.champion(), loop.settings.paths.runs / "forgotten" / "run"
    folder.mkdir(parents=True)
    os.utime(folder, (0, 0))
    run = loop.api.trigger("housekeeping", "kept", {"as_of": datetime.now(UTC).isoformat()})
    assert loop.finish(run) == "success", loop.task_states(run)
    assert not folder.exists()
    assert loop.champion() == before
    assert loop.predict({"rows": [row]}).status_code == 200


def test_a_renamed_column_stops_the_run_is_mailed_and_the_champion_serves(
    loop: Loop, first: DagRunState, row: dict[str, object]
) -> None:
    before = loop.champion()
    with renamed(loop, "carrier", "airline"):
        run = loop.start("renamed", as_of=AS_OF)
        assert loop.finish(run) == "failed"
    states = loop.task_states(run)
    assert (states["ingest.validate_raw"], states["ingest.extract"]) == ("failed", "upstream_failed")
    [mail] = loop.mails(run.dag_run_id)
    assert "carrier" in text_of(mail)
    assert loop.champion() == before
    assert loop.predict({"rows": [row]}).status_code == 200


@contextmanager
def renamed(loop: Loop, column: str, name: str) -> Iterator[None]:
    """A column of the flights under another name for a while."""
    _rename_column(loop, column, name)
    yield
    _rename_column(loop, name, column)


def _rename_column(loop: Loop, column: str, name: str) -> None:
    connection = psycopg2.connect(loop.settings.database_url("warehouse"))
    with connection, connection.cursor() as cursor:
        cursor.execute(f'ALTER TABLE flights.flights RENAME COLUMN "{column}" TO "{name}"')
    connection.close()


@pytest.mark.parametrize(
    "days",
    [
        [date(2013, 4, 2), date(2013, 4, 3)],
        pytest.param([date(2013, 4, 3), date(2013, 4, 4), date(2013, 4, 5)], marks=pytest.mark.soak),
    ],
    ids=["a day", "two days"],
)
def test_a_replayed_period_is_monitored_step_by_step_and_sent_once(
    stack: Stack, loop: Loop, first: DagRunState, days: list[date]
) -> None:
    before = loop.champion()
    assert before is not None
    replay = run_replay(stack, days[0], days[-1])
    assert [step["sent"]["n_rows"] for step in replay["steps"]] == [count_flights(loop, day) for day in days[:-1]]
    assert {step["sent"]["n_failed"] for step in replay["steps"]} == {0}
    ids = [f"replay__{start:%Y%m%d}T0000__{end:%Y%m%d}T0000" for start, end in pairwise(days)]
    assert {loop.api.read_dag_run(f"monitor__{MODEL}", each).state for each in ids} == {"success"}
    [april] = replay["months"]
    assert april["n_labelled"] > 750 * len(ids)
    if april["versions"] == [before.model_version]:
        assert april["live"]["roc_auc"] == pytest.approx(april["frozen"]["roc_auc"])
    assert april["retrained"]["roc_auc"] > 0.6
    folder = loop.settings.paths.reports / "replays" / MODEL / f"{days[0]}__{days[-1]}"
    assert {"replay.html", "replay.png", "months.md"} <= {path.name for path in folder.iterdir()}

    again = run_replay(stack, days[0], days[-1])
    assert [step["sent"]["n_before"] for step in again["steps"]] == [step["sent"]["n_requests"] for step in again["steps"]]
    assert again["months"] == replay["months"]


def run_replay(stack: Stack, start: date, end: date) -> dict[str, Any]:
    """What the command prints; it has to end well."""
    arguments = ["replay", MODEL, "--from", f"{start}", "--to", f"{end}", "--every", "day", "--json"]
    done = perennial(stack, *arguments, seconds=900)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def count_flights(loop: Loop, day: date) -> int:
    connection = psycopg2.connect(loop.settings.database_url("warehouse"))
    with connection, connection.cursor() as cursor:
        sql = "SELECT count(*) FROM flights.flights WHERE (scheduled_departure_at AT TIME ZONE 'UTC')::date = %s"
        cursor.execute(sql, (day,))
        [(n_flights,)] = cursor.fetchall()
    connection.close()
    return int(n_flights)
