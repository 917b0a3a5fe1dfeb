"""`python -m perennial_airflow.preloaded scheduler …`: an Airflow command that has loaded what tasks import.

The scheduler forks its workers, and a worker forks its tasks: what is loaded here once costs a task neither time nor
memory of its own. The same goes for the processes of a Celery worker.

Measured on two cores: loading takes the scheduler 9 s more at its start and 370 MB once; of those an idle worker has 5 MB
of its own. Without it each task spends 3 to 8 s and 250 MB on the same imports.

It is done before Airflow begins, because a scheduler that is busy importing sends no heartbeat. Libraries that start
threads when they are imported must not be loaded before a fork; `OMP_NUM_THREADS` and its like keep the numerical ones
from it.
"""

import logging
import sys
import time

from perennial.preloading import preload

PRELOADED = (
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
    # What MLflow, skops and DVC import at their first use.
    "mlflow.tracking.request_header.registry",
    "skops.io",
    "dvc.repo",
    "networkx",
    "pygit2",
    "great_expectations",
    "matplotlib.figure",
    "evidently.presets",
    "evidently.legacy.metrics",
    "airflow.sdk.definitions.decorators",
    "airflow.sdk.execution_time.task_runner",
    "airflow.providers.standard.operators.python",
    "airflow.providers.standard.operators.trigger_dagrun",
)

log = logging.getLogger(__name__)


def main() -> None:
    """Import the libraries, then go on as `airflow` with the arguments of this process."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # It reports every one of its decorators.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    began = time.monotonic()
    missing = preload(PRELOADED)
    log.info("Loaded %d libraries for the tasks in %.1f s", len(PRELOADED) - len(missing), time.monotonic() - began)

    from airflow.__main__ import main as airflow

    sys.argv[0] = "airflow"
    airflow()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
