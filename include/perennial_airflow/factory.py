"""What the Dags of every model have in common: ids, owner, docs, schedule, retries, the mail when something fails."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import (
    DAG,
    CronTriggerTimetable,
    ExceptionRetryPolicy,
    Param,
    RetryAction,
    RetryRule,
    get_current_context,
    get_parsing_context,
)
from airflow.sdk.definitions.param import ParamsDict

from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_file import load_spec, load_specs, spec_folder, spec_path
from perennial.config.spec_schedule import Schedule
from perennial.config.spec_values import DURATION_PATTERN
from perennial.errors import ConfigurationError
from perennial_airflow.callbacks import mail_failure
from perennial_airflow.timetables import ALWAYS, TIMETABLES

__all__ = [
    "ModelSpec",
    "begin_run",
    "check_specs",
    "housekeeping_params",
    "load_model",
    "load_run",
    "loop_dag",
    "monitor_options",
    "nightly_dag",
    "release_params",
    "retrain_params",
    "rollback_params",
    "schedule_options",
    "specs_to_parse",
    "window_params",
]


# By name, so that parsing a Dag loads nothing of Airflow's scheduler; the plugin registers it.
WEIGHT_RULE = "perennial_airflow.priority.LiveFirst"

# A date, or a date and time, with or without an offset: what `read_instant` reads.
_INSTANT = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?$"


def specs_to_parse(kind: str) -> Iterator[ModelSpec]:
    """Specs whose Dags this parse needs: all, or the one whose task is about to run."""
    settings = Settings.load()
    dag_id = get_parsing_context().dag_id
    if dag_id and dag_id.startswith(f"{kind}__"):
        from perennial.steps.run_spec import load_graph_spec

        yield load_graph_spec(dag_id.removeprefix(f"{kind}__"), dag_id=dag_id, settings=settings)
    elif not dag_id:
        specs, _ = load_specs(spec_folder(settings))
        yield from specs.values()


def check_specs() -> None:
    """Raise what is wrong with the specs, all faults in one error.

    Raises
    ------
    ConfigurationError
        When any spec is broken.
    """
    if get_parsing_context().dag_id:
        return
    _, faults = load_specs(spec_folder(Settings.load()))
    if faults:
        raise ConfigurationError("\n".join(fault.what for fault in faults.values()), "mend the specs, then: perennial check")


def load_model(model: str) -> tuple[ModelSpec, Settings]:
    """The model's spec as its file is now, and the settings."""
    settings = Settings.load()
    return load_spec(spec_path(settings, model)), settings


def begin_run(model: str) -> tuple[ModelSpec, Settings]:
    """Spec and settings for the first task of a run. What it needs is fixed with that: later tasks ask `load_run`."""
    from perennial.steps.run_spec import fix_run_spec

    settings, dag_run = Settings.load(), get_current_context()["dag_run"]
    return fix_run_spec(model, dag_id=dag_run.dag_id, dag_run_id=dag_run.run_id, settings=settings), settings


def load_run(model: str) -> tuple[ModelSpec, Settings]:
    """The spec that this run began under, and the settings."""
    from perennial.steps.run_spec import load_run_spec

    settings, dag_run = Settings.load(), get_current_context()["dag_run"]
    return load_run_spec(model, dag_id=dag_run.dag_id, dag_run_id=dag_run.run_id, settings=settings), settings


@cache
def _retry_arguments() -> Mapping[str, Any]:
    """How tasks are tried again: it helps against what was away or killed, never against wrong data or a wrong spec.

    The same for all Dags: the settings are read once per process, as a file makes a Dag for each of many specs.
    """
    delay = timedelta(seconds=Settings.load().retry_delay_seconds)
    again = RetryRule(exception="perennial.errors.RetryableError", action=RetryAction.RETRY, retry_delay=delay)
    never = RetryRule(exception="perennial.errors.PermanentError", action=RetryAction.FAIL, reason="trying again cannot help")
    return {"retries": 3, "retry_delay": delay, "retry_policy": ExceptionRetryPolicy(rules=[never, again])}


