"""What the forms behind *Trigger* take, and what they refuse at once."""

from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk.exceptions import ParamValidationError

from perennial_airflow.factory import housekeeping_params, release_params, retrain_params, rollback_params, window_params
from perennial_airflow.runs import read_instant
from support.records.report_records import read_spec

FORMS = {
    "retrain": retrain_params(read_spec()),
    "window": window_params(),
    "housekeeping": housekeeping_params(),
    "release": release_params(),
    "rollback": rollback_params(),
}
INSTANTS = [("retrain", "as_of"), ("window", "start"), ("window", "end"), ("window", "as_of"), ("housekeeping", "as_of")]


@pytest.mark.parametrize(("form", "name"), INSTANTS)
def test_each_instant_has_a_calendar(form: str, name: str) -> None:
    assert FORMS[form][name].schema["format"] == "date-time"


@pytest.mark.parametrize(
    "text",
    [
        "2013-04-01",
        "2013-04-01T06:00",
        "2013-04-01T06:00:00Z",
        "2013-04-01 06:00:00+02:00",
        # As Airflow's calendar sends it, and as a program of ours does.
        "2013-04-01T06:00:00.000Z",
        datetime(2013, 4, 1, 6, 0, 0, 7, tzinfo=UTC).isoformat(),
        None,
    ],
)
def test_what_the_form_takes_for_an_instant_can_be_read(text: str | None) -> None:
    assert FORMS["retrain"]["as_of"].resolve(text) == text
    assert text is None or read_instant("as_of", text) - datetime(2013, 4, 1, tzinfo=UTC) < timedelta(days=1)


@pytest.mark.parametrize(
    ("form", "name", "value"),
    [
        *((form, name, wrong) for form, name in INSTANTS for wrong in ("yesterday", "01.04.2013", "2013-4-1", "2013-04-01T6", 5)),
        *(("retrain", "window", wrong) for wrong in ("3 moons", "90", "-5 days", "P90D", 90)),
        ("retrain", "candidates", ["no_such"]),
        ("retrain", "request_id", "the last"),
        ("release", "version", 0),
        ("release", "version", "3"),
        ("rollback", "reason", ""),
    ],
)
def test_a_typing_mistake_is_refused_by_the_form(form: str, name: str, value: object) -> None:
    with pytest.raises(ParamValidationError):
        FORMS[form][name].resolve(value)


@pytest.mark.parametrize(("name", "value"), [("window", "90 days"), ("window", "8 weeks"), ("request_id", "17")])
def test_what_is_right_is_taken(name: str, value: str) -> None:
    assert FORMS["retrain"][name].resolve(value) == value
