"""Validation on real flights: sound ones pass at every point; each way to corrupt them stops the run and is named."""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import psycopg2
import pytest

from perennial.adapters.expectations import validate_query
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_file import load_spec, spec_path
from perennial.config.suite_file import Expectation, Suite
from perennial.contracts import Cleaned, Run, Snapshot, Validation
from perennial.errors import ConfigurationError, DataFault, EmptyWindow, QueryError, UnavailableError
from perennial.stack.postgres import connect
from perennial.steps.clean import clean
from perennial.steps.extract import extract
from perennial.steps.features import build_features
from perennial.steps.parquet import write_frame
from perennial.steps.validate import validate_clean, validate_features, validate_raw
from support.data.warehouse_flights import make_run

pytestmark = pytest.mark.integration

COPY, MARCH_ONLY = "validation_copy", "validation_march"
MARCH = "scheduled_departure_at >= '2013-03-01' AND scheduled_departure_at < '2013-04-01'"


@pytest.fixture(scope="module")
def settings(warehouse) -> Settings:
    return warehouse


@pytest.fixture(scope="module")
def spec(settings) -> ModelSpec:
    return load_spec(spec_path(settings, "flight_delay"))


@pytest.fixture(scope="module")
def cleaned(settings, spec) -> Cleaned:
    run = make_run("validation__cleaned")
    return clean(spec, run, extract(spec, run, settings=settings), settings=settings)


@pytest.fixture(scope="module")
def march(settings) -> Iterator[str]:
    """A database with the flights of March only, as a smaller copy takes less time."""
    copy_database(settings, "warehouse", MARCH_ONLY)
    url = settings.database_url(MARCH_ONLY, role="warehouse")
    with contextlib.closing(psycopg2.connect(url)) as opened, opened.cursor() as cursor:
        opened.autocommit = True
        cursor.execute(f"DELETE FROM flights.flights WHERE NOT ({MARCH})")
        cursor.execute("VACUUM FULL flights.flights")
    yield MARCH_ONLY
    drop_database(settings, MARCH_ONLY)


@pytest.fixture
def corrupted(settings, march) -> Iterator[Settings]:
    """A copy of March to spoil, and the settings that lead to it."""
    copy_database(settings, march, COPY)
    yield settings.model_copy(update={"warehouse_url": settings.database_url(COPY, role="warehouse_reader")})
    drop_database(settings, COPY)


def copy_database(settings: Settings, name: str, copy: str) -> None:
    with connect(settings, "postgres") as admin, admin.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        cursor.execute(f"CREATE DATABASE {copy} TEMPLATE {name} OWNER warehouse STRATEGY file_copy")
        cursor.execute(f"GRANT CONNECT ON DATABASE {copy} TO warehouse_reader")


def drop_database(settings: Settings, name: str) -> None:
    with connect(settings, "postgres") as admin, admin.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def spoil(settings: Settings, sql: str) -> None:
    url = settings.database_url(COPY, role="warehouse")
    with contextlib.closing(psycopg2.connect(url)) as opened, opened, opened.cursor() as cursor:
        cursor.execute(sql)


def audits(settings: Settings, run: Run) -> list[dict[str, object]]:
    with connect(settings, "perennial") as opened, opened.cursor() as cursor:
        cursor.execute(
            "SELECT detail FROM audit WHERE action = 'validation failed' AND subject LIKE %s", (f"{run.dag_run_id}:%",)
        )
        return [row[0] for row in cursor.fetchall()]


def test_sound_flights_pass_at_every_point(settings, spec, cleaned, caplog):
    run = make_run("validation__sound")
    with caplog.at_level(logging.INFO):
        raw = validate_raw(spec, run, settings=settings)
        after_cleaning = validate_clean(spec, run, cleaned, settings=settings)
        training_set = build_features(spec, run, cleaned, settings=settings)
        built = validate_features(spec, run, training_set, settings=settings)
    assert [each.success for each in (raw, after_cleaning, built)] == [True] * 3
    assert (raw.n_rows, after_cleaning.n_rows, built.n_rows) == (80_687, cleaned.n_rows, training_set.n_rows)
    # Cancelled and diverted flights are dropped; those of the last day wait for their label.
    assert cleaned.n_rows == 80_687 - sum(cleaned.dropped.values())
    assert training_set.n_rows == cleaned.n_rows - training_set.n_immature
    for validation in (raw, after_cleaning, built):
        page = settings.paths.reports / validation.data_docs
        assert validation.suite in page.read_text()
    assert "80,687 rows meet" in caplog.text
    assert "There are no earlier windows to compare with" in caplog.text
    assert audits(settings, run) == []


