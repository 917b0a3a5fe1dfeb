"""How a shipper moves journals into a real Postgres: one at a time, in order, each line once, and what it cannot keep."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import psycopg2
import pytest

from perennial.adapters import journal
from perennial.adapters.state.predictions import PredictionStore
from perennial.config.settings import Settings
from perennial.errors import UnavailableError
from perennial.stack.waiting import wait_until
from perennial.steps.ship_predictions import Shipped, Shipper
from support.predictions.prediction_journals import N_ROWS, request_line
from support.predictions.prediction_tables import assert_complete, clear, query, ship_all, write
from support.stacks.stack import StackFactory

pytestmark = pytest.mark.integration

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


def test_one_ships_and_the_next_waits_until_it_is_gone(settings: Settings, store: PredictionStore):
    with PredictionStore(settings.state_url) as second:
        assert not second.take_over()
        store.__exit__()
        assert wait_until(second.take_over, seconds=20, interval=0.01)


def test_a_shipper_that_was_overtaken_writes_nothing(settings: Settings, store: PredictionStore, tmp_path: Path):
    write(tmp_path / "p", request_line("m", 0))
    late = Shipper(store, tmp_path)
    with PredictionStore(settings.state_url) as other:
        Shipper(other, tmp_path)._ship_segment(journal.list_segments(tmp_path)[0])
    with pytest.raises(UnavailableError, match="somebody else has taken over"):
        late.ship_round(datetime.now(UTC))
    assert_complete(settings, "m", 1)


def test_what_cannot_be_read_or_kept_is_set_aside_and_the_rest_goes_on(
    settings: Settings, store: PredictionStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    unreadable = b'{"at": "2026-07-\n'
    refused = request_line("m", 7, version=2**40)
    lines = [request_line("m", number) for number in range(20)]
    lines[5:5], lines[11:11] = [unreadable], [refused]
    write(tmp_path / "p", *lines)
    (segment,) = journal.list_segments(tmp_path)
    with segment.open("ab") as file:
        file.write(b'{"at": "cut by a ki')
    shipped = ship_all(store, tmp_path)
    assert (shipped.n_requests, shipped.n_rejected) == (20, 2)
    assert_complete(settings, "m", 20)
    assert sorted(segment.with_suffix(".rejected").read_bytes().splitlines(keepends=True)) == sorted([unreadable, refused])
    assert journal.list_segments(tmp_path) == []
    assert segment.with_suffix(".rejected").stat().st_mode & 0o777 == 0o600
    for words in (
        "cannot be read and are set aside: JSONDecodeError",
        "out of range for type integer",
        "ends with 19 bytes of a line",
    ):
        assert words in caplog.text


def nested(depth: int) -> object:
    return {"x": nested(depth - 1)} if depth else "Ann"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"version": 2**40}, "out of range for type integer"),
        ({"rows": [nested(400)], "predictions": [0.5]}, "cannot be written as JSON"),
        ({"id": "".join(map(str, range(10_000)))}, "index row"),
    ],
    ids=["a number too large", "nested too deeply", "an id that no index takes"],
)
def test_one_line_that_cannot_be_kept_stops_nobody_and_is_not_quoted(
    settings: Settings, store: PredictionStore, tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict, fault: str
):
    """Postgres quotes the row it refuses in its DETAIL and CONTEXT: who reads the log is not to read what a caller sent."""
    refused = request_line("m", 7, **{"rows": [{"name": "Ann"}], "predictions": [0.5]} | changes)
    write(tmp_path / "p", request_line("m", 0), refused, request_line("m", 1))
    (segment,) = journal.list_segments(tmp_path)
    assert ship_all(store, tmp_path).n_requests == 2
    assert_complete(settings, "m", 2)
    assert segment.with_suffix(".rejected").read_bytes() == refused
    start = len(request_line("m", 0, at=json.loads(refused)["at"]))
    (said,) = caplog.messages
    assert said.startswith(f"p/{segment.name}: {len(refused)} bytes at byte {start} are set aside: ")
    assert fault in said and "Ann" not in caplog.text and "COPY" not in caplog.text


def test_a_line_is_set_aside_once_however_often_its_batch_is_tried(settings: Settings, store: PredictionStore, tmp_path: Path):
    unreadable = b'{"at": "2026-07-\n'
    write(tmp_path / "p", request_line("m", 0), unreadable)
    (segment,) = journal.list_segments(tmp_path)
    query(settings, "ALTER TABLE traffic RENAME TO traffic_away")
    try:
        for _ in range(3):
            with pytest.raises(UnavailableError):
                Shipper(store, tmp_path).ship_round(datetime.now(UTC))
    finally:
        query(settings, "ALTER TABLE traffic_away RENAME TO traffic")
    assert not segment.with_suffix(".rejected").exists()
    assert ship_all(store, tmp_path).n_rejected == 1
    assert segment.with_suffix(".rejected").read_bytes() == unreadable


def test_a_batch_that_is_broken_off_is_not_quoted_and_waits(settings: Settings, store: PredictionStore, tmp_path: Path):
    """The server breaks off the COPY in the middle of a row and says which one."""
    write(tmp_path / "p", request_line("m", 0, at=AT, rows=[{"name": "Ann"}], predictions=[0.5], n_rows=1))
    store.make_days([date(2031, 5, 1)])
    blocker = psycopg2.connect(settings.state_url)
    with store._transaction() as cursor:
        cursor.execute("SET lock_timeout = '200ms'")
    try:
        with blocker.cursor() as cursor:
            cursor.execute("LOCK TABLE prediction_20310501")
            with pytest.raises(UnavailableError, match="canceling statement due to lock timeout") as raised:
                Shipper(store, tmp_path)._ship_segment(journal.list_segments(tmp_path)[0])
    finally:
        blocker.close()
    assert "Ann" not in str(raised.value) and "COPY" not in str(raised.value)
    assert ship_all(store, tmp_path).n_requests == 1


def test_a_long_line_after_a_short_one_is_not_left_behind(settings: Settings, store: PredictionStore, tmp_path: Path):
    """A finished segment is deleted only when nothing more can be read from it, whatever fits into one batch."""
    rows = [{"number": 1, "row": row, "text": "x" * 1500} for row in range(1000)]
    long = request_line("m", 1, rows=rows, predictions=[0.5] * 1000, n_rows=1000)
    write(tmp_path / "p", request_line("m", 0), long, request_line("m", 2))
    assert ship_all(store, tmp_path) == Shipped(n_requests=3, n_rows=1000 + 2 * N_ROWS, is_behind=True)
    assert query(settings, "SELECT count(*), count(DISTINCT row_number), max(row_number) FROM prediction WHERE model = 'm'") == [
        (1000 + 2 * N_ROWS, 1000, 999)
    ]


def test_tables_that_are_missing_are_waited_for(settings: Settings, store: PredictionStore, tmp_path: Path):
    write(tmp_path / "p", request_line("m", 0))
    query(settings, "ALTER TABLE traffic RENAME TO traffic_away")
    try:
        with pytest.raises(UnavailableError, match='relation "traffic" does not exist'):
            ship_all(store, tmp_path)
        assert query(settings, "SELECT count(*) FROM prediction") == [(0,)]
    finally:
        query(settings, "ALTER TABLE traffic_away RENAME TO traffic")
    assert ship_all(store, tmp_path).n_requests == 1


def test_positions_whose_files_are_gone_are_forgotten_after_a_day(settings: Settings, store: PredictionStore, tmp_path: Path):
    query(settings, "INSERT INTO prediction_journal VALUES ('p/young', 1, now()), ('p/old', 1, now() - interval '25 hours')")
    Shipper(store, tmp_path)
    assert store.read_positions() == {"p/young": 1}
