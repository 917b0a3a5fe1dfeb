"""What the prediction log's tables hold, how days come and go, and what the document says of them."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest

from perennial.adapters.state.predictions import PredictionStore
from perennial.config.settings import Settings
from perennial.errors import UnavailableError
from perennial.stack.waiting import wait_until
from perennial.steps.ship_predictions import Shipper
from support.predictions.prediction_journals import N_ROWS, request_line
from support.predictions.prediction_tables import clear, query, ship_all, write
from support.stacks.projects import PROJECT
from support.stacks.stack import StackFactory

pytestmark = pytest.mark.integration


DAY = date(2031, 5, 1)
TABLE = "prediction_20310501"
AT = "2031-05-01T12:00:00+00:00"


@pytest.fixture(scope="module")
def postgres(make_stack: StackFactory) -> Settings:
    """A Postgres of its own, beside which nobody ships."""
    return make_stack().up("postgres")


@pytest.fixture
def settings(postgres: Settings) -> Settings:
    clear(postgres)
    return postgres


@pytest.fixture
def store(settings: Settings) -> Iterator[PredictionStore]:
    with PredictionStore(settings.state_url) as store:
        assert wait_until(store.take_over, seconds=20, interval=0.01)
        yield store


def test_what_postgres_cannot_hold_is_shown_as_such(settings: Settings, store: PredictionStore, tmp_path: Path):
    write(tmp_path / "p", request_line("m", 0, id="a\0b\t\\", rows=[{"x": "\0"}], predictions=[None], n_rows=1))
    ship_all(store, tmp_path)
    assert query(settings, "SELECT request_id, features, prediction = 'NaN' FROM prediction") == [
        ("a\ufffdb\t\\", {"x": "\ufffd"}, True)
    ]


def test_requests_count_by_second_status_and_kind_also_without_rows(settings: Settings, store: PredictionStore, tmp_path: Path):
    at = "2026-07-01T12:00:00.{}+00:00"
    lines = [
        request_line("m", 0, at=at.format("1")),
        request_line("m", 1, at=at.format("9"), rows=[], predictions=[]),
        request_line("m", 2, at=at.format("5"), status=500, n_rows=0, rows=[], predictions=[]),
        request_line("m", 3, at=at.format("5"), kind="shadow"),
    ]
    write(tmp_path / "p", *lines)
    write(tmp_path / "q", request_line("m", 4, at=at.format("7")))
    ship_all(store, tmp_path)
    assert query(settings, "SELECT kind, at::text, status, n_requests, n_rows FROM traffic ORDER BY kind, status") == [
        ("live", "2026-07-01 12:00:00+00", 200, 3, 3 * N_ROWS),
        ("live", "2026-07-01 12:00:00+00", 500, 1, 0),
        ("shadow", "2026-07-01 12:00:00+00", 200, 1, N_ROWS),
    ]


def test_a_row_is_kept_with_its_utc_day_over_the_turn_of_the_year(settings: Settings, store: PredictionStore, tmp_path: Path):
    instants = ("2025-12-31T23:59:59.999999+00:00", "2026-01-01T00:00:00+00:00", "2026-01-01T00:30:00+01:00")
    write(tmp_path / "p", *(request_line("m", number, at=at) for number, at in enumerate(instants)))
    ship_all(store, tmp_path)
    by_day = "SELECT tableoid::regclass::text, count(DISTINCT request_id)::int FROM prediction GROUP BY 1 ORDER BY 1"
    assert query(settings, by_day) == [("prediction_20251231", 2), ("prediction_20260101", 1)]


def test_today_and_tomorrow_are_made_ahead_while_somebody_reads(settings: Settings, store: PredictionStore, tmp_path: Path):
    """A reader in the middle of a transaction neither stops a new day nor is stopped by it."""
    reader = psycopg2.connect(settings.state_url, options="-c lock_timeout=2s")
    with store._transaction() as cursor:
        cursor.execute("SET lock_timeout = '2s'")
    try:
        with reader.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM prediction")
            now = datetime(2031, 3, 1, 23, 30, tzinfo=UTC)
            Shipper(store, tmp_path).ship_round(now)
            cursor.execute("SELECT count(*) FROM prediction")
    finally:
        reader.close()
    days = [now.date(), now.date() + timedelta(days=1)]
    assert [partition(settings, day) for day in days] == ["prediction", "prediction"]
    store.make_days(days)
    with PredictionStore(settings.state_url) as again:
        again.make_days(days)


def partition(settings: Settings, day: date) -> object:
    parent = f"SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = 'prediction_{day:%Y%m%d}'::regclass"
    return query(settings, parent)[0][0]


@pytest.fixture
def day(settings: Settings, store: PredictionStore, tmp_path: Path) -> Iterator[Path]:
    """A day with one request of three rows, which the store remembers; gone after the test."""
    write(tmp_path / "p", request_line("m", 0, at=AT))
    ship_all(store, tmp_path)
    yield tmp_path
    query(settings, f"DROP TABLE IF EXISTS {TABLE}")


@pytest.mark.parametrize(
    ("statement", "n_requests"),
    [("DROP TABLE {}", 1), ("ALTER TABLE prediction DETACH PARTITION {}", 2)],
    ids=["dropped", "detached"],
)
def test_a_day_that_went_is_made_or_attached_again_and_its_lines_wait_for_it(
    settings: Settings, store: PredictionStore, day: Path, statement: str, n_requests: int
):
    query(settings, statement.format(TABLE))
    write(day / "p", request_line("m", 1, at=AT))
    with pytest.raises(UnavailableError, match='no partition of relation "prediction" found for row'):
        ship_all(store, day)
    assert ship_all(store, day).n_requests == 1
    assert partition(settings, DAY) == "prediction"
    assert query(settings, "SELECT count(DISTINCT request_id) FROM prediction") == [(n_requests,)]
    assert list(day.rglob("*.rejected")) == []


def test_a_detached_day_that_does_not_fit_any_more_is_waited_for(settings: Settings, store: PredictionStore, day: Path):
    query(settings, f"ALTER TABLE prediction DETACH PARTITION {TABLE}")
    query(settings, f"ALTER TABLE {TABLE} ADD COLUMN note text")
    write(day / "p", request_line("m", 1, at=AT))
    for fault in ("no partition", f'table "{TABLE}" contains column "note" not found in parent'):
        with pytest.raises(UnavailableError, match=fault):
            ship_all(store, day)
    query(settings, f"ALTER TABLE {TABLE} RENAME TO kept")
    assert ship_all(store, day).n_requests == 1
    query(settings, "DROP TABLE kept")


def test_a_day_that_is_being_detached_is_waited_for(settings: Settings, store: PredictionStore, day: Path):
    """Who detaches it waits for a reader, and dies; what it began stays until somebody ends it."""
    with psycopg2.connect(settings.state_url) as reader, reader.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM prediction")
        with pytest.raises(psycopg2.errors.QueryCanceled):
            query(settings, f"ALTER TABLE prediction DETACH PARTITION {TABLE} CONCURRENTLY", timeout="500ms")
    reader.close()
    write(day / "p", request_line("m", 1, at=AT))
    for fault in ("no partition", f"{TABLE} is being detached"):
        with pytest.raises(UnavailableError, match=fault) as raised:
            ship_all(store, day)
    query(settings, raised.value.next_step.partition(": ")[2])
    assert ship_all(store, day).n_requests == 1
    assert query(settings, "SELECT count(DISTINCT request_id) FROM prediction") == [(2,)]


PAGE = PROJECT / "docs" / "predictions.md"
DOCUMENTED = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(4))
def test_the_documents_queries_run(settings: Settings, store: PredictionStore, tmp_path: Path, number: int):
    """Each finds what it is made for, in a live request and its shadow that disagree."""
    assert len(DOCUMENTED) == 5
    request = {"at": datetime.now(UTC).isoformat(), "id": "7c9e66797b1d4f0e8a3b5c2d1e0f9a8b", "version": 3}
    live = request_line("flight_delay", 0, **request)
    shadow = request_line("flight_delay", 0, **request | {"version": 4, "kind": "shadow", "predictions": [0.0, 0.9, 0.3]})
    failed = request_line("flight_delay", 1, **request | {"status": 500, "rows": [], "predictions": [], "n_rows": 0})
    write(tmp_path / "p", live, shadow, failed)
    ship_all(store, tmp_path)
    found = query(settings, DOCUMENTED[number])
    expected = [N_ROWS, 2 * N_ROWS, 1, 1]
    assert len(found) == expected[number], found
    if number == 2:
        assert found[0][2:] == (2, 0.5)


def test_a_day_is_forgotten_as_the_document_says(settings: Settings, store: PredictionStore, tmp_path: Path):
    instants = ("2026-01-31T12:00:00Z", "2026-02-01T00:00:00Z")
    write(tmp_path / "p", *(request_line("m", number, at=at) for number, at in enumerate(instants)))
    ship_all(store, tmp_path)
    for statement in DOCUMENTED[4].split(";")[:-1]:
        query(settings, statement)
    assert query(settings, "SELECT DISTINCT request_id FROM prediction") == [("m/1",)]
    assert query(settings, "SELECT sum(n_requests) FROM traffic") == [(1,)]
    assert query(settings, "SELECT to_regclass('prediction_20260131')") == [(None,)]
