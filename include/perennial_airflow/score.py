"""The task of `score__<model>`. It calls one step of the library, imported where it runs."""

from airflow.sdk import get_current_context, task

from perennial_airflow.factory import load_model
from perennial_airflow.outcomes import note, skip
from perennial_airflow.windows import resolve_window
from perennial_airflow.xcom import Packed, pack


# It keeps a core busy, as a training does.
@task(pool="training")
def score(model: str) -> Packed:
    """Score the interval's rows by the champion and write the predictions to the warehouse."""
    from perennial.steps.score import score as step

    context = get_current_context()
    spec, settings = load_model(model)
    window = resolve_window(spec, context["dag_run"], context["params"])
    if (scored := step(spec, window, settings=settings)) is None:
        note(why := f"Nothing was scored: nobody serves {model} yet")
        skip(why)
    return pack(scored)
