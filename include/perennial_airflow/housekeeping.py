"""The tasks of `housekeeping`. Each calls one step of the library, imported where it runs."""

from dataclasses import asdict
from datetime import UTC
from pathlib import Path
from typing import Any

from airflow.sdk import get_current_context, task

from perennial.config.settings import Settings
from perennial_airflow.runs import resolve_as_of
from perennial_airflow.xcom import Packed


@task
def find() -> Packed:
    """Find what has outlived its time and nobody needs: what would go, and how large it is. Nothing is changed."""
    from perennial.steps import housekeeping

    context, settings = get_current_context(), Settings.load()
    found = housekeeping.find(as_of=resolve_as_of(context["dag_run"], context["params"]), settings=settings)
    path = housekeeping.write_found(found, dag_run_id=context["dag_run"].run_id, settings=settings)
    told = {"path": str(path), "as_of": found.as_of.astimezone(UTC).isoformat(), "kinds": housekeeping.summarize(found)}
    return Packed(told)


@task
def remove() -> list[dict[str, Any]]:
    """Remove exactly what was found, where it may go now as well, and write down what went."""
    from perennial.steps import housekeeping

    context = get_current_context()
    found = housekeeping.read_found(Path(context["ti"].xcom_pull(task_ids="find")["path"]))
    dag_run = context["dag_run"]
    removals = housekeeping.remove(found, actor=dag_run.dag_id, dag_run_id=dag_run.run_id, settings=Settings.load())
    return [asdict(removal) for removal in removals]