CORRUPTIONS = [
    pytest.param(
        "UPDATE flights.flights SET carrier = NULL WHERE {march} AND abs(hashtext(flight_id)) % 10 < 3",
        ["expect_column_values_to_not_be_null(carrier)", "carrier values must never be null", " values (30."],
        "2013",
        id="30 % nulls in carrier",
    ),
    pytest.param(
        """ALTER TABLE flights.flights DROP CONSTRAINT flights_pkey;
           INSERT INTO flights.flights SELECT * FROM flights.flights
           WHERE scheduled_departure_at BETWEEN '2013-03-05' AND '2013-03-06'""",
        ["expect_column_values_to_be_unique(flight_id)", "flight_id values must be unique"],
        "201303",
        id="duplicated keys",
    ),
    pytest.param(
        "UPDATE flights.flights SET distance = distance * 10 WHERE {march}",
        ["expect_column_values_to_be_between(distance)", "less than or equal to 5,500"],
        "2013",
        id="10 x distance",
    ),
    pytest.param(
        "UPDATE flights.flights SET distance = distance * 10 WHERE {march} AND carrier = '9E'",
        ["unexpected_rows_expectation(distance)", "No flight is scheduled faster than 700 miles an hour"],
        "-9E",
        id="10 x distance of short flights only",
    ),
    pytest.param(
        """UPDATE flights.flights SET scheduled_departure_at = scheduled_departure_at + INTERVAL '10 years',
                                      scheduled_arrival_at = scheduled_arrival_at + INTERVAL '10 years'
           WHERE {march} AND carrier = 'HA'""",
        ["expect_column_values_to_be_between(scheduled_departure_at)", "less than 2013-04-01 00:00 UTC", "2023-"],
        "-HA",
        id="departures in the future",
    ),
    pytest.param(
        "UPDATE flights.flights SET arrived_at = arrived_at + INTERVAL '1 year' WHERE {march} AND carrier = 'HA'",
        ["unexpected_rows_expectation(arrived_at)", "within three days of its schedule"],
        "-HA",
        id="arrivals in the future",
    ),
    pytest.param(
        """UPDATE flights.flights SET scheduled_arrival_at = scheduled_arrival_at + INTERVAL '5 years'
           WHERE {march} AND carrier = 'HA'""",
        ["unexpected_rows_expectation(scheduled_arrival_at)", "less than a day"],
        "-HA",
        id="schedules into the future",
    ),
    pytest.param(
        "DELETE FROM flights.flights WHERE {march} AND scheduled_departure_at >= '2013-03-20'",
        ["expect_column_max_to_be_between(scheduled_departure_at)", "observed: 2013-03-19 23:59 UTC"],
        "",
        id="stale",
    ),
    pytest.param(
        "UPDATE flights.flights SET origin = 'XXX' WHERE {march} AND origin = 'LGA'",
        ["expect_column_values_to_be_in_set(origin)", "EWR JFK LGA", "XXX"],
        "-LGA",
        id="an unknown airport",
    ),
    pytest.param(
        "UPDATE flights.flights SET arr_delay = NULL, arrived_at = NULL WHERE {march} AND hashtext(flight_id) % 2 = 0",
        ["expect_column_values_to_not_be_null(arr_delay)", "at least 70 % of the time"],
        "2013",
        id="labels that never came",
    ),
]


@pytest.mark.parametrize(("sql", "words", "in_keys"), CORRUPTIONS)
def test_corrupt_flights_stop_the_run_and_are_named(corrupted, spec, caplog, request, sql, words, in_keys):
    run = make_run(f"validation__{request.node.callspec.id}", window=timedelta(days=31))
    spoil(corrupted, sql.format(march=MARCH))
    with pytest.raises(DataFault) as caught, caplog.at_level(logging.INFO):
        validate_raw(spec, run, settings=corrupted)
    for word in words:
        assert word in caught.value.what
        assert word in caplog.text
    validation = caught.value.validation
    assert isinstance(validation, Validation)
    assert not validation.success
    failed = next(each for each in validation.failed if words[0].startswith(f"{each.expectation}({each.column})"))
    assert all(in_keys in key for key in failed.sample_keys)
    assert bool(failed.sample_keys) == bool(in_keys)
    assert "Data Docs" in caught.value.next_step
    assert (corrupted.paths.reports / validation.data_docs).exists()
    (audit,) = audits(corrupted, run)
    assert json.dumps(audit["failed"]).count(failed.expectation) >= 1


