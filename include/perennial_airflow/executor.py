"""Perennial's executor: local processes that find the heavy libraries loaded."""

import importlib
import logging
import time

from airflow.executors.local_executor import LocalExecutor

log = logging.getLogger(__name__)

# What the tasks of the loop import. A task is a fork of a fork of the scheduler, so what is loaded here once costs it
# neither time nor memory of its own.
PRELOADED = (
    "airflow.sdk.execution_time.task_runner",
    "airflow.providers.standard.operators.python",
    "pandas",
    "pyarrow.parquet",
    "adbc_driver_postgresql.dbapi",
    "psycopg2",
    "sqlalchemy",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "lightgbm",
    "optuna",
    "mlflow",
    "mlflow.sklearn",
    "great_expectations",
    "matplotlib.figure",
)


class PreloadedLocalExecutor(LocalExecutor):
    """LocalExecutor that loads what tasks need before it forks its workers.

    Notes
    -----
    Measured on two cores: loading takes the scheduler 5 s more at its start and 250 MB once; of those an idle worker has 5 MB
    of its own. Without it each task spends 3 to 8 s and 250 MB on the same imports.

    Libraries that start threads when they are imported must not be loaded before a fork; `OMP_NUM_THREADS` and its like
    keep the numerical ones from it. A library that is missing or broken is left to the task that needs it.
    """

    # The API server reads the logs from the common disk.
    serve_logs = False

    def start(self) -> None:
        preload(PRELOADED)
        super().start()


def preload(modules: tuple[str, ...]) -> None:
    """Import modules by name; one that cannot be imported is logged and left out."""
    began = time.monotonic()
    # It reports every one of its decorators.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception:
            log.warning("Could not load %s in advance; tasks that need it will say why", module, exc_info=True)
    log.info("Loaded %d libraries for the tasks in %.1f s", len(modules), time.monotonic() - began)
