"""Migrations against a real database."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from perennial.adapters.state.predictions import PredictionStore
from perennial.errors import StackError
from perennial.stack.migrations import Migration, apply_migrations, read_migrations
from perennial.stack.postgres import connect
from perennial.steps.ship_predictions import parse_line
from support.predictions.prediction_journals import ENTITIES, N_ROWS, request_line

pytestmark = pytest.mark.integration

FIRST = Migration(version=1, title="first", sql="CREATE TABLE first (n integer); INSERT INTO first VALUES (1)")
SECOND = Migration(version=2, title="second", sql="ALTER TABLE first ADD COLUMN m text DEFAULT '100%'")
BROKEN = Migration(version=2, title="broken", sql="INSERT INTO first VALUES (2); SELECT no_such_function()")


@pytest.fixture
def database(stack):
    settings = stack.up("postgres")
    with connect(settings, "postgres") as admin, admin.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS scratch")
        cursor.execute("CREATE DATABASE scratch")
        with connect(settings, "scratch") as database:
            yield database
        cursor.execute("DROP DATABASE scratch")


def rows(database, query: str) -> list[tuple[object, ...]]:
    with database.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def test_each_migration_is_applied_once(database):
    assert apply_migrations(database, [FIRST]) == [FIRST]
    assert apply_migrations(database, [FIRST, SECOND]) == [SECOND]
    assert apply_migrations(database, [FIRST, SECOND]) == []
    assert rows(database, "SELECT n, m FROM first") == [(1, "100%")]
    assert rows(database, "SELECT version, title, sha256 FROM schema_migration ORDER BY 1") == [
        (1, "first", FIRST.sha256),
        (2, "second", SECOND.sha256),
    ]


def test_a_failing_migration_leaves_nothing_of_itself(database):
    with pytest.raises(StackError, match=r"0002_broken\.sql failed.*no_such_function"):
        apply_migrations(database, [FIRST, BROKEN])
    assert rows(database, "SELECT n FROM first") == [(1,)]
    assert rows(database, "SELECT version FROM schema_migration") == [(1,)]


def test_an_applied_migration_may_not_change(database):
    apply_migrations(database, [FIRST])
    with pytest.raises(StackError, match=r"0001_first\.sql was changed after it had been applied"):
        apply_migrations(database, [replace(FIRST, sql="SELECT 1"), SECOND])
    assert rows(database, "SELECT version FROM schema_migration") == [(1,)]


def test_a_database_from_a_newer_version_is_refused(database):
    apply_migrations(database, [FIRST, SECOND])
    with pytest.raises(StackError, match="has migration 2, which is not in"):
        apply_migrations(database, [FIRST])


def test_days_of_predictions_that_were_there_before_they_had_an_entity_go_on(stack, database):
    """What was logged stays, what waited on disk meanwhile is shipped, and old days are read by event time as new ones are."""
    migrations = read_migrations(stack.settings.project / "sql" / "migrations")
    days = [datetime(2026, 7, day, 12, tzinfo=UTC) for day in (1, 2)]
    with database.cursor() as cursor:
        cursor.execute("ALTER DATABASE scratch OWNER TO perennial")
    with connect(stack.settings, "scratch", role="perennial") as owner:
        apply_migrations(owner, migrations[:2])
        with owner.cursor() as cursor:
            cursor.execute("CREATE TABLE prediction_20260701 (LIKE prediction INCLUDING ALL)")
            attach = "ALTER TABLE prediction ATTACH PARTITION prediction_20260701 FOR VALUES FROM (%s) TO (%s)"
            cursor.execute(attach, ("2026-07-01+00", "2026-07-02+00"))
            cursor.execute("INSERT INTO prediction VALUES (%s, 'm', 1, 'live', 'before', 0, '{}', 0.5, 1)", (days[0],))
        assert apply_migrations(owner, migrations)[0].title == "prediction_identity"
    requests = [parse_line(request_line("m", number, at=day.isoformat())) for number, day in enumerate(days)]
    with PredictionStore(stack.settings.database_url("scratch", role="perennial")) as store:
        store.write_requests(requests, segment="p/1", start=0, end=1)
    counts = """SELECT tableoid::regclass::text, count(*), count(*) FILTER (WHERE entity = '') FROM prediction
                GROUP BY 1 ORDER BY 1"""
    assert rows(database, counts) == [
        ("prediction_20260701", 1 + N_ROWS, 1 + N_ROWS),
        ("prediction_20260702", N_ROWS, ENTITIES.count("")),
    ]
    indexed = "SELECT count(*) FROM pg_partition_tree('prediction_by_event') WHERE isleaf"
    assert rows(database, indexed) == [(2,)]
