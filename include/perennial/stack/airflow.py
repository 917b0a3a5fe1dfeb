"""Airflow's own database: migrated to the installed version, with the pools that limit trainings, what watches releases and what
measures windows."""

from importlib.metadata import version

from perennial.adapters import airflow_command
from perennial.config.settings import Settings
from perennial.stack.environment import MONITORING_SLOTS, WATCHING_SLOTS, airflow_environment, base_environment
from perennial.stack.postgres import connect
from perennial.stack.secrets import write_admin_login

TRAINING_POOL = "training"
PREPARING_POOL = "preparing"
WATCHING_POOL = "watching"
MONITORING_POOL = "monitoring"


def prepare_metadata(settings: Settings) -> None:
    """Migrate Airflow's database when the installed version differs from the one that made it, and size the pools."""
    write_admin_login(settings)
    (settings.paths.logs / "airflow").mkdir(parents=True, exist_ok=True)
    stamp = settings.paths.airflow / "migrated"
    installed = version("apache-airflow-core")
    if not stamp.exists() or stamp.read_text() != f"{installed} {_revision(settings)}":
        run_airflow(settings, "db", "migrate")
        stamp.write_text(f"{installed} {_revision(settings)}")
    _size_pools(settings)


def run_airflow(settings: Settings, *arguments: str) -> str:
    """Run one of Airflow's commands against this stack; returns what it printed. Raises a StackError when it fails."""
    environment = {**base_environment(settings), **airflow_environment(settings)}
    return airflow_command.run_airflow(arguments, environment=environment, folder=settings.project)


def _revision(settings: Settings) -> str:
    with connect(settings, "airflow", role="airflow") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('alembic_version')")
        if cursor.fetchone() == (None,):
            return ""
        cursor.execute("SELECT version_num FROM alembic_version")
        return ",".join(sorted(revision for (revision,) in cursor))


def _size_pools(settings: Settings) -> None:
    """Keep what may last, or come in numbers, from taking every slot that there is: a rollback finds one.

    As `airflow pools set` does, without the three seconds that Airflow's command line takes to start.
    """
    statement = """
        INSERT INTO slot_pool (pool, slots, description, include_deferred) VALUES (%s, %s, %s, false)
        ON CONFLICT (pool) DO UPDATE SET slots = excluded.slots WHERE slot_pool.slots <> excluded.slots
    """
    pools = [
        (TRAINING_POOL, settings.n_training_slots, "Trainings at the same time: PERENNIAL_TRAINING_SLOTS"),
        (PREPARING_POOL, settings.n_training_slots, "What comes before and after trainings, at the same time: as many as these"),
        (WATCHING_POOL, WATCHING_SLOTS, "Shadows and canaries at the same time, of all models"),
        (MONITORING_POOL, MONITORING_SLOTS, "Windows measured at the same time, of all models"),
    ]
    with connect(settings, "airflow", role="airflow") as connection, connection.cursor() as cursor:
        cursor.executemany(statement, pools)
