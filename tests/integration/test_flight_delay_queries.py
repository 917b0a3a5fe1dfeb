"""The example's queries, against a computation by hand: a row holds only what was known at its departure."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from perennial.adapters.warehouse import Query, read_frame, read_query
from perennial.config.settings import Settings
from perennial.config.spec_file import load_spec, spec_path
from support.data.warehouse_flights import read

pytestmark = pytest.mark.integration

START, END = datetime(2013, 2, 1, tzinfo=UTC), datetime(2013, 2, 15, tzinfo=UTC)
RAW_COLUMNS = (
    "carrier, flight, tailnum, origin, dest, distance, scheduled_arrival_at, departed_at, arrived_at, "
    "dep_delay, arr_delay, air_time"
)
HISTORY = {
    "carrier_late_ratio_1d": (("carrier",), timedelta(days=1)),
    "origin_late_ratio_3h": (("origin",), timedelta(hours=3)),
    "origin_late_ratio_1d": (("origin",), timedelta(days=1)),
    "route_late_ratio_7d": (("origin", "dest"), timedelta(days=7)),
}


@pytest.fixture(scope="module")
def settings(warehouse) -> Settings:
    return warehouse


@pytest.fixture(scope="module")
def flights(settings) -> pd.DataFrame:
    """The table, from a week before the window on."""
    columns = "flight_id carrier origin dest tailnum scheduled_departure_at scheduled_arrival_at known_at arrived_at arr_delay"
    rows = read(
        settings,
        f"""SELECT {columns.replace(" ", ", ")} FROM flights.flights
            WHERE scheduled_departure_at BETWEEN '2013-01-20' AND '2013-02-18'""",
    )
    return pd.DataFrame(rows, columns=columns.split()).set_index("flight_id")


@pytest.fixture(scope="module")
def training(settings) -> pd.DataFrame:
    return query(settings, "training.sql", START, END, END)


def query(settings: Settings, name: str, start: datetime, end: datetime, as_of: datetime) -> pd.DataFrame:
    sql = read_query(settings.project, f"flight_delay/{name}")
    frame = read_frame(settings.warehouse_reader_url, sql, parameters={"start": start, "end": end, "as_of": as_of})
    assert frame["flight_id"].is_unique
    return frame.set_index("flight_id")


def compute_late_ratio(flights: pd.DataFrame, row: pd.Series, keys: tuple[str, ...], width: timedelta, as_of: datetime) -> float:
    """Share of late arrivals in `[departure − width, departure)`, NaN without any: one flight at a time."""
    departure = row["scheduled_departure_at"]
    seen = (flights["arrived_at"] >= departure - width) & (flights["arrived_at"] < departure) & (flights["arrived_at"] <= as_of)
    for key in keys:
        seen &= flights[key] == row[key]
    return (flights.loc[seen, "arr_delay"] >= 15).mean()


@pytest.mark.parametrize("feature", HISTORY)
def test_history_is_what_had_arrived_before_departure(training, flights, feature):
    keys, width = HISTORY[feature]
    sample = training.sample(150, random_state=0)
    by_hand = pd.Series({key: compute_late_ratio(flights, row, keys, width, END) for key, row in sample.iterrows()}, dtype=float)
    pd.testing.assert_series_equal(sample[feature], by_hand, check_names=False, rtol=1e-12)
    assert by_hand.notna().mean() > 0.5


def test_an_arrival_at_the_very_departure_does_not_count(training, flights):
    """Flights that have one are in the sample by design: an upper edge that takes it in would show."""
    arrivals = set(zip(flights["origin"], flights["arrived_at"], strict=True))
    touching = [key for key, row in training.iterrows() if (row["origin"], row["scheduled_departure_at"]) in arrivals][:100]
    assert len(touching) == 100
    for key in touching:
        by_hand = compute_late_ratio(flights, training.loc[key], ("origin",), timedelta(hours=3), END)
        assert training.loc[key, "origin_late_ratio_3h"] == pytest.approx(by_hand, nan_ok=True)


def test_moving_as_of_on_changes_no_earlier_features(settings, training):
    spec = load_spec(spec_path(settings, "flight_delay"))
    later = query(settings, "training.sql", START, END + timedelta(days=10), END + timedelta(days=10))
    pd.testing.assert_frame_equal(later.loc[training.index, list(spec.features)], training[list(spec.features)])


def test_a_label_appears_once_the_flight_has_arrived(settings, training, flights):
    arrived = flights.loc[training.index, "arrived_at"] <= END
    assert (training["is_late"].notna() == arrived).all()
    assert ((training["is_late"] == 1) == (arrived & (flights.loc[training.index, "arr_delay"] >= 15))).all()
    cancelled = flights.loc[training.index, "arr_delay"].isna()
    assert 0.01 < cancelled.mean() < 0.1
    later = query(settings, "training.sql", START, END, END + timedelta(days=30))
    assert (later["is_late"].isna() == cancelled).all()


def test_the_window_is_half_open(settings, training, flights):
    inside = flights.index[(flights["scheduled_departure_at"] >= START) & (flights["scheduled_departure_at"] < END)]
    assert set(training.index) == set(inside)
    instant = training["scheduled_departure_at"].iloc[500].to_pydatetime()
    assert instant not in set(query(settings, "training.sql", START, instant, END)["scheduled_departure_at"])
    assert instant in set(query(settings, "training.sql", instant, END, END)["scheduled_departure_at"])


def test_flights_yet_to_depart_can_be_scored(settings, flights):
    as_of = datetime(2013, 2, 10, 12, tzinfo=UTC)
    rows = query(settings, "training.sql", as_of, as_of + timedelta(days=3), as_of)
    assert len(rows) > 500
    assert rows["is_late"].isna().all()
    assert (rows["known_at"] <= as_of).all()
    sample = rows.sample(50, random_state=0)
    by_hand = [compute_late_ratio(flights, row, ("carrier",), timedelta(days=1), as_of) for _, row in sample.iterrows()]
    assert sample["carrier_late_ratio_1d"].to_numpy() == pytest.approx(pd.Series(by_hand, dtype=float).to_numpy(), nan_ok=True)
    assert rows.loc[rows["scheduled_departure_at"] >= as_of + timedelta(hours=2), "temperature"].isna().all()


def test_weather_is_the_last_full_hour_before_departure(settings, training):
    reports = read(
        settings, "SELECT origin, time_hour, temp FROM flights.weather WHERE time_hour BETWEEN '2013-01-31' AND '2013-02-16'"
    )
    by_hour = {(origin, hour): temperature for origin, hour, temperature in reports}
    for _, row in training.sample(200, random_state=0).iterrows():
        hour = row["scheduled_departure_at"].floor("h").to_pydatetime() - timedelta(hours=1)
        assert row["temperature"] == pytest.approx(by_hour.get((row["origin"], hour), float("nan")), nan_ok=True)


def test_local_time_is_new_yorks(training):
    local = training["scheduled_departure_at"].dt.tz_convert("America/New_York")
    assert (training["scheduled_hour"] == local.dt.hour).all()
    assert (training["scheduled_minute_of_day"] == local.dt.hour * 60 + local.dt.minute).all()
    assert (training["weekday"] == local.dt.dayofweek + 1).all()


def test_raw_rows_are_those_of_the_window(settings, training):
    assert set(query(settings, "raw.sql", START, END, END).index) == set(training.index)


def test_a_departure_moved_out_of_the_window_stays_in_sight(settings):
    """A wrong date must not hide from the raw suite by leaving the window."""
    sql = read_query(settings.project, "flight_delay/raw.sql")
    table = f"""(SELECT flight_id, known_at, scheduled_departure_at + INTERVAL '1 year' AS scheduled_departure_at, {RAW_COLUMNS}
                 FROM flights.flights WHERE flight_id = '20130202-UA1029-EWR')"""
    moved = Query(name=sql.name, text=sql.text.replace("FROM flights.flights", f"FROM {table} AS flights"))
    rows = read_frame(settings.warehouse_reader_url, moved, parameters={"start": START, "end": END, "as_of": END})
    assert [row.year for row in rows["scheduled_departure_at"]] == [2014]
