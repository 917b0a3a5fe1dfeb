"""How facts read, and where ids lead."""

from datetime import UTC, datetime

import pytest

from perennial.config.settings import Settings
from perennial.contracts import Stage
from perennial.steps.lineage import describe_value, tell_stages, to_airflow_id

NOON = datetime(2013, 6, 3, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not recorded"),
        (NOON, "2013-06-03 12:00:00 UTC"),
        (0.123456789, "0.123457"),
        ({"dropped": {}, "rows": 3}, "dropped none, rows 3"),
        ([NOON, None], "2013-06-03 12:00:00 UTC – now"),
        ([[NOON, NOON], [NOON, None]], "2013-06-03 12:00:00 UTC – 2013-06-03 12:00:00 UTC; 2013-06-03 12:00:00 UTC – now"),
        ([], "never"),
        ("text", "text"),
    ],
)
def test_values_read_in_one_line(value, text):
    assert describe_value(value) == text


@pytest.mark.parametrize(
    ("recorded", "airflow"),
    [
        ("request__17", "request__17"),
        ("scheduled__2013-04-01", "scheduled__2013-04-01"),
        ("backfill__2013-04-01", "backfill__2013-04-01"),
        ("backfill__scheduled__2013-04-01", "scheduled__2013-04-01"),
    ],
)
def test_a_run_that_a_backfill_did_over_keeps_its_id_in_airflow(recorded, airflow):
    assert to_airflow_id(recorded) == airflow


def stage(dag_run_id: str, name: str, step: int = 1) -> Stage:
    return Stage(
        model="m", model_version=2, dag_run_id=dag_run_id, stage=name, step=step, traffic_percent=5, champion_version=1,
        started_at=NOON, ended_at=NOON, outcome="passed", reason="fine", n_requests=9, measures=(),
    )  # fmt: skip


def test_each_stage_of_each_attempt_has_a_name_of_its_own_and_leads_to_its_run():
    again = "run1 until 2013-06-03T12:00:00.000000Z"
    stages = [stage(again, "check"), stage(again, "canary"), stage("run1", "check"), stage("run1", "canary", 2)]
    facts = list(tell_stages("m", stages, settings=Settings.load({})))
    assert [fact.name for fact in facts] == [
        "stage_check_1",
        "stage_canary_1",
        "stage_check_1_attempt_2",
        "stage_canary_2_attempt_2",
    ]
    assert {fact.follow.rpartition("/")[2] for fact in facts} == {"run1"}
    assert facts[0].value == "2013-06-03 12:00:00 passed: fine"
