"""How a run of `retrain__<model>` ends, whatever became of it: its request is closed, and a backfill sums up its interval."""

from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task

from perennial.config.settings import Settings
from perennial.contracts import Decision, RegisteredVersion, Run, Snapshot
from perennial_airflow.factory import load_run
from perennial_airflow.outcomes import skip
from perennial_airflow.retrain import PREPARING
from perennial_airflow.xcom import pull, pull_optional

if TYPE_CHECKING:
    from perennial.steps.backfill_interval import Found


def end_request(model: str) -> Any:
    """The run has ended: the request that it was granted is closed, whatever came of it, so that the next one may be granted.

    As a teardown it runs after failures too, and has no say in whether the run succeeded.
    """

    @task(task_id="end_request", doc_md=end_request.__doc__)
    def end() -> None:
        from perennial.steps.retrain_admission import end_retraining

        if not end_retraining(model, get_current_context()["dag_run"].run_id, settings=Settings.load()):
            skip("this run holds no open request")

    return end().as_teardown()


def summarize_backfill(model: str) -> Any:
    """Add this interval to the one summary of its backfill, whatever became of the run; a live run has none."""

    @task(task_id="summarize_backfill", pool=PREPARING, doc_md=summarize_backfill.__doc__)
    def summarize() -> None:
        from perennial.steps.backfill import summarize_backfill as step
        from perennial.steps.backfill_interval import BackfillRun

        dag_run: Any = get_current_context()["dag_run"]
        if dag_run.run_type != "backfill":
            skip("this run belongs to no backfill")
        own = BackfillRun(
            dag_id=dag_run.dag_id,
            dag_run_id=dag_run.run_id,
            logical_date=dag_run.logical_date,
            as_of=dag_run.data_interval_end,
        )
        spec, settings = load_run(model)
        step(spec, own, _pull_found(), settings=settings)

    # A teardown runs whatever failed before it, and a run is not judged by it.
    return summarize().as_teardown()


def _pull_found() -> "Found | None":
    """What the run made, where it got as far as a version."""
    from perennial.steps.backfill_interval import Found

    if (version := pull_optional(RegisteredVersion, "register")) is None:
        return None
    return Found(
        run=pull(Run, "plan"),
        snapshot=pull(Snapshot, "prepare.take_snapshot"),
        decision=pull(Decision, "evaluate"),
        version=version,
    )
