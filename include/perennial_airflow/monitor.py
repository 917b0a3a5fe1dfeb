"""The tasks of `monitor__<model>`. Each calls one step of the library, imported where it runs."""

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import get_current_context, task

from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts.monitoring import Window
from perennial_airflow.factory import begin_run, load_run
from perennial_airflow.outcomes import note, skip
from perennial_airflow.windows import resolve_window
from perennial_airflow.xcom import Packed, pack, pull

_GRANTED = "ti.xcom_pull(task_ids='ask_gatekeeper')"


def _open_window() -> tuple[ModelSpec, Window, Settings]:
    """What every step needs: the model's spec, the window, the settings."""
    window = pull(Window, "plan")
    spec, settings = load_run(window.model)
    return spec, window, settings


@task
def plan(model: str) -> Packed:
    """Fix the window that this run looks at, and what it may see."""
    context = get_current_context()
    return pack(resolve_window(begin_run(model)[0], context["dag_run"], context["params"]))


@task(pool="monitoring")
def measure() -> Packed:
    """Measure the window's quality, drift, performance and service, judge it, and record the verdict."""
    from perennial.steps.monitor import monitor as step

    spec, window, settings = _open_window()
    verdict = step(spec, window, settings=settings)
    note(f"{verdict.outcome.replace('_', ' ').capitalize()}: {'; '.join(verdict.reasons)}")
    return Packed({"outcome": verdict.outcome, "is_persistent": verdict.is_persistent, "n_rows": verdict.n_rows})


@task
def ask_gatekeeper() -> Packed:
    """Where the verdict wants a retraining, ask for one and record what the gatekeeper said; else this is skipped."""
    from perennial.steps.request_retraining import request_for_window

    spec, window, settings = _open_window()
    if window.mode == "backfill":
        skip("a backfill asks for nothing")
    request = request_for_window(spec, window, settings=settings)
    if request is None:
        skip("the verdict asks for no retraining")
    if request.outcome != "granted":
        why = "; ".join(check.reason for check in request.checks if not check.passed)
        note(f"Retraining declined: {why}")
        skip(f"declined: {why}")
    note(f"Retraining granted: {request.dag_run_id}")
    granted = {"dag_run_id": request.dag_run_id, "request_id": str(request.request_id), "as_of": request.as_of.isoformat()}
    return Packed(granted)


def trigger_retraining(model: str) -> TriggerDagRunOperator:
    """Start the retraining that was granted. Its run id is the request's, so that twice is once."""
    return TriggerDagRunOperator(
        task_id="trigger_retraining",
        trigger_dag_id=f"retrain__{model}",
        trigger_run_id=f"{{{{ {_GRANTED}['dag_run_id'] }}}}",
        conf={key: f"{{{{ {_GRANTED}['{key}'] }}}}" for key in ("as_of", "request_id")},
        logical_date=None,
        skip_when_already_exists=True,
        doc_md=trigger_retraining.__doc__,
    )


# The gatekeeper skips where nothing is asked for, and may fail; the verdict is mailed all the same, once its word is known. No
# trigger rule says that without the mail of a verdict that is not there. A mail server may be away for minutes.
@task(trigger_rule="all_done", retries=30)
def report() -> None:
    """Mail the verdict, what changed and what was decided, to whom and when the spec says; skipped where nothing was measured."""
    from perennial.steps.report_window import report_window

    if get_current_context()["ti"].xcom_pull(task_ids="measure") is None:
        skip("there is no verdict to mail, as `measure` did not succeed")
    spec, window, settings = _open_window()
    report_window(spec, window, settings=settings)
