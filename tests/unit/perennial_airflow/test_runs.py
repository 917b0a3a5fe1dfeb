"""What a Dag run may see: every way a run can start, and every wrong param."""

from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_file import load_spec, spec_path
from perennial.errors import ConfigurationError
from perennial_airflow.runs import resolve_as_of, resolve_run

APRIL = datetime(2013, 4, 1, tzinfo=UTC)
MAY = datetime(2013, 5, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return load_spec(spec_path(Settings.load(), "flight_delay"))


def dag_run(run_type: str, ends_at: datetime | None = None, *, run_id: str = "a", user: str | None = "ann") -> SimpleNamespace:
    return SimpleNamespace(
        dag_id="retrain__flight_delay",
        run_id=run_id,
        run_type=run_type,
        data_interval_end=ends_at,
        triggering_user_name=user,
    )


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
    assert run.forced_by == "ann"


def test_a_force_is_a_persons(spec: ModelSpec) -> None:
    with pytest.raises(ConfigurationError, match="nobody is named as who started this run"):
        resolve_run(spec, dag_run("operator_triggered", user=None), {"as_of": "2013-05-01", "force": "why not"})
    assert resolve_run(spec, dag_run("manual", user=None), {"as_of": "2013-05-01"}).forced_by == ""


def test_a_backfill_that_does_a_scheduled_run_over_leaves_its_record_alone(spec: ModelSpec) -> None:
    reprocessed = dag_run("backfill", APRIL)
    reprocessed.run_id = "scheduled__2013-04-01T00:00:00+00:00"
    assert resolve_run(spec, reprocessed, {}).dag_run_id == f"backfill__{reprocessed.run_id}"
    assert resolve_run(spec, dag_run("backfill", APRIL), {}).dag_run_id == "backfill__a"


@pytest.mark.parametrize(
    ("run_type", "run_id", "user", "cause"),
    [
        ("scheduled", "scheduled__2013-04-01", None, "schedule"),
        ("backfill", "backfill__2013-04-01", "ann", "backfill"),
        ("manual", "request__17", "airflow", "request 17"),
        ("operator_triggered", "request__17", None, "request 17"),
        ("manual", "request__of_ann", "ann", "by hand: ann"),
        ("manual", "a", "ann", "by hand: ann"),
        ("manual", "a", None, "by hand"),
    ],
)
def test_what_started_a_run(spec: ModelSpec, run_type: str, run_id: str, user: str | None, cause: str) -> None:
    assert resolve_run(spec, dag_run(run_type, APRIL, run_id=run_id, user=user), {"as_of": "2013-04-01"}).cause == cause


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


def test_what_only_needs_an_instant_gets_one_or_says_so() -> None:
    assert resolve_as_of(dag_run("scheduled", APRIL), {"as_of": "2013-05-01"}) == APRIL
    assert resolve_as_of(dag_run("manual"), {"as_of": "2013-05-01"}) == MAY
    with pytest.raises(ConfigurationError, match="neither an as_of param"):
        resolve_as_of(dag_run("manual"), {})