def test_an_expectation_that_cannot_be_asked_is_no_fault_of_the_data(corrupted, spec):
    spoil(corrupted, "ALTER TABLE flights.flights ALTER distance TYPE text")
    said = r"between\(distance\) cannot be asked: the warehouse refused what a suite asks: operator does not exist: text >="
    with pytest.raises(ConfigurationError, match=said):
        validate_raw(spec, make_run("validation__text", window=timedelta(days=31)), settings=corrupted)


def test_a_renamed_column_is_named(corrupted, spec):
    spoil(corrupted, "ALTER TABLE flights.flights RENAME COLUMN carrier TO airline")
    with pytest.raises(QueryError, match=r'raw\.sql:\d+: column "carrier" does not exist'):
        validate_raw(spec, make_run("validation__renamed"), settings=corrupted)


@pytest.mark.parametrize("as_of", [datetime(2099, 1, 1, tzinfo=UTC), datetime(2012, 5, 1, tzinfo=UTC)])
def test_an_empty_window_says_what_time_there_is_and_blames_no_row(settings, spec, as_of):
    with pytest.raises(EmptyWindow) as caught:
        validate_raw(spec, make_run(f"validation__{as_of.year}", as_of=as_of), settings=settings)
    start = as_of - timedelta(days=90)
    assert caught.value.what == (
        f"flight_delay: no rows from {start:%Y-%m-%d %H:%M} to {as_of:%Y-%m-%d %H:%M} UTC; "
        "the source's events reach from 2013-01-01 10:15 to 2014-01-01 04:59 UTC"
    )
    assert caught.value.next_step == "trigger it again with an as_of in that range, or load newer rows"
    assert caught.value.validation is None


def test_corrupt_joins_are_found_after_cleaning(settings, spec, cleaned):
    """What the raw suite cannot see: values that come from the other tables."""
    spoilt = rewrite(cleaned, "joins", lambda rows: rows.assign(humidity=rows["humidity"].mask(rows["carrier"] == "HA", 400.0)))
    with pytest.raises(DataFault, match=r"clean data fails expect_column_values_to_be_between\(humidity\)") as caught:
        validate_clean(spec, make_run("validation__joins"), spoilt, settings=settings)
    assert "-HA" in caught.value.what


def test_a_training_set_of_one_class_does_not_get_far(settings, spec, cleaned):
    run = make_run("validation__one_class")
    spoilt = rewrite(cleaned, "one_class", lambda rows: rows.assign(is_late=0.0))
    training_set = build_features(spec, run, spoilt, settings=settings)
    with pytest.raises(DataFault, match=r"features data fails expect_column_mean_to_be_between\(is_late\): observed 0"):
        validate_features(spec, run, training_set, settings=settings)


