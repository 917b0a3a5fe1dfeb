"""The embedded Postgres: roles, databases, rights, migrations."""

import psycopg2
import pytest

from perennial.stack.postgres import connect

pytestmark = pytest.mark.integration


def test_each_database_belongs_to_the_role_of_its_name(settings):
    with connect(settings, "postgres") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT datname, pg_get_userbyid(datdba) FROM pg_database WHERE NOT datistemplate ORDER BY 1")
        owners = dict(cursor.fetchall())
    assert owners == {name: name for name in ("airflow", "mlflow", "perennial", "postgres", "warehouse")}


def test_a_wrong_password_is_refused(settings):
    url = settings.state_url.replace(settings.secret("perennial_password"), "wrong")
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(url)


def test_a_role_does_not_get_into_the_database_of_another(settings):
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        psycopg2.connect(settings.database_url("airflow", role="mlflow"))


def test_the_reader_reads_what_the_warehouse_makes_later_and_writes_nothing(settings):
    with connect(settings, "warehouse", role="warehouse") as connection, connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS later CASCADE")
        cursor.execute("CREATE SCHEMA later")
        cursor.execute("CREATE TABLE later.fact AS SELECT 7 AS n")
    with connect(settings, "warehouse", role="warehouse_reader") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT n FROM later.fact")
        assert cursor.fetchall() == [(7,)]
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            cursor.execute("DELETE FROM later.fact")
        cursor.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("DELETE FROM later.fact")


def test_the_scorer_makes_tables_that_the_reader_reads_and_has_no_way_to_others(settings):
    with connect(settings, "warehouse", role="warehouse") as connection, connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS private CASCADE")
        cursor.execute("CREATE SCHEMA private")
        cursor.execute("CREATE TABLE private.fact AS SELECT 7 AS n")
    with connect(settings, "warehouse", role="scorer") as connection, connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS of_the_scorer CASCADE")
        cursor.execute("CREATE SCHEMA of_the_scorer")
        cursor.execute("CREATE TABLE of_the_scorer.score AS SELECT 8 AS n")
        for statement in ("SELECT n FROM private.fact", "DELETE FROM private.fact", "CREATE TABLE private.other (n integer)"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(statement)
    with connect(settings, "warehouse", role="warehouse_reader") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT n FROM of_the_scorer.score")
        assert cursor.fetchall() == [(8,)]


def test_the_business_state_is_migrated(settings):
    with connect(settings, "perennial", role="perennial") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT version, title FROM schema_migration ORDER BY 1 LIMIT 1")
        assert cursor.fetchall() == [(1, "business_state")]
