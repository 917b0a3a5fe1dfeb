"""Rows out of the warehouse: the window's in the run's folder, the same ones each time, and those that a caller would send."""

import logging
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest

from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_file import load_spec, spec_path
from perennial.core.identity import IdentityColumns
from perennial.core.rows import find_faults
from perennial.errors import EmptyWindow
from perennial.steps.extract import extract
from perennial.steps.modelling import feature_types
from perennial.steps.rows import read_feature_rows, read_identified_rows
from support.data.warehouse_flights import make_run

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def settings(warehouse) -> Settings:
    return warehouse


@pytest.fixture(scope="module")
def spec(settings) -> ModelSpec:
    return load_spec(spec_path(settings, "flight_delay"))


def test_the_window_is_extracted_and_said_so(settings, spec, caplog):
    run = make_run("extract__1")
    with caplog.at_level(logging.INFO):
        done = extract(spec, run, settings=settings)
    table = pq.read_table(done.path)
    assert done.n_rows == table.num_rows == 80_687
    assert done.path == str(settings.paths.runs / "flight_delay" / "extract__1" / "extract.parquet")
    wanted = {*spec.source.entity_key, spec.source.event_time, spec.source.arrival_time, spec.label.column, *spec.features}
    assert set(table.column_names) == wanted
    assert "Extracted 80,687 rows of flight_delay" in caplog.text
    assert "rows/s" in caplog.text


def test_extracting_again_gives_the_same_rows(settings, spec):
    first, again = (extract(spec, make_run("extract__2"), settings=settings) for _ in range(2))
    assert (first.path, first.n_rows, first.sql_digest) == (again.path, again.n_rows, again.sql_digest)
    other = extract(spec, make_run("extract__3"), settings=settings)
    assert pq.read_table(first.path).equals(pq.read_table(other.path))


@pytest.mark.parametrize("year", [2012, 2015])
def test_an_empty_window_says_what_time_there_is(settings, spec, year):
    as_of = datetime(year, 6, 1, tzinfo=UTC)
    with pytest.raises(EmptyWindow) as caught:
        extract(spec, make_run(f"extract__{year}", as_of=as_of), settings=settings)
    window = f"flight_delay: no rows from {year}-03-03 00:00 to {year}-06-01 00:00 UTC"
    assert caught.value.what == f"{window}; the source's events reach from 2013-01-01 10:15 to 2014-01-01 04:59 UTC"
    assert "an as_of in that range" in caught.value.next_step


def test_rows_that_a_caller_would_send_are_sound_and_in_the_order_of_their_events(settings, spec):
    start, end = datetime(2013, 4, 1, tzinfo=UTC), datetime(2013, 4, 8, tzinfo=UTC)
    rows = read_identified_rows(spec, start, end, settings=settings)
    identity = IdentityColumns(key=tuple(spec.source.entity_key), event_time=spec.source.event_time)
    assert find_faults(rows, feature_types(spec), identity=identity) == []
    events = [datetime.fromisoformat(str(row["scheduled_departure_at"])) for row in rows]
    assert events == sorted(events)
    assert start <= events[0] and end - timedelta(hours=6) < events[-1] < end
    assert len({row["flight_id"] for row in rows}) == len(rows) == 6_594
    assert rows[0]["flight_id"] == "20130331-B6130-JFK"


def test_a_row_knows_the_same_of_its_event_however_long_the_interval(settings, spec):
    start = datetime(2013, 4, 1, 16, tzinfo=UTC)
    (alone,) = read_feature_rows(spec, start, start + timedelta(hours=1), settings=settings, limit=1)
    first = read_identified_rows(spec, start, start + timedelta(days=3), settings=settings)[0]
    assert first == alone | {name: first[name] for name in ("flight_id", "scheduled_departure_at")}
