"""Forward-only migrations of the business state: `sql/migrations/NNNN_title.sql`, each applied once, in a transaction."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.config.settings import Settings
from perennial.errors import ConfigurationError, StackError
from perennial.stack.postgres import connect

if TYPE_CHECKING:
    from psycopg2.extensions import connection

_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
# Any number, the same for everybody who migrates.
_LOCK = 8_451_077
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migration (
    version    integer PRIMARY KEY,
    title      text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    version: int
    title: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def read_migrations(folder: Path) -> list[Migration]:
    """All migrations in the order of their versions.

    Raises
    ------
    ConfigurationError
        For a file of another name, or a version that is missing or there twice.
    """
    migrations = []
    for path in sorted(folder.glob("*.sql")):
        if not (match := _NAME.fullmatch(path.name)):
            raise ConfigurationError(f"{path}: a migration is named NNNN_title.sql, title in a-z, 0-9 and _")
        migrations.append(Migration(version=int(match[1]), title=match[2], sql=path.read_text()))
    versions = [migration.version for migration in migrations]
    if versions != list(range(1, len(versions) + 1)):
        raise ConfigurationError(f"{folder}: versions must run 1, 2, 3, … without a gap or a repeat; found {versions}")
    return migrations


def migrate(settings: Settings) -> list[Migration]:
    """Bring the database `perennial` to the newest version; returns what was applied now."""
    with connect(settings, "perennial", role="perennial") as connection:
        return apply_migrations(connection, read_migrations(settings.project / "sql" / "migrations"))


def apply_migrations(database: "connection", migrations: Iterable[Migration]) -> list[Migration]:
    """Apply the migrations a database does not have yet, each in its own transaction, one process at a time.

    Raises
    ------
    StackError
        When an applied migration was edited or is gone, or one fails; what came before it stays applied.
    """
    migrations = list(migrations)
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        try:
            cursor.execute(_TABLE)
            cursor.execute("SELECT version, sha256 FROM schema_migration")
            applied = dict(cursor.fetchall())
            _check_history(applied, migrations)
            pending = [migration for migration in migrations if migration.version not in applied]
            for migration in pending:
                _apply(database, migration)
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))
    return pending


def _check_history(applied: Mapping[int, str], migrations: Iterable[Migration]) -> None:
    known = {migration.version: migration for migration in migrations}
    for version, sha256 in applied.items():
        if version not in known:
            raise StackError(f"the database has migration {version}, which is not in sql/migrations", "run a newer Perennial")
        if known[version].sha256 != sha256:
            what = f"sql/migrations/{version:04d}_{known[version].title}.sql was changed after it had been applied"
            raise StackError(what, "restore the file and put the change into a new migration")


def _apply(database: "connection", migration: Migration) -> None:
    import psycopg2

    insert = "INSERT INTO schema_migration (version, title, sha256) VALUES (%s, %s, %s)"
    with database.cursor() as cursor:
        try:
            cursor.execute("BEGIN")
            cursor.execute(migration.sql)
            cursor.execute(insert, (migration.version, migration.title, migration.sha256))
            cursor.execute("COMMIT")
        except psycopg2.Error as error:
            cursor.execute("ROLLBACK")
            what = f"sql/migrations/{migration.version:04d}_{migration.title}.sql failed: {str(error).strip()}"
            raise StackError(what, "mend the file; nothing of it was applied") from error
