"""The prediction log in a real stack: every line exactly once, whoever is killed and whatever is away meanwhile."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psycopg2
import pytest

from perennial.adapters import journal, supervisor
from perennial.config.settings import Settings
from perennial.stack import prediction_log
from perennial.stack.waiting import wait_until
from support import programs
from support.predictions import prediction_journals
from support.predictions.prediction_journals import Writer, request_line
from support.predictions.prediction_tables import assert_complete, assert_in_order, clear, query, write
from support.stacks.stack import Stack, StackFactory

pytestmark = pytest.mark.integration


NAME = "prediction-log"
WAITS, FLOWS = "WARNING predictions wait on disk: ", "INFO predictions flow again after "
AT, TABLE = "2031-05-01T12:00:00+00:00", "prediction_20310501"
# Who ships holds this lock of Postgres.
HOLDERS = """SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
             AND (classid::bigint << 32) | objid::bigint = hashtextextended('prediction-log', 0)"""


@pytest.fixture(scope="module")
def away(make_stack: StackFactory) -> Stack:
    """A stack of its own, as its Postgres is stopped."""
    stack = make_stack()
    stack.up(NAME)
    return stack


@pytest.fixture
def settings(away: Stack) -> Settings:
    """The stack with nobody shipping and nothing shipped."""
    # A test that failed may have left Postgres stopped.
    settings = away.up("postgres")
    if pid_of(settings):
        supervisor.stop_program(settings, NAME)
    clear(settings)
    return settings


def pid_of(settings: Settings) -> int:
    return supervisor.program_states(settings, NAME)[0].pid


@pytest.mark.parametrize(
    ("n_kills", "away_seconds"), [(1, 2), pytest.param(3, 5, marks=pytest.mark.soak)], ids=["one kill", "three kills"]
)
def test_nothing_is_lost_or_doubled_whoever_dies(away: Stack, settings: Settings, n_kills: int, away_seconds: int):
    """Shippers and a writer are killed, Postgres is away for seconds, and the writers go on all the while."""
    away.up(NAME)
    root = settings.paths.predictions
    programs = {"a": "bento__a__v1", "second_of_a": "bento__a__v1", "b": "bento__b__v1", "killed": "bento__b__v2"}
    writers = {
        name: Writer(root / program, name, per_second=150, environment=away.environment) for name, program in programs.items()
    }
    n_written = {}
    # A writer that was killed before it wrote proves nothing.
    models = "SELECT count(DISTINCT model) FROM traffic"
    assert wait_until(lambda: query(settings, models) == [(len(writers),)], seconds=60), query(settings, models)
    for _ in range(n_kills):
        assert wait_until(lambda: query(settings, "SELECT 1 FROM prediction LIMIT 1") != [], seconds=30)
        before = query(settings, HOLDERS)
        os.kill(pid_of(settings), 9)
        assert wait_until(lambda before=before: query(settings, HOLDERS) not in ([], before), seconds=30), "another one ships"
        # It may have waited for the dead one's lock, and says nothing else while it works off what came meanwhile.
        assert wait_until(lambda: (log := read_log(settings)).rfind(WAITS) <= log.rfind(FLOWS), seconds=30)
        assert_in_order(settings)
    n_logged = len(read_log(settings))
    supervisor.stop_program(settings, "postgres")
    n_said = writers.pop("killed").kill()
    # A shipper that had not noticed by the time Postgres is back would prove nothing.
    assert wait_until(lambda: WAITS in read_log(settings)[n_logged:], seconds=30)
    time.sleep(away_seconds)
    supervisor.start_program(settings, "postgres")
    assert wait_until(lambda: can_query(settings), seconds=60)
    for _ in range(5):
        assert_in_order(settings)
        time.sleep(0.1)
    for name, writer in writers.items():
        n_written[name] = writer.end()
    assert wait_until(lambda: journal.list_segments(root) == [], seconds=60), journal.list_segments(root)
    for name, n_requests in n_written.items():
        assert n_requests > 150 * away_seconds
        assert_complete(settings, name, n_requests)
    ((n_killed,),) = query(settings, "SELECT sum(n_requests) FROM traffic WHERE model = 'killed'")
    assert n_killed in (n_said, n_said + 1), "it may have died between writing and saying so"
    assert_complete(settings, "killed", n_killed)
    for program in set(programs.values()):
        os.utime(root / program, (5, 5))
    assert wait_until(lambda: [path for path in root.iterdir() if path.is_dir()] == [], seconds=30)
    assert_log_tells(settings, n_logged)


def can_query(settings: Settings) -> bool:
    try:
        return query(settings, "SELECT 1") == [(1,)]
    except psycopg2.OperationalError:
        return False


def read_log(settings: Settings) -> str:
    return (settings.paths.logs / f"{NAME}.log").read_text()


def assert_log_tells(settings: Settings, n_before: int) -> None:
    """Of an outage that came when the log had so many characters."""
    log = read_log(settings)
    outage = log[n_before:]
    assert outage.count(WAITS) == 1, "an outage is told once"
    assert FLOWS in outage[outage.index(WAITS) :]
    assert "Traceback" not in log
    assert wait_until(lambda: prediction_log.check(settings, 60.0) == "", seconds=30)


def test_a_shipper_killed_at_any_instant_neither_loses_nor_doubles(away: Stack, settings: Settings, tmp_path: Path):
    """Small segments and batches, so that kills also meet deletions; the shipper ships for milliseconds each time."""
    command = programs.command(prediction_journals, "ship", settings.state_url, tmp_path, 20, 7)
    said = subprocess.run(
        command, env=programs.environment(away.environment), check=True, timeout=120, capture_output=True, text=True
    ).stdout
    assert int(said) >= 2000
    assert_complete(settings, "loop", int(said))


def test_a_days_table_that_is_dropped_or_detached_is_there_again_and_no_line_is_lost(away: Stack, settings: Settings):
    """The service knows the day's table from before: the first it hears is that a row finds no place."""
    root = settings.paths.predictions
    away.up(NAME)
    for number, statement in enumerate(("DROP TABLE {}", "ALTER TABLE prediction DETACH PARTITION {} CONCURRENTLY")):
        write(root / "bento__m__v1", request_line("m", 2 * number, at=AT))
        assert wait_until(lambda: journal.list_segments(root) == [], seconds=30)
        query(settings, statement.format(TABLE))
        assert query(settings, "SELECT count(*) FROM prediction") == [(0,)]
        write(root / "bento__m__v1", request_line("m", 2 * number + 1, at=AT))
        assert wait_until(lambda: journal.list_segments(root) == [], seconds=30)
    ids = "SELECT DISTINCT request_id FROM prediction ORDER BY 1"
    assert query(settings, ids) == [("m/1",), ("m/2",), ("m/3",)], "only the dropped one is gone"
    assert list(root.rglob("*.rejected")) == []


def test_it_ends_when_it_is_told_and_leaves_no_lock(away: Stack, settings: Settings):
    process = subprocess.Popen([sys.executable, "-m", "perennial.stack.prediction_log"], env=away.environment)
    try:
        assert wait_until(lambda: query(settings, HOLDERS) != [], seconds=30)
        process.terminate()
        assert process.wait(30) == 0
        assert wait_until(lambda: query(settings, HOLDERS) == [], seconds=30)
    finally:
        process.kill()
        process.wait()
