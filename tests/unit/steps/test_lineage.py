"""How facts read, and where ids lead."""

from datetime import UTC, datetime

import pytest

from perennial.steps.lineage import describe_value, to_airflow_id

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
