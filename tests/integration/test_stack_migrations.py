"""Migrations against a real database."""

from dataclasses import replace

import pytest

from perennial.errors import StackError
from perennial.stack.migrations import Migration, apply_migrations
from perennial.stack.postgres import connect

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
