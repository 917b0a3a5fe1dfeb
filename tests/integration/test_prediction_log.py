"""The prediction log in a real stack: every line exactly once, whoever is killed and whatever is away meanwhile."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pytest

import prediction_journals
from perennial.adapters import journal, supervisor
from perennial.adapters.journal import Journal
from perennial.adapters.state.predictions import PredictionStore
from perennial.config.settings import Settings
from perennial.errors import UnavailableError
from perennial.stack import prediction_log
from perennial.stack.waiting import wait_until
from perennial.steps.ship_predictions import Shipped, Shipper
from prediction_journals import N_ROWS, Writer, request_line

if TYPE_CHECKING:
    from conftest import Stack

pytestmark = pytest.mark.integration

NAME = "prediction-log"


@pytest.fixture(scope="module")
def away(make_stack: "Callable[[], Stack]") -> "Stack":
    """A stack of its own, as its Postgres is stopped."""
    stack = make_stack()
    stack.up(NAME)
    return stack


@pytest.fixture
def settings(away: "Stack") -> Settings:
    """The stack with nobody shipping and nothing shipped."""
    settings = away.settings
    if pid_of(settings):
        supervisor.stop_program(settings, NAME)
    query(settings, "TRUNCATE prediction, traffic, prediction_journal")
    return settings


@pytest.fixture
def store(settings: Settings) -> Iterator[PredictionStore]:
    with PredictionStore(settings.state_url) as store:
        assert wait_until(store.take_over, seconds=5, interval=0.01)
        yield store


def query(settings: Settings, sql: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(settings.state_url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def ship_all(store: PredictionStore, root: Path) -> Shipped:
    shipper, total = Shipper(store, root), Shipped()
    for _ in range(50):
        total += shipper.ship_round(datetime.now(UTC))
    assert shipper.waiting_bytes() == 0
    assert store.read_positions() == {}
    return total


def write(folder: Path, *lines: bytes) -> None:
    writer = Journal(folder, max_bytes=1024**3)
    assert writer.append(b"".join(lines))
    writer.close()


def pid_of(settings: Settings) -> int:
    return supervisor.program_states(settings, NAME)[0].pid


def assert_complete(settings: Settings, model: str, n_requests: int) -> None:
    """Every row of every request once, with what it holds; and the same count by seconds."""
    sql = f"""SELECT count(*), count(DISTINCT (request_id, row_number)), count(DISTINCT request_id),
                     coalesce(max((features ->> 'number')::int), -1) + 1,
                     count(*) FILTER (WHERE request_id <> model || '/' || (features ->> 'number')
                         OR prediction <> (features ->> 'number')::int + row_number / 8.0
                         OR features ->> 'note' <> E'a "tab"\\t\\\\N and é')
              FROM prediction WHERE model = '{model}'"""
    n_rows = n_requests * N_ROWS
    assert query(settings, sql) == [(n_rows, n_rows, n_requests, n_requests, 0)], model
    assert query(settings, f"SELECT sum(n_requests), sum(n_rows) FROM traffic WHERE model = '{model}'") == [(n_requests, n_rows)]


def assert_in_order(settings: Settings) -> None:
    """At any moment, what is there of a writer is its first requests."""
    gaps = """SELECT model, count(DISTINCT request_id), max((features ->> 'number')::int) + 1 FROM prediction
              GROUP BY model HAVING count(DISTINCT request_id) <> max((features ->> 'number')::int) + 1"""
    assert query(settings, gaps) == []


def test_nothing_is_lost_or_doubled_whoever_dies(away: "Stack"):
    """Shippers and a writer are killed, Postgres is away for five seconds, and the writers go on all the while."""
    settings = away.up(NAME)
    root = settings.paths.predictions
    programs = {"a": "bento__a__v1", "second_of_a": "bento__a__v1", "b": "bento__b__v1", "killed": "bento__b__v2"}
    writers = {
        name: Writer(root / program, name, per_second=150, environment=away.environment) for name, program in programs.items()
    }
    n_written = {}
    for _ in range(3):
        before = pid_of(settings)
        assert wait_until(lambda: query(settings, "SELECT 1 FROM prediction LIMIT 1") != [], seconds=10)
        os.kill(before, 9)
        assert wait_until(lambda before=before: pid_of(settings) not in (0, before), seconds=10)
        assert_in_order(settings)
    supervisor.stop_program(settings, "postgres")
    n_said = writers.pop("killed").kill()
    time.sleep(5)
    supervisor.start_program(settings, "postgres")
    assert wait_until(lambda: can_query(settings), seconds=20)
    for _ in range(5):
        assert_in_order(settings)
        time.sleep(0.1)
    for name, writer in writers.items():
        n_written[name] = writer.end()
    assert wait_until(lambda: journal.list_segments(root) == [], seconds=15), journal.list_segments(root)
    for name, n_requests in n_written.items():
        assert n_requests > 500
        assert_complete(settings, name, n_requests)
    ((n_killed,),) = query(settings, "SELECT sum(n_requests) FROM traffic WHERE model = 'killed'")
    assert n_killed in (n_said, n_said + 1), "it may have died between writing and saying so"
    assert_complete(settings, "killed", n_killed)
    assert wait_until(lambda: [path for path in root.iterdir() if path.is_dir()] == [], seconds=5)
    assert_log_tells(settings)


def can_query(settings: Settings) -> bool:
    try:
        return query(settings, "SELECT 1") == [(1,)]
    except psycopg2.OperationalError:
        return False


def assert_log_tells(settings: Settings) -> None:
    log = (settings.paths.logs / f"{NAME}.log").read_text()
    last_process = log[log.rindex("WARNING predictions wait on disk: ") :]
    assert last_process.count("predictions wait on disk") == 1, "an outage is told once"
    assert "predictions flow again after" in last_process
    assert "Traceback" not in log
    assert wait_until(lambda: prediction_log.check(settings, 60.0) == "", seconds=5)


def test_a_shipper_killed_at_any_instant_neither_loses_nor_doubles(away: "Stack", settings: Settings, tmp_path: Path):
    """Small segments and batches, so that kills also meet deletions; the shipper lives for milliseconds each time."""
    n_requests = 4000
    writer = Journal(tmp_path / "p", max_bytes=1024**3, segment_bytes=64 * 1024)
    for number in range(n_requests):
        writer.append(request_line("loop", number))
    writer.close()
    n_segments = len(journal.list_segments(tmp_path))
    assert n_segments > 20
    command = [sys.executable, prediction_journals.__file__, "ship", settings.state_url, tmp_path, "60", "7"]
    said = subprocess.run(command, env=away.environment, check=True, timeout=60, capture_output=True, text=True).stdout
    assert int(said) > 10, "kills that came before everything was done"
    assert_complete(settings, "loop", n_requests)


def test_one_ships_and_the_next_waits_until_it_is_gone(settings: Settings, store: PredictionStore):
    with PredictionStore(settings.state_url) as second:
        assert not second.take_over()
        store.__exit__()
        assert wait_until(second.take_over, seconds=5, interval=0.01)


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
    for words in ("cannot be read and is set aside", "out of range for type integer", "ends with 19 bytes of a line"):
        assert words in caplog.text


def test_a_long_line_after_a_short_one_is_not_left_behind(settings: Settings, store: PredictionStore, tmp_path: Path):
    """A finished segment is deleted only when nothing more can be read from it, whatever fits into one batch."""
    rows = [{"number": 1, "row": row, "text": "x" * 1500} for row in range(1000)]
    long = request_line("m", 1, rows=rows, predictions=[0.5] * 1000, n_rows=1000)
    write(tmp_path / "p", request_line("m", 0), long, request_line("m", 2))
    assert ship_all(store, tmp_path) == Shipped(n_requests=3, n_rows=1000 + 2 * N_ROWS, is_behind=True)
    assert query(settings, "SELECT count(*), count(DISTINCT row_number), max(row_number) FROM prediction WHERE model = 'm'") == [
        (1000 + 2 * N_ROWS, 1000, 999)
    ]


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
    reader = psycopg2.connect(settings.state_url, options="-c lock_timeout=1s -c statement_timeout=5s")
    try:
        with reader.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM prediction")
            now = datetime(2031, 3, 1, 23, 30, tzinfo=UTC)
            started = time.monotonic()
            Shipper(store, tmp_path).ship_round(now)
            assert time.monotonic() - started < 1
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


@pytest.mark.parametrize("number", range(5))
def test_the_documents_queries_run(settings: Settings, store: PredictionStore, tmp_path: Path, number: int):
    """Each finds what it is made for, in a live request and its shadow that disagree."""
    page = Path(__file__).parents[2] / "docs" / "predictions.md"
    sql = re.findall(r"```sql\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(sql) == 5
    request = {"at": datetime.now(UTC).isoformat(), "id": "7c9e66797b1d4f0e8a3b5c2d1e0f9a8b", "version": 3}
    live = request_line("flight_delay", 0, **request)
    shadow = request_line("flight_delay", 0, **request | {"version": 4, "kind": "shadow", "predictions": [0.0, 0.9, 0.3]})
    failed = request_line("flight_delay", 1, **request | {"status": 500, "rows": [], "predictions": [], "n_rows": 0})
    write(tmp_path / "p", live, shadow, failed)
    ship_all(store, tmp_path)
    found = query(settings, sql[number])
    expected = [N_ROWS, 2 * N_ROWS, 1, 1, 0]
    assert len(found) == expected[number], found
    if number == 2:
        assert found[0][2:] == (2, 0.5)


def test_it_ends_when_it_is_told_and_leaves_no_lock(away: "Stack", settings: Settings):
    process = subprocess.Popen([sys.executable, "-m", "perennial.stack.prediction_log"], env=away.environment)
    try:
        with PredictionStore(settings.state_url) as store:
            assert wait_until(lambda: not taken_for_a_moment(settings), seconds=10)
            process.terminate()
            assert process.wait(5) == 0
            assert wait_until(store.take_over, seconds=5)
    finally:
        process.kill()


def taken_for_a_moment(settings: Settings) -> bool:
    with PredictionStore(settings.state_url) as store:
        return store.take_over()
