"""Which interval one run of `monitor__<model>` or `score__<model>` is about, read from Airflow's view of the run."""

from datetime import UTC, datetime
from typing import Any

from perennial.config.spec import ModelSpec
from perennial.contracts import Run
from perennial.contracts.monitoring import Window
from perennial.errors import ConfigurationError
from perennial_airflow.factory import monitor_params
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
    ConfigurationError
        When there is no window, it has no width, or a param is wrong.
    """
    given = params if dag_run.run_type not in ("scheduled", "backfill") else {}
    if unknown := sorted(set(given) - set(monitor_params())):
        raise ConfigurationError(f"there is no param {unknown[0]!r}", f"params: {', '.join(monitor_params())}")
    start, end = _resolve_bounds(dag_run, given)
    as_of = read_instant("as_of", given.get("as_of")) or end
    if as_of < end:
        raise ConfigurationError(f"as_of {as_of.isoformat()} lies before the window's end, {end.isoformat()}", "leave as_of out")
    return Window(
        model=spec.model,
        start=start,
        end=end,
        as_of=as_of.astimezone(UTC),
        dag_id=dag_run.dag_id,
        dag_run_id=dag_run.run_id,
        mode="backfill" if dag_run.run_type == "backfill" else "live",
    )


def resolve_interval(model: str, dag_run: Any, params: Any) -> Run:
    """Fix the interval of a batch run by the same rule; its `as_of` is the interval's end. Raises as `resolve_window` does."""
    start, end = _resolve_bounds(dag_run, params if dag_run.run_type not in ("scheduled", "backfill") else {})
    return Run(
        model=model,
        dag_id=dag_run.dag_id,
        dag_run_id=dag_run.run_id,
        as_of=end,
        start=start,
        mode="backfill" if dag_run.run_type == "backfill" else "live",
    )


def _resolve_bounds(dag_run: Any, given: Any) -> tuple[datetime, datetime]:
    start, end = (read_instant(name, given.get(name)) for name in ("start", "end"))
    if (start is None) != (end is None):
        raise ConfigurationError("a window needs a start and an end, and one of them is missing", "give both or none")
    start, end = start or dag_run.data_interval_start, end or dag_run.data_interval_end
    if start is None or end is None:
        raise ConfigurationError(
            "this run has neither a window nor a data interval",
            "trigger it again with start and end, e.g. 2013-04-01 and 2013-05-01",
        )
    if start >= end:
        raise ConfigurationError(
            f"the window from {start.isoformat()} to {end.isoformat()} has no width", "give a start before the end"
        )
    return start.astimezone(UTC), end.astimezone(UTC)