def rewrite(cleaned: Cleaned, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Cleaned:
    path = Path(cleaned.path).with_name(f"{name}.parquet")
    write_frame(change(pd.read_parquet(cleaned.path)), path)
    return replace(cleaned, path=str(path))


@pytest.mark.parametrize(
    ("earlier", "message"), [(400_000, "less than or equal to 79"), (10_000, "and less than or equal to 19,")]
)
def test_the_row_count_is_held_against_earlier_windows_and_the_fault_names_the_key(settings, spec, earlier, message):
    run = replace(make_run(f"validation__band_{earlier}"), model=f"band_{earlier}")
    write_history(settings, run, n_rows=earlier)
    with pytest.raises(DataFault, match=r"expect_table_row_count_to_be_between: observed 80,687") as caught:
        validate_raw(spec, run, settings=settings)
    assert message in caught.value.what
    assert "widen expectations.row_count_band" in caught.value.next_step
    # What lasts becomes the usual: the window that failed is history for the next.
    with StateStore(settings.state_url) as store:
        latest, before = store.read_row_rates(run.model, run.as_of + timedelta(days=1), limit=5)
    assert (round(latest), round(before)) == (901, round(earlier / 90))


def test_a_row_count_near_earlier_ones_passes(settings, spec, caplog):
    run = replace(make_run("validation__band"), model="band")
    write_history(settings, run, n_rows=78_000)
    with caplog.at_level(logging.INFO):
        assert validate_raw(spec, run, settings=settings).covered_days == pytest.approx(89.6, abs=0.1)
    assert "expectations.row_count_band: 0.5 to 2.0 times the 866.7 rows a day of 1 earlier windows" in caplog.text
    assert "over the 89.6 days that this one covers" in caplog.text


def test_a_window_that_is_still_filling_is_held_to_the_days_it_covers(settings, spec):
    """A year's window over rows that begin in January: six times the rows of a first training in the middle of January."""
    run = make_run("validation__filling")
    run = replace(run, model="filling", start=run.as_of - timedelta(days=365))
    write_history(settings, run, n_rows=13_000, covered_days=14.6)
    assert validate_raw(spec, run, settings=settings).n_rows == 80_687


def write_history(settings: Settings, run: Run, *, n_rows: int, covered_days: float = 90.0) -> None:
    """A snapshot of a month before, whose raw suite saw `n_rows`; fewer were left in the training set."""
    month = timedelta(days=30)
    snapshot = Snapshot(
        snapshot_id=f"{run.model}__before",
        model=run.model,
        as_of=run.as_of - month,
        start=run.start - month,
        holdout_start=run.as_of - 1.5 * month,
        n_rows=10,
        digest="d",
        sql_digest="s",
        dvc_revision="r",
        path="",
    )
    raw = Validation(point="raw", suite="s", success=True, n_expectations=1, n_rows=n_rows, covered_days=covered_days)
    with StateStore(settings.state_url) as store:
        store.write_snapshot(snapshot, (raw,))


def suite_of(*expectations: Expectation) -> Suite:
    return Suite(name="adapter", expectations=expectations)


def test_the_query_arrives_as_it_was_written(settings, tmp_path):
    """Signs that a driver or a template might take for its own."""
    sql = "SELECT 7 % 4 AS number, '50% :off {x}' AS text -- 100 %\n"
    suite = suite_of(
        Expectation(type="expect_column_values_to_be_in_set", kwargs={"column": "number", "value_set": [3]}),
        Expectation(type="expect_column_values_to_be_in_set", kwargs={"column": "text", "value_set": ["50% :off {x}"]}),
    )
    url = settings.warehouse_reader_url
    result = validate_query(suite, sql, url=url, parameters={}, key=["number"], page=tmp_path / "page.html")
    assert (result.failed, result.n_rows) == ((), 1)


def test_no_row_is_read_to_learn_the_columns(settings, tmp_path):
    """Great Expectations would read all of a query for the names of its columns; here the last row cannot be read."""
    sql = "SELECT n, 1 / (n - 1000) AS broken FROM generate_series(1, 1000) AS n"
    suite = suite_of(
        Expectation(type="expect_column_to_exist", kwargs={"column": "broken"}),
        Expectation(type="expect_column_values_to_be_unique", kwargs={"column": "n"}),
    )
    url = settings.warehouse_reader_url
    result = validate_query(suite, sql, url=url, parameters={}, key=["n"], page=tmp_path / "page.html")
    assert (result.failed, result.n_rows) == ((), 1000)


def test_a_query_that_would_write_is_refused(settings, tmp_path):
    suite = suite_of(Expectation(type="expect_table_row_count_to_be_between", kwargs={"min_value": 0}))
    sql = "SELECT lo_create(0) AS n"
    url = settings.database_url("warehouse")
    with pytest.raises(ConfigurationError, match=r"cannot be asked: the warehouse refused .* read-only transaction"):
        validate_query(suite, sql, url=url, parameters={}, key=["n"], page=tmp_path / "page.html")


def test_a_warehouse_that_is_away_says_nothing_about_the_data(settings, tmp_path):
    suite = suite_of(Expectation(type="expect_table_row_count_to_be_between", kwargs={"min_value": 1}))
    url = settings.warehouse_reader_url.replace(f":{settings.postgres_port}/", ":1/")
    with pytest.raises(UnavailableError, match="Connection refused"):
        validate_query(suite, "SELECT 1 AS n", url=url, parameters={}, key=["n"], page=tmp_path / "page.html")


@pytest.mark.parametrize("month", [2, 7, 12])
def test_sound_flights_of_other_months_pass_as_well(settings, spec, month):
    """What the raw suite calls impossible never happened in 2013."""
    as_of = datetime(2013, month, 15, tzinfo=UTC)
    window = min(timedelta(days=90), as_of - datetime(2013, 1, 1, tzinfo=UTC))
    run = make_run(f"validation__month_{month}", as_of=as_of, window=window)
    assert validate_raw(spec, run, settings=settings).success
