"""`perennial release`."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from perennial.adapters.airflow_api import DagRunState
    from perennial.config.settings import Settings
    from perennial.contracts import ReleaseRow

# A release may wait for a person, and for callers.
_DEADLINE_SECONDS = 86_400.0


def run(
    model: Annotated[str, typer.Argument(help="Model to release a version of.")],
    version: Annotated[int, typer.Argument(min=1, help="Registered version that is to serve.")],
    force: Annotated[
        str, typer.Option("--force", help="Why it may serve though a backfill made it or its data is older; recorded.")
    ] = "",
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Start the release and return at once.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """The same as starting `release__<model>` in Airflow: check, shadow, approval, canary, promotion, as the spec says.

    Exit code 0 when the version serves (with --no-wait: when its release was started), 1 when it does not or may not.
    """
    from rich.console import Console

    from perennial.config.settings import Settings
    from perennial.config.spec_file import load_spec, spec_path

    settings, console = Settings.load(), Console(stderr=as_json, highlight=False)
    load_spec(spec_path(settings, model))
    started = None
    if _is_to_start(model, version, force, settings=settings, console=console):
        started = _release(model, version, force, wait=not no_wait, settings=settings, console=console)
    row = _read_row(model, version, settings)
    typer.echo(json.dumps(_record(row, started), indent=2) if as_json else _describe(row, started))
    raise typer.Exit(0 if row.state == "champion" or (no_wait and started) else 1)


def _is_to_start(model: str, version: int, force: str, *, settings: "Settings", console: "Console") -> bool:
    """Say what the promotion guard says; one that refuses ends it here, before anything is started."""
    from perennial.steps.admission import foresee_release

    prospect = foresee_release(model, version, settings=settings)
    if prospect.objection is not None:
        if not force.strip():
            raise prospect.objection
        console.print(f"{prospect.objection.what}: forced", soft_wrap=True)
    elif force:
        console.print("nothing stands against it, so the force is not needed", soft_wrap=True)
    return not prospect.serves


def _release(model: str, version: int, force: str, *, wait: bool, settings: "Settings", console: "Console") -> "DagRunState":
    """Start `release__<model>` and follow it to its end, if that is wanted."""
    from perennial.adapters.airflow_api import AirflowApi
    from perennial.cli.watch import watch_dag_run
    from perennial.steps.report_links import dag_run_link

    api = AirflowApi(settings.airflow_api_url, user="admin", password=settings.secret("admin_password"))
    try:
        name = f"cli__v{version}__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        started = api.trigger(f"release__{model}", name, {"version": version, **({"force": force} if force.strip() else {})})
        console.print(dag_run_link(started.dag_id, started.dag_run_id, settings=settings), soft_wrap=True)
        return watch_dag_run(api, started, console=console, deadline_seconds=_DEADLINE_SECONDS) if wait else started
    finally:
        api.close()


def _read_row(model: str, version: int, settings: "Settings") -> "ReleaseRow":
    from perennial.adapters.state import StateStore
    from perennial.steps.admission import read_release

    with StateStore(settings.state_url) as state:
        return read_release(state, model, version)


def _record(row: "ReleaseRow", started: "DagRunState | None") -> dict[str, object]:
    return {
        "model": row.model,
        "model_version": row.model_version,
        "state": row.state,
        "reason": row.reason,
        "forced_by": row.forced_by,
        "forced_reason": row.forced_reason,
        "dag_run_id": started.dag_run_id if started else None,
        "dag_run_state": started.state if started else None,
    }


def _describe(row: "ReleaseRow", started: "DagRunState | None") -> str:
    name = f"{row.model}: version {row.model_version}"
    if started is None:
        return f"{name} serves already"
    if row.state == "champion":
        return f"{name} serves" + (f", forced by {row.forced_by}: {row.forced_reason}" if row.forced_by else "")
    if started.state not in ("success", "failed"):
        return f"{name} is on its way, {started.state}"
    return f"{name} does not serve, it is {row.state}" + (f": {row.reason}" if row.reason else "")