@contextmanager
def loop_dag(kind: str, spec: ModelSpec, *, doc: str, params: dict[str, Param], **options: Any) -> Iterator[DAG]:
    """A Dag `<kind>__<model>` with what all Dags of the loop share; `options` go to the Dag as they are."""
    with DAG(
        f"{kind}__{spec.model}",
        description=f"{kind}: {spec.description}",
        doc_md=f"{doc}\n\n**{spec.model}**: {spec.description}\n\nOwner: {spec.owner.name} ({spec.owner.email})",
        tags=[kind, spec.model],
        default_args={
            "owner": spec.owner.name,
            **_retry_arguments(),
            "on_failure_callback": mail_failure,
            "weight_rule": WEIGHT_RULE,
        },
        **({"is_paused_upon_creation": spec.schedule.paused, "catchup": spec.schedule.catchup} | options),
    ) as dag:
        yield dag
    # Only now: a task copies the params its Dag has, and Airflow validates the schema of every copy again when it
    # serializes the Dag, which is most of the parsing time of a hundred specs.
    dag.params = ParamsDict(params)


@contextmanager
def nightly_dag(dag_id: str, *, cron: str, doc: str, params: dict[str, Param]) -> Iterator[DAG]:
    """A Dag that is no model's and runs each day. A run has an instant only, and the first one is still to come."""
    with DAG(
        dag_id,
        doc_md=doc,
        tags=[dag_id],
        schedule=CronTriggerTimetable(cron, timezone="UTC"),
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        params=params,
        default_args=dict(_retry_arguments()),
    ) as dag:
        yield dag


def schedule_options(schedule: Schedule) -> Mapping[str, Any]:
    """A schedule of a spec as options of a Dag: its timetable, which knows its days, and whether missed intervals run."""
    zone = ZoneInfo(schedule.timezone)
    timetable = TIMETABLES[schedule.timetable].between(
        schedule.cron,
        timezone=schedule.timezone,
        start=datetime.combine(schedule.start, time.min, tzinfo=zone),
        end=datetime.combine(schedule.end, time.max, tzinfo=zone) if schedule.end else None,
    )
    return {
        "schedule": timetable,
        "start_date": ALWAYS,
        "catchup": schedule.catchup,
        "is_paused_upon_creation": schedule.paused,
    }


def monitor_options(spec: ModelSpec) -> Mapping[str, Any]:
    """When `monitor__<model>` runs by itself, and that its live windows are looked at one after another.

    How many of the latest windows were bad is only known once those before have been judged.
    """
    schedule = spec.monitoring.schedule
    if schedule is None:
        return {"schedule": None, "max_active_runs": 1}
    return {**schedule_options(schedule), "max_active_runs": 1}


def retrain_params(spec: ModelSpec) -> dict[str, Param]:
    """What a person may say when starting a retraining by hand."""
    window = f"How far back to learn from, e.g. 60 days; default: {spec.training.window.days} days."
    return {
        "as_of": _instant("See nothing later than this; default: the end of the schedule's last interval before now."),
        "window": _optional("string", window, pattern=DURATION_PATTERN, examples=["60 days", "8 weeks"]),
        "force": _optional("string", "Your reason to accept the challenger against the gate; it is recorded."),
        "candidates": _optional("array", "Train these only.", items={"enum": list(spec.candidates)}),
        "request_id": _optional(
            "string", "Set by who triggers a retraining that was granted: see perennial requests.", pattern=r"^\d+$"
        ),
    }


def window_params() -> dict[str, Param]:
    """What a person may say when having a window looked at, or scored, by hand."""
    return {
        "start": _instant("Begin of the window; give its end too. Default: the schedule's last interval before now."),
        "end": _instant("End of the window, which is not part of it; give its begin too."),
        "as_of": _instant("See nothing later than this; default: the window's end."),
    }


def release_params() -> dict[str, Param]:
    """What a person may say when starting a release by hand."""
    force = "Your reason to release a version that a backfill registered, or that learned from older data; it is recorded."
    return {
        "version": _optional("integer", "Registered model version to release.", minimum=1),
        "force": _optional("string", force),
    }


def rollback_params() -> dict[str, Param]:
    """What a person says when bringing an earlier champion back."""
    return {
        "version": _optional("integer", "Version that served before; default: the champion before the present one.", minimum=1),
        "reason": Param(type="string", minLength=1, description="Why; recorded in the audit trail and mailed."),
    }


def housekeeping_params() -> dict[str, Param]:
    """What a person may say when starting housekeeping by hand."""
    return {"as_of": _instant("Remove what had outlived its time by then; not in the future.")}


def _instant(description: str) -> Param:
    """A date or a time. The form shows a calendar; Airflow itself holds nobody to the format, so the pattern does."""
    return _optional("string", f"{description} UTC unless it says otherwise.", format="date-time", pattern=_INSTANT)


def _optional(json_type: str, description: str, **schema: Any) -> Param:
    return Param(None, type=["null", json_type], description=description, **schema)
