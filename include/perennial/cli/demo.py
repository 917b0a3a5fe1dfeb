"""`perennial demo`: from nothing to a champion that answers, with everything on screen that can be opened next."""

import json
from datetime import UTC, datetime, timedelta

import httpx
from rich.console import Console
from rich.table import Table

from perennial.adapters.airflow_api import AirflowApi, DagRunState
from perennial.adapters.state import StateStore
from perennial.cli.watch import watch_dag_run
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.config.spec_file import load_spec, spec_path
from perennial.errors import StackError
from perennial.stack.waiting import wait_until
from perennial.steps.rows import read_feature_rows

_MODEL = "flight_delay"
_AS_OF = datetime(2013, 4, 1, tzinfo=UTC)
_RUN_DEADLINE_SECONDS = 900.0
_PARSE_DEADLINE_SECONDS = 600.0
_GATE_MARKS = {"pass": "[green]✓[/]", "warn": "[yellow]![/]", "fail": "[red]✗[/]"}


def run() -> None:
    """Start the stack, load the flights, retrain and release through Airflow, and ask the gateway about a real flight.

    Run again, it picks up what is there. Afterwards the stack keeps running.
    """
    from perennial.cli import load_flights, up

    settings, console = Settings.load(), Console(highlight=False)
    console.rule("the stack", align="left")
    up.run()
    console.rule("the warehouse", align="left")
    load_flights.run()
    api = AirflowApi(settings.airflow_api_url, user="admin", password=settings.secret("admin_password"))
    try:
        dag_run_id = _retrain_and_release(api, settings, console)
    finally:
        api.close()
    _print_decision(settings, dag_run_id, console)
    _ask_gateway(load_spec(spec_path(settings, _MODEL)), settings, console)
    _print_places(settings, console)


def _retrain_and_release(api: AirflowApi, settings: Settings, console: Console) -> str:
    """Id of the retraining run that ended in success, whose release has ended as well."""
    retrain, release = f"retrain__{_MODEL}", f"release__{_MODEL}"
    for dag_id in (retrain, release):
        _wait_for_dag(api, dag_id, console)
    run = _newest_or_new_run(api, retrain)
    console.rule(f"{retrain}  as of {_AS_OF:%Y-%m-%d}", align="left")
    _require_success(watch_dag_run(api, run, console=console, deadline_seconds=_RUN_DEADLINE_SECONDS), settings)
    for triggered in _wait_for_release(api, run, settings):
        console.rule(release, align="left")
        _require_success(watch_dag_run(api, triggered, console=console, deadline_seconds=_RUN_DEADLINE_SECONDS), settings)
    return run.dag_run_id


def _wait_for_dag(api: AirflowApi, dag_id: str, console: Console) -> None:
    with console.status(f"waiting for Airflow to parse {dag_id}"):
        parsed = wait_until(lambda: api.has_dag(dag_id), seconds=_PARSE_DEADLINE_SECONDS, interval=1)
    if not parsed:
        faults = "\n".join(api.read_import_errors()) or "no import error is reported"
        raise StackError(f"Airflow has not parsed {dag_id}: {faults}", "see var/logs and: perennial check")


def _newest_or_new_run(api: AirflowApi, dag_id: str) -> DagRunState:
    """The demo's last run unless it failed; else a new one. The id counts the tries."""
    name = f"demo__{_AS_OF:%Y-%m-%d}"
    tries = [run for run in api.find_dag_runs(dag_id) if run.dag_run_id.startswith(name)]
    if tries and tries[0].state != "failed":
        return tries[0]
    return api.trigger(dag_id, f"{name}__{len(tries) + 1}", {"as_of": f"{_AS_OF:%Y-%m-%d}"})


def _wait_for_release(api: AirflowApi, run: DagRunState, settings: Settings) -> list[DagRunState]:
    """Release runs that the retraining started; none where its challenger was rejected."""
    with StateStore(settings.state_url) as state:
        decision = state.read_decision(_MODEL, run.dag_run_id)
    if not decision or decision.outcome != "accepted":
        return []
    if not wait_until(lambda: bool(api.find_triggered(run.dag_id, run.dag_run_id)), seconds=60, interval=0.5):
        raise StackError(f"the challenger of {run.dag_run_id} started no release within 60 s", "look at Airflow's Assets page")
    return api.find_triggered(run.dag_id, run.dag_run_id)


def _require_success(run: DagRunState, settings: Settings) -> None:
    if run.state != "success":
        link = f"{settings.airflow_link}/dags/{run.dag_id}/runs/{run.dag_run_id}"
        raise StackError(f"{run.dag_id} run {run.dag_run_id} ended as {run.state}", f"see the red task's log at {link}")


def _print_decision(settings: Settings, dag_run_id: str, console: Console) -> None:
    with StateStore(settings.state_url) as state:
        decision = state.read_decision(_MODEL, dag_run_id)
    if decision is None:
        raise StackError(f"no decision is recorded for {dag_run_id}", "look at the run in Airflow's UI")
    console.rule(f"decision of {dag_run_id}", align="left")
    roc_auc = decision.challenger_metrics["roc_auc"]
    console.print(f"[bold]{decision.outcome}[/]: {decision.candidate}, holdout ROC AUC {roc_auc:.3f}")
    for gate in decision.gates:
        console.print(f"  {_GATE_MARKS[gate.result]} {gate.gate}: {gate.reason}")


def _ask_gateway(spec: ModelSpec, settings: Settings, console: Console) -> None:
    """Send a real flight of April, which nobody trained on, and print how to do the same by hand."""
    noon = _AS_OF + timedelta(hours=16)
    rows = read_feature_rows(spec, noon, noon + timedelta(hours=1), settings=settings, limit=1)
    body = json.dumps({"rows": rows})
    url = f"{settings.gateway_url}/v1/models/{_MODEL}/predict"
    try:
        response = httpx.post(url, content=body, headers={"content-type": "application/json"}, timeout=30)
    except httpx.TransportError as error:
        raise StackError(f"the gateway does not answer: {error}", "see: perennial status") from error
    if response.status_code != 200:
        raise StackError(f"the gateway answered {response.status_code}: {response.text[:500]}", "see: perennial status")
    [row], answer = rows, response.json()
    minutes = int(str(row["scheduled_minute_of_day"]))
    console.rule("a real flight of 1 April 2013", align="left")
    console.print(
        f"{row['carrier']} from {row['origin']} to {row['dest']}, scheduled {minutes // 60:02}:{minutes % 60:02} New York time: "
        f"late with probability {answer['predictions'][0]['probability']:.2f}, says version {answer['version']}"
    )
    console.print(f"curl -s {url} -H 'content-type: application/json' -d '{body}'", soft_wrap=True, highlight=False, markup=False)
    console.print(response.text, soft_wrap=True)


def _print_places(settings: Settings, console: Console) -> None:
    console.rule("open", align="left")
    table = Table.grid(padding=(0, 2))
    for name, where in (
        ("Airflow", f"{settings.airflow_link}  user admin, password in {settings.paths.secrets / 'admin_password'}"),
        ("MLflow", f"{settings.mlflow_link}/#/models/{_MODEL}"),
        ("gateway", f"{settings.gateway_url}/v1/models"),
        ("inbox", f"http://{settings.smtp_host}:{settings.inbox_port}"),
        ("stop", "make down"),
    ):
        table.add_row(name, where)
    console.print(table)
