"""What a stack's Postgres holds besides rows: roles, databases, tables, columns, constraints, indexes, triggers, rights."""

import psycopg2

from perennial.config.settings import Settings
from perennial.stack.postgres import DATABASES

Contents = dict[str, list[tuple[object, ...]]]

_OF_CLUSTER = {
    "roles": "SELECT rolname, rolsuper, rolcanlogin, rolcreatedb, rolconfig::text FROM pg_roles WHERE rolname !~ '^pg_'",
    "databases": """SELECT datname, datacl::text, pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datlocale
        FROM pg_database""",
}
# A day's partition comes with its rows.
_TABLES = """NOT c.relispartition
    AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace, 'information_schema'::regnamespace)"""
_OF_DATABASE = {
    "tables": f"SELECT c.oid::regclass::text, c.relkind, pg_get_userbyid(relowner), relacl::text FROM pg_class c WHERE {_TABLES}",
    "columns": f"""SELECT c.oid::regclass::text, attname, atttypid::regtype::text, attnotnull, pg_get_expr(adbin, adrelid)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON (adrelid, adnum) = (attrelid, attnum)
        WHERE attnum > 0 AND {_TABLES}""",
    "constraints": f"""SELECT c.oid::regclass::text, conname, pg_get_constraintdef(o.oid)
        FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid WHERE {_TABLES}""",
    "indexes": f"SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE {_TABLES}",
    "triggers": f"""SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE NOT tgisinternal AND {_TABLES}""",
    "functions": "SELECT oid::regprocedure::text, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "rights to come": "SELECT pg_get_userbyid(defaclrole), defaclobjtype, defaclacl::text FROM pg_default_acl",
    "schemas": "SELECT nspname, nspacl::text FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast)'",
}


def read_contents(settings: Settings) -> Contents:
    """By name of a database and kind of content: sorted rows, the same for stacks that are alike."""
    found = {kind: _query(settings, "postgres", sql) for kind, sql in _OF_CLUSTER.items()}
    for database in DATABASES:
        found |= {f"{database}: {kind}": _query(settings, database, sql) for kind, sql in _OF_DATABASE.items()}
    found["migrations"] = _query(settings, "perennial", "SELECT version, title, sha256 FROM schema_migration")
    for database in ("airflow", "mlflow"):
        found[f"{database}: version"] = _query(settings, database, "SELECT version_num FROM alembic_version")
    return found


def find_differences(one: Contents, other: Contents) -> Contents:
    """By kind of content: the rows that only one of two stacks has."""
    found = {kind: sorted(set(one[kind]) ^ set(other[kind]), key=repr) for kind in one}
    return {kind: rows for kind, rows in found.items() if rows}


def _query(settings: Settings, database: str, sql: str) -> list[tuple[object, ...]]:
    url = settings.database_url(database, role="postgres")
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return sorted(cursor.fetchall(), key=repr)
    finally:
        connection.close()
