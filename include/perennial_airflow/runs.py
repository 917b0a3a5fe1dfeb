"""What one Dag run may see: its `as_of`, its window and its mode, read from Airflow's view of the run."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from perennial.config.spec import ModelSpec
from perennial.config.spec_values import Duration
from perennial.contracts import Run
from perennial.errors import ConfigurationError
from perennial_airflow.factory import retrain_params

_DURATION: TypeAdapter[timedelta] = TypeAdapter(Duration)


def resolve_run(spec: ModelSpec, dag_run: Any, params: Any) -> Run:
    """Fix what a Dag run may see.

    `as_of` is the `as_of` param of a run that a person or a program triggered; else the end of the data interval; else
    it is refused: the clock is never asked. Scheduled and backfill runs never look at the param, so one value cannot
    leak into every interval of a backfill.

    Parameters
    ----------
    dag_run
        Airflow's DagRun; read are `run_id`, `dag_id`, `run_type` and `data_interval_end`.
    params
        The run's params: `as_of`, `window`, `force`, `candidates`, each possibly None.

    Raises
    ------
    ConfigurationError
        When there is no `as_of`, or a param is wrong.
    """
    triggered = dag_run.run_type not in ("scheduled", "backfill")
    known = retrain_params(spec)
    if triggered and (unknown := sorted(set(params) - set(known))):
        raise ConfigurationError(f"there is no param {unknown[0]!r}", f"params: {', '.join(known)}")
    start, end = spec.window_at(resolve_as_of(dag_run, params), _read_window(params.get("window")) if triggered else None)
    if end - start < 2 * spec.training.holdout:
        least = 2 * spec.training.holdout.days
        raise ConfigurationError(
            f"a window of {(end - start).days} days is too short: twice the holdout is {least}",
            f"set window to {least} days or more",
        )
    return Run(
        model=spec.model,
        dag_id=dag_run.dag_id,
        dag_run_id=dag_run.run_id,
        as_of=end,
        start=start,
        mode="backfill" if dag_run.run_type == "backfill" else "live",
        force_reason=(params.get("force") or "") if triggered else "",
        candidates=_read_candidates(spec, params.get("candidates") if triggered else None),
    )


def resolve_interval(model: str, dag_run: Any, params: Any) -> Run:
    """Fix the interval that a batch run is about: its `as_of` is the interval's end.

    It is that of the params `start` and `end` in a run that a person or a program triggered; else the run's data interval.
    Scheduled and backfill runs never look at the params.

    Raises
    ------
    ConfigurationError
        When there is no interval, only one end of it, or one without any time in it.
    """
    triggered = dag_run.run_type not in ("scheduled", "backfill")
    start, end = (_read_instant(params, name) if triggered else None for name in ("start", "end"))
    if (start is None) != (end is None):
        raise ConfigurationError("of the params start and end there is only one", "give both, or none for the data interval")
    start, end = start or dag_run.data_interval_start, end or dag_run.data_interval_end
    if start is None or end is None:
        raise ConfigurationError("this run has no data interval", "trigger it again with the params start and end")
    if not start < end:
        raise ConfigurationError(f"the interval from {start} to {end} is empty", "let end come after start")
    return Run(
        model=model,
        dag_id=dag_run.dag_id,
        dag_run_id=dag_run.run_id,
        as_of=end.astimezone(UTC),
        start=start.astimezone(UTC),
        mode="backfill" if dag_run.run_type == "backfill" else "live",
    )


def resolve_as_of(dag_run: Any, params: Any) -> datetime:
    """The instant that bounds a run: its param `as_of` where it was triggered, else the end of its data interval.

    Raises
    ------
    ConfigurationError
        When there is neither: the clock is never asked.
    """
    triggered = dag_run.run_type not in ("scheduled", "backfill")
    as_of = _read_instant(params, "as_of") if triggered else None
    as_of = as_of or dag_run.data_interval_end
    if as_of is None:
        raise ConfigurationError(
            "this run has neither an as_of param nor a data interval", "trigger it again with as_of, e.g. 2013-04-01"
        )
    return as_of.astimezone(UTC)


def _read_instant(params: Any, name: str) -> datetime | None:
    if not (value := params.get(name)):
        return None
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        raise ConfigurationError(f"param {name}={value!r} is no date or time", "use e.g. 2013-04-01T06:00:00Z") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _read_window(value: str | None) -> timedelta | None:
    try:
        return _DURATION.validate_python(value) if value else None
    except ValidationError:
        raise ConfigurationError(f"param window={value!r} is no duration", "use e.g. 90 days") from None


def _read_candidates(spec: ModelSpec, names: list[str] | None) -> tuple[str, ...]:
    if names == []:
        raise ConfigurationError("param candidates is empty", "leave it out to train all of them")
    if unknown := sorted(set(names or ()) - set(spec.candidates)):
        raise ConfigurationError(f"param candidates: {unknown[0]!r} is not in the spec", f"known: {', '.join(spec.candidates)}")
    return tuple(names or spec.candidates)
