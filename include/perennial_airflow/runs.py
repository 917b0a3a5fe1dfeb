"""What one Dag run may see: its `as_of`, its window and its mode, read from Airflow's view of the run."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from perennial.config.spec import ModelSpec
from perennial.config.spec_values import Duration
from perennial.contracts import Run
from perennial.errors import InputError
from perennial_airflow.factory import retrain_params

# The id of a run that a granted request started: `request__<request_id>`.
REQUEST_PREFIX = "request__"

_DURATION: TypeAdapter[timedelta] = TypeAdapter(Duration)


def resolve_run(spec: ModelSpec, dag_run: Any, params: Any) -> Run:
    """Fix what a Dag run may see.

    `as_of` is the `as_of` param of a run that a person or a program triggered; else the end of the data interval; else
    it is refused: the clock is never asked. Scheduled and backfill runs never look at the param, so one value cannot
    leak into every interval of a backfill.

    Parameters
    ----------
    dag_run
        Airflow's DagRun; read are `run_id`, `dag_id`, `run_type`, `triggering_user_name` and `data_interval_end`.
    params
        The run's params: `as_of`, `window`, `force`, `candidates`, `request_id`, each possibly None.

    Raises
    ------
    InputError
        When there is no `as_of`, a param is wrong, or `force` is no person's.
    """
    triggered = dag_run.run_type not in ("scheduled", "backfill")
    known = retrain_params(spec)
    if triggered and (unknown := sorted(set(params) - set(known))):
        raise InputError(f"there is no param {unknown[0]!r}", f"params: {', '.join(known)}")
    start, end = spec.window_at(resolve_as_of(dag_run, params), _read_window(params.get("window")) if triggered else None)
    if end - start < 2 * spec.training.holdout:
        least = 2 * spec.training.holdout.days
        raise InputError(
            f"a window of {(end - start).days} days is too short: twice the holdout is {least}",
            f"set window to {least} days or more",
        )
    force_reason = (params.get("force") or "").strip() if triggered else ""
    return Run(
        model=spec.model,
        dag_id=dag_run.dag_id,
        dag_run_id=_name_record(dag_run),
        as_of=end,
        start=start,
        mode="backfill" if dag_run.run_type == "backfill" else "live",
        force_reason=force_reason,
        forced_by=name_person(dag_run) if force_reason else "",
        candidates=_read_candidates(spec, params.get("candidates") if triggered else None),
        cause=_read_cause(dag_run),
    )


def resolve_as_of(dag_run: Any, params: Any) -> datetime:
    """The instant that bounds a run: its param `as_of` where it was triggered, else the end of its data interval.

    Raises
    ------
    InputError
        When there is neither: the clock is never asked.
    """
    triggered = dag_run.run_type not in ("scheduled", "backfill")
    as_of = read_instant("as_of", params.get("as_of")) if triggered else None
    as_of = as_of or dag_run.data_interval_end
    if as_of is None:
        raise InputError(
            "this run has neither an as_of param nor a data interval", "trigger it again with as_of, e.g. 2013-04-01"
        )
    return as_of.astimezone(UTC)


def _read_cause(dag_run: Any) -> str:
    """What started the run: the run's kind, the request in the id of one that a request started, a person's name."""
    if dag_run.run_type in ("scheduled", "backfill"):
        return {"scheduled": "schedule", "backfill": "backfill"}[dag_run.run_type]
    if (number := dag_run.run_id.removeprefix(REQUEST_PREFIX)) != dag_run.run_id and number.isdecimal():
        return f"request {number}"
    user = dag_run.triggering_user_name
    return f"by hand: {user}" if user else "by hand"


def _name_record(dag_run: Any) -> str:
    """The id that everything a run makes is recorded under: Airflow's.

    A backfill may do a scheduled run over, which keeps its id in Airflow. What the scheduled run has recorded must stay as it
    was, so that what the backfill makes is recorded under an id of its own, which names the run.
    """
    run_id: str = dag_run.run_id
    if dag_run.run_type != "backfill" or run_id.startswith("backfill__"):
        return run_id
    return f"backfill__{run_id}"


def name_person(dag_run: Any) -> str:
    """Who started a run, for what only a person may ask for.

    Raises
    ------
    InputError
        When it was no person.
    """
    if name := (dag_run.triggering_user_name or "").strip():
        return str(name)
    raise InputError(
        "param force is a person's word, and nobody is named as who started this run",
        "start it in Airflow's UI, or through its API with a login",
    )


def read_instant(name: str, value: str | None) -> datetime | None:
    """The instant that a param holds, UTC unless it says otherwise; None where it is not given.

    Raises
    ------
    InputError
        When it is no date or time.
    """
    if not value:
        return None
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        raise InputError(f"param {name}={value!r} is no date or time", "use e.g. 2013-04-01T06:00:00Z") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _read_window(value: str | None) -> timedelta | None:
    try:
        return _DURATION.validate_python(value) if value else None
    except ValidationError:
        raise InputError(f"param window={value!r} is no duration", "use e.g. 90 days") from None


def _read_candidates(spec: ModelSpec, names: list[str] | None) -> tuple[str, ...]:
    if names == []:
        raise InputError("param candidates is empty", "leave it out to train all of them")
    if unknown := sorted(set(names or ()) - set(spec.candidates)):
        raise InputError(f"param candidates: {unknown[0]!r} is not in the spec", f"known: {', '.join(spec.candidates)}")
    return tuple(names or spec.candidates)
