"""Backfills: which one a run belongs to, and the one summary of what all of its runs found."""

import logging
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from perennial.adapters.airflow_api import AirflowApi, Backfill, DagInterval
from perennial.adapters.plots import draw_intervals
from perennial.adapters.state import StateStore
from perennial.adapters.templates import render
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts.backfills import BackfillInterval
from perennial.steps.backfill_interval import BackfillRun, Found, describe_failure, describe_interval
from perennial.steps.backfill_view import build_summary_values, draw_lines, name_summary
from perennial.steps.modelling import write_text
from perennial.steps.report_links import reports_link
from perennial.steps.report_view import METRICS

_logger = logging.getLogger(__name__)
_REGISTERS = "register"


def read_backfill_id(dag_id: str, logical_date: datetime, *, settings: Settings) -> int | None:
    """Airflow's number of the backfill that a run belongs to; None where Airflow has it no more.

    Raises
    ------
    UnavailableError
        When Airflow does not answer.
    """
    with _open_api(settings) as api:
        backfill = _find_backfill(api, dag_id, logical_date)
    return backfill.backfill_id if backfill else None


def summarize_backfill(spec: ModelSpec, own: BackfillRun, found: Found | None, *, settings: Settings) -> Path | None:
    """Record what a backfill found in one interval, and write the summary of all that is known of it by now.

    Parameters
    ----------
    found
        None where the run did not get as far as a version.

    Returns
    -------
    The page; None where Airflow does not know the backfill any more.

    Raises
    ------
    UnavailableError
        When Airflow, MLflow or the state database does not answer.

    Notes
    -----
    Idempotent by interval. Airflow has no hook for the end of a backfill: each run records its interval first and writes the
    page after, one at a time, so that the last one to end completes it, whichever that is.
    """
    with _open_api(settings) as api:
        if (backfill := _find_backfill(api, own.dag_id, own.logical_date)) is None:
            _logger.info("Airflow has no backfill of this interval any more, so there is none to summarize")
            return None
        states = {each.task_id: each.state for each in api.read_tasks(own.dag_id, own.dag_run_id)}
        interval = _describe(spec, own, found, states=states, backfill=backfill, settings=settings)
        with StateStore(settings.state_url) as state, state.lock(f"backfill/{spec.model}"):
            state.write_backfill_interval(interval)
            runs = api.read_intervals(own.dag_id, backfill.start, backfill.end)
            known = state.read_backfill_intervals(spec.model, [run.dag_run_id for run in runs])
            return _write_page(spec, backfill, runs, known, settings=settings)


def _open_api(settings: Settings) -> AirflowApi:
    return AirflowApi(settings.airflow_api_url, user="admin", password=settings.secret("admin_password"))


def _find_backfill(api: AirflowApi, dag_id: str, logical_date: datetime) -> Backfill | None:
    """The one under way, of which there is at most one, else the newest that covers the interval. Airflow tells no task which."""
    covering = [each for each in api.read_backfills(dag_id) if each.start <= logical_date <= each.end]
    return next((each for each in covering if each.completed_at is None), covering[0] if covering else None)


def _describe(
    spec: ModelSpec,
    own: BackfillRun,
    found: Found | None,
    *,
    states: Mapping[str, str | None],
    backfill: Backfill,
    settings: Settings,
) -> BackfillInterval:
    """XCom holds what a task left before its run was done over, so whether there is a version is the task's state to say."""
    if found is not None and states.get(_REGISTERS) == "success":
        return describe_interval(spec, own, found, backfill_id=backfill.backfill_id, settings=settings)
    failed = next((task_id for task_id, state in states.items() if state == "failed"), "")
    reason = f"{failed} failed" if failed else "it was stopped before it registered a version"
    return describe_failure(spec.model, own, backfill_id=backfill.backfill_id, reason=reason)


def _write_page(
    spec: ModelSpec, backfill: Backfill, runs: list[DagInterval], known: list[BackfillInterval], *, settings: Settings
) -> Path:
    values = build_summary_values(spec, backfill, runs, known, settings=settings)
    picture = b64encode(draw_intervals(METRICS[spec.metric][0], draw_lines(runs, known))).decode()
    name = name_summary(spec.model, backfill)
    write_text(settings.paths.reports / name, render("backfill.html", {**values, "picture": picture}))
    _logger.info("%s: %s", values["headline"], reports_link(name, settings=settings))
    return settings.paths.reports / name
