"""Which window a Dag run looks at: every way a run can start, and every wrong param."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_file import load_spec, spec_path
from perennial.errors import ConfigurationError
from perennial_airflow.windows import resolve_window

APRIL, MAY, JUNE = (datetime(2013, month, 1, tzinfo=UTC) for month in (4, 5, 6))


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return load_spec(spec_path(Settings.load(), "flight_delay"))


def dag_run(run_type: str, start: datetime | None = None, end: datetime | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        dag_id="monitor__flight_delay", run_id="a", run_type=run_type, data_interval_start=start, data_interval_end=end
    )


@pytest.mark.parametrize(
    ("run_type", "interval", "params", "window"),
    [
        ("scheduled", (APRIL, MAY), {}, (APRIL, MAY, MAY)),
        ("scheduled", (APRIL, MAY), {"start": "2013-05-01", "end": "2013-06-01"}, (APRIL, MAY, MAY)),
        ("backfill", (APRIL, MAY), {"as_of": "2013-06-01"}, (APRIL, MAY, MAY)),
        ("manual", (APRIL, MAY), {"start": None, "end": None, "as_of": None}, (APRIL, MAY, MAY)),
        ("manual", (APRIL, MAY), {"start": "2013-05-01", "end": "2013-06-01"}, (MAY, JUNE, JUNE)),
        ("manual", (None, None), {"start": "2013-04-01T02:00:00+02:00", "end": "2013-05-01"}, (APRIL, MAY, MAY)),
        ("manual", (APRIL, MAY), {"as_of": "2013-06-01"}, (APRIL, MAY, JUNE)),
        ("operator_triggered", (None, None), {"start": "2013-04-01", "end": "2013-05-01"}, (APRIL, MAY, MAY)),
    ],
)
def test_a_window_and_what_it_may_see(spec: ModelSpec, run_type, interval, params, window) -> None:
    found = resolve_window(spec, dag_run(run_type, *interval), params)
    assert (found.start, found.end, found.as_of) == window
    assert (found.model, found.dag_run_id) == ("flight_delay", "a")
    assert found.mode == ("backfill" if run_type == "backfill" else "live")


@pytest.mark.parametrize(
    ("interval", "params", "message"),
    [
        ((None, None), {}, "neither a window nor a data interval"),
        ((APRIL, APRIL), {}, "has no width"),
        ((None, None), {"start": "2013-05-01", "end": "2013-04-01"}, "has no width"),
        ((APRIL, MAY), {"start": "2013-05-01"}, "one of them is missing"),
        ((APRIL, MAY), {"end": "2013-05-01"}, "one of them is missing"),
        ((APRIL, MAY), {"as_of": "2013-04-15"}, "lies before the window's end"),
        ((APRIL, MAY), {"start": "spring", "end": "2013-05-01"}, "param start='spring'"),
        ((APRIL, MAY), {"from": "2013-04-01"}, "no param 'from'"),
    ],
)
def test_what_is_no_window_is_refused(spec: ModelSpec, interval, params, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        resolve_window(spec, dag_run("manual", *interval), params)
