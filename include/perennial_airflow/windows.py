"""Which window a run of `monitor__<model>` or `score__<model>` is about, and what it may see, from Airflow's view of it."""

from datetime import UTC, datetime
from typing import Any

from perennial.config.spec import ModelSpec
from perennial.contracts.monitoring import Window
from perennial.errors import InputError
from perennial_airflow.factory import window_params
from perennial_airflow.runs import read_instant


def resolve_window(spec: ModelSpec, dag_run: Any, params: Any) -> Window:
    """Fix the window of a Dag run: the params `start` and `end` of a run that was triggered, else the data interval.

    Scheduled and backfill runs never look at the params. `as_of` is the window's end unless a triggered run says otherwise.

    Parameters
    ----------
    dag_run
        Airflow's DagRun; read are `run_id`, `dag_id`, `run_type` and the ends of the data interval.
    params
        The run's params: `start`, `end`, `as_of`, each possibly None.

    Raises
    ------
    InputError
        When there is no window, it has no width, or a param is wrong.
    """
    given = params if dag_run.run_type not in ("scheduled", "backfill") else {}
    if unknown := sorted(set(given) - set(window_params())):
        raise InputError(f"there is no param {unknown[0]!r}", f"params: {', '.join(window_params())}")
    start, end = _read_interval(given) or (dag_run.data_interval_start, dag_run.data_interval_end)
    if start is None or end is None:
        raise InputError(
            "this run has neither a window nor a data interval",
            "trigger it again with start and end, e.g. 2013-04-01 and 2013-05-01",
        )
    if start >= end:
        raise InputError(f"the window from {start.isoformat()} to {end.isoformat()} has no width", "give a start before the end")
    as_of = read_instant("as_of", given.get("as_of")) or end
    if as_of < end:
        raise InputError(f"as_of {as_of.isoformat()} lies before the window's end, {end.isoformat()}", "leave as_of out")
    return Window(
        model=spec.model,
        start=start.astimezone(UTC),
        end=end.astimezone(UTC),
        as_of=as_of.astimezone(UTC),
        dag_id=dag_run.dag_id,
        dag_run_id=dag_run.run_id,
        mode="backfill" if dag_run.run_type == "backfill" else "live",
    )


def _read_interval(params: Any) -> tuple[datetime, datetime] | None:
    start, end = (read_instant(name, params.get(name)) for name in ("start", "end"))
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise InputError("a window needs a start and an end, and one of them is missing", "give both or none")
    return start, end
