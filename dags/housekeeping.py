"""`housekeeping`: each night, what has outlived its time and nobody needs is found, and then removed."""

from perennial_airflow import housekeeping as tasks
from perennial_airflow.factory import housekeeping_params, nightly_dag

DOC = """Removes what is older than the days that `.env` keeps it for (`PERENNIAL_KEEP_…_DAYS`): finished runs and logs of
Airflow, runs in MLflow that no version came of, training sets, bentos, reports, scratch files and predictions. What a version
needs that serves, is on its way to, or was so lately is never touched. `find` says what would go, `remove` removes just that. The
same from a terminal: `perennial housekeeping`"""

with nightly_dag("housekeeping", cron="30 3 * * *", doc=DOC, params=housekeeping_params()) as dag:
    tasks.find() >> tasks.remove()
