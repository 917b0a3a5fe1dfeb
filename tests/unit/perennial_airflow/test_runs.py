"""What a Dag run may see: every way a run can start, and every wrong param."""

from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_file import load_spec, spec_path
from perennial.errors import ConfigurationError
from perennial_airflow.runs import resolve_as_of, resolve_interval, resolve_run

APRIL = datetime(2013, 4, 1, tzinfo=UTC)
MAY = datetime(2013, 5, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return load_spec(spec_path(Settings.load(), "flight_delay"))


def dag_run(run_type: str, interval_end: datetime | None = None) -> SimpleNamespace:
    return SimpleNamespace(dag_id="retrain__flight_delay", run_id="a", run_type=run_type, data_interval_end=interval_end)


@pytest.mark.parametrize(
    ("run_type", "interval_end", "param", "as_of"),
    [
        ("scheduled", APRIL, None, APRIL),
        ("scheduled", APRIL, "2013-05-01", APRIL),  # a param cannot bend a scheduled run
        ("backfill", APRIL, "2013-05-01", APRIL),  # nor leak into each interval of a backfill
        ("manual", APRIL, "2013-05-01", MAY),
        ("manual", APRIL, None, APRIL),
        ("manual", None, "2013-05-01T02:00:00+02:00", MAY),
        ("operator_triggered", None, "2013-05-01", MAY),
    ],
)
def test_as_of(spec: ModelSpec, run_type: str, interval_end: datetime | None, param: str | None, as_of: datetime) -> None:
    run = resolve_run(spec, dag_run(run_type, interval_end), {"as_of": param})
    assert (run.as_of, run.start) == (as_of, as_of - spec.training.window)
    assert run.mode == ("backfill" if run_type == "backfill" else "live")


def test_the_window_and_candidates_of_a_manual_run(spec: ModelSpec) -> None:
    params = {"as_of": "2013-05-01", "window": "60 days", "force": "board demo", "candidates": ["lightgbm"]}
    run = resolve_run(spec, dag_run("manual"), params)
    assert (run.start, run.force_reason, run.candidates) == (MAY - timedelta(days=60), "board demo", ("lightgbm",))


def test_all_candidates_unless_told(spec: ModelSpec) -> None:
    assert resolve_run(spec, dag_run("scheduled", APRIL), {"candidates": ["lightgbm"]}).candidates == tuple(spec.candidates)


def test_an_interval_in_another_zone_becomes_utc(spec: ModelSpec) -> None:
    new_york = APRIL.astimezone(timezone(timedelta(hours=-4)))
    assert resolve_run(spec, dag_run("scheduled", new_york), {}).as_of.tzinfo is UTC


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "neither an as_of param nor a data interval"),
        ({"as_of": "yesterday"}, "as_of='yesterday'"),
        ({"as_of": "2013-04-01", "window": "3 moons"}, "window='3 moons'"),
        ({"as_of": "2013-04-01", "window": "20 days"}, "28 days or more"),
        ({"asof": "2013-04-01"}, "no param 'asof'"),
        ({"as_of": "2013-04-01", "candidates": []}, "candidates is empty"),
        ({"as_of": "2013-04-01", "candidates": ["xgboost"]}, "'xgboost' is not in the spec"),
    ],
)
def test_a_wrong_param_is_refused_by_name(spec: ModelSpec, params: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        resolve_run(spec, dag_run("manual"), params)


def batch_run(run_type: str, *, has_interval: bool = True, start: datetime = APRIL) -> SimpleNamespace:
    interval = (start, MAY) if has_interval else (None, None)
    return SimpleNamespace(
        dag_id="score__flight_delay", run_id="b", run_type=run_type,
        data_interval_start=interval[0], data_interval_end=interval[1],
    )  # fmt: skip


GIVEN = {"start": "2013-04-02", "end": "2013-04-03T02:00:00+02:00"}
NAMED = (datetime(2013, 4, 2, tzinfo=UTC), datetime(2013, 4, 3, tzinfo=UTC))


@pytest.mark.parametrize(
    ("run_type", "params", "interval"),
    [
        ("scheduled", {}, (APRIL, MAY)),
        ("scheduled", GIVEN, (APRIL, MAY)),  # a param cannot bend a scheduled run
        ("backfill", GIVEN, (APRIL, MAY)),
        ("manual", {"start": None, "end": None}, (APRIL, MAY)),
        ("manual", GIVEN, NAMED),
        ("operator_triggered", GIVEN, NAMED),
    ],
)
def test_the_interval_of_a_batch(run_type: str, params: dict[str, str | None], interval: tuple[datetime, datetime]) -> None:
    run = resolve_interval("flight_delay", batch_run(run_type), params)
    assert (run.start, run.as_of) == interval
    assert run.mode == ("backfill" if run_type == "backfill" else "live")


@pytest.mark.parametrize(
    ("batch", "params", "message"),
    [
        (batch_run("manual", has_interval=False), {}, "no data interval"),
        (batch_run("manual"), {"start": "2013-04-02"}, "there is only one"),
        (batch_run("manual"), {"start": "2013-04-02", "end": "2013-04-02"}, "is empty"),
        (batch_run("manual"), {"start": "2013-04-02", "end": "2013-04-01"}, "is empty"),
        (batch_run("manual"), {"start": "soon", "end": "2013-04-01"}, "param start='soon'"),
        (batch_run("scheduled", start=MAY), {}, "is empty"),  # of a timetable that knows instants only
    ],
)
def test_no_interval_or_an_empty_one_is_refused(batch: SimpleNamespace, params: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        resolve_interval("flight_delay", batch, params)


def test_what_only_needs_an_instant_gets_one_or_says_so() -> None:
    assert resolve_as_of(dag_run("scheduled", APRIL), {"as_of": "2013-05-01"}) == APRIL
    assert resolve_as_of(dag_run("manual"), {"as_of": "2013-05-01"}) == MAY
    with pytest.raises(ConfigurationError, match="neither an as_of param"):
        resolve_as_of(dag_run("manual"), {})
