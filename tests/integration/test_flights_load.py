"""`perennial load-flights`: honest types and times, all or nothing, and nothing to do the second time."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

from perennial.adapters.flights import PACKAGE, _find_data, load_flights
from perennial.cli.main import app
from perennial.config.settings import Settings
from perennial.errors import QueryError, UnavailableError
from support.data.warehouse_flights import load, owner, read

pytestmark = pytest.mark.integration

ROWS = {"airlines": 16, "airports": 1458, "planes": 3322, "weather": 26115, "flights": 336776}
_LOAD_AGAIN = """
from perennial.adapters.flights import load_flights
from perennial.config.settings import Settings
settings = Settings.load()
load_flights(settings.database_url("warehouse"), settings.project, reload=True, progress=lambda what, *_: print(what, flush=True))
"""


@pytest.fixture(scope="module")
def settings(warehouse) -> Settings:
    return warehouse


@pytest.fixture(scope="module")
def source() -> pd.DataFrame:
    """The flights as the package has them, in the order of the table."""
    flights = pd.read_csv(_find_data() / "flights.csv.zip", na_values="NA")
    days = flights["year"] * 10000 + flights["month"] * 100 + flights["day"]
    flights["flight_id"] = days.astype(str) + "-" + flights["carrier"] + flights["flight"].astype(str) + "-" + flights["origin"]
    return flights.set_index("flight_id").sort_index()


@pytest.fixture(scope="module")
def table(settings) -> pd.DataFrame:
    names = [
        name for (name,) in read(settings, "SELECT column_name FROM information_schema.columns WHERE table_name = 'flights'")
    ]
    rows = read(settings, f"SELECT {', '.join(map(str, names))} FROM flights.flights")
    return pd.DataFrame(rows, columns=names).set_index("flight_id").sort_index()


def test_every_row_is_there(settings):
    assert load(settings).rows == ROWS


def test_loading_again_changes_nothing(settings):
    before = read(settings, "SELECT xmin::text, count(*) FROM flights.flights GROUP BY 1")
    assert not load(settings).changed
    assert read(settings, "SELECT xmin::text, count(*) FROM flights.flights GROUP BY 1") == before


def test_loading_by_force_gives_the_same_rows(settings):
    digest = "SELECT md5(string_agg(f::text, '|' ORDER BY flight_id)) FROM flights.flights AS f"
    before = read(settings, digest)
    assert load(settings, reload=True).changed
    assert read(settings, digest) == before


def test_the_command_says_what_is_there(settings, monkeypatch):
    answer = CliRunner().invoke(app, ["load-flights", "--json"])
    assert answer.exit_code == 0, answer.output
    assert {key: json.loads(answer.stdout)[key] for key in ("rows", "changed", "license")} == {
        "rows": ROWS,
        "changed": False,
        "license": "CC0",
    }


def test_types_say_what_the_values_are(settings):
    types = read(settings, "SELECT DISTINCT data_type FROM information_schema.columns WHERE table_schema = 'flights'")
    assert sorted(types) == [("double precision",), ("integer",), ("text",), ("timestamp with time zone",)]


def test_departures_are_the_sources_own_hours_in_utc(table, source):
    hours = pd.to_datetime(table["scheduled_departure_at"], utc=True).dt.floor("h")
    assert (hours == pd.to_datetime(source["time_hour"], utc=True)).all()


def test_missing_stays_missing(table, source):
    for column in ("tailnum", "dep_delay", "arr_delay", "air_time"):
        assert table[column].isna().sum() == source[column].isna().sum() > 0
    assert (table["arrived_at"].isna() == source["arr_delay"].isna()).all()


def test_arrivals_agree_with_the_recorded_wall_clock(settings, source):
    rows = read(
        settings,
        """SELECT flight_id, extract(hour FROM local_at) * 100 + extract(minute FROM local_at) FROM (
               SELECT flight_id, arrived_at AT TIME ZONE coalesce(tzone, 'America/Puerto_Rico') AS local_at
               FROM flights.flights LEFT JOIN flights.airports ON faa = dest WHERE arrived_at IS NOT NULL
           ) AS arrival""",
    )
    clock = pd.Series(dict(rows)).astype(int)
    recorded = source["arr_time"].astype("Int64") % 2400
    # One in 327,346 was on its way while daylight saving time began, and the source miscounts its delay.
    assert list(clock.index[(clock != recorded[clock.index]).to_numpy()]) == ["20130309-B635-JFK"]


def test_nothing_arrives_before_it_has_flown(settings):
    flown = "arrived_at < departed_at + make_interval(mins => air_time)"
    assert read(settings, f"SELECT count(*) FROM flights.flights WHERE {flown}") == [(0,)]
    assert read(settings, "SELECT count(*) FROM flights.flights WHERE known_at >= scheduled_departure_at") == [(0,)]


def test_event_times_are_indexed(settings):
    plan = read(settings, "EXPLAIN SELECT * FROM flights.flights WHERE scheduled_departure_at < '2013-01-02'")
    assert "flights_by_event_time" in str(plan)


def test_a_killed_load_leaves_what_was_there(settings, stack):
    with subprocess.Popen(
        [sys.executable, "-c", _LOAD_AGAIN], env=dict(stack.environment), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("times"):
                process.kill()
    assert process.returncode == -9
    assert load(settings).rows == ROWS
    assert not load(settings).changed


def test_a_view_in_the_way_is_named(settings):
    with owner(settings) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE VIEW public.mine AS SELECT * FROM flights.planes")
    try:
        with pytest.raises(QueryError, match=r"view mine depends on table flights\.planes"):
            load(settings, reload=True)
        assert load(settings).rows == ROWS
    finally:
        with owner(settings) as connection, connection.cursor() as cursor:
            cursor.execute("DROP VIEW public.mine")


def test_an_absent_postgres_may_be_tried_again(settings):
    with pytest.raises(UnavailableError, match="Connection refused"):
        load_flights("postgresql://warehouse@127.0.0.1:1/warehouse", settings.project, progress=lambda *_: None)


def test_the_package_is_never_imported():
    assert PACKAGE not in sys.modules
