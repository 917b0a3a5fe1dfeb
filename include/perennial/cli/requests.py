"""`perennial requests`."""

import getpass
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from perennial.adapters.state.history import RunResult
    from perennial.config.settings import Settings
    from perennial.contracts.monitoring import RetrainRequest

    Results = Mapping[tuple[str, str], RunResult]

_LATEST = 50


def run(
    model: Annotated[str | None, typer.Argument(help="Model; all of them by default.")] = None,
    ask: Annotated[bool, typer.Option("--ask", help="Ask for a retraining of the model.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; recorded with the request.")] = "",
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="Learn from what was known then, e.g. 2013-05-01; the start of today by default."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Grant it against the policy; never while another retraining runs or waits.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the requests as JSON.")] = False,
) -> None:
    """List retrain requests, the decisions on them and what each retraining came to, the latest first; with --ask, ask for one.

    What is granted is started at once. The same person asking for the same as-of and reason again gets the same answer.
    """
    from perennial.config.settings import Settings

    settings = Settings.load()
    if ask:
        request = _ask(settings, model, reason=reason, as_of=as_of, force=force)
        _show((request,), {}, as_json=as_json)
        if request.outcome == "declined":
            typer.echo("  → the same words get this answer again; to have it decided anew, give another --reason", err=True)
        return
    if reason or as_of or force:
        raise typer.BadParameter("--reason, --as-of and --force go with --ask")
    from perennial.adapters.state import StateStore
    from perennial.config.spec_file import load_spec, spec_path

    with StateStore(settings.state_url) as state:
        requests = state.read_requests(model, limit=_LATEST)
        results = {(each.model, each.dag_run_id): each for each in state.read_run_results(model)}
    if model and not requests:
        load_spec(spec_path(settings, model))  # says which models there are
    _show(requests, results, as_json=as_json)


def _ask(settings: "Settings", model: str | None, *, reason: str, as_of: str | None, force: bool) -> "RetrainRequest":
    from perennial.config.spec_file import load_spec, spec_path
    from perennial.steps.request_retraining import request_by_hand

    if not model or not reason.strip():
        raise typer.BadParameter("--ask needs the model, and --reason")
    spec = load_spec(spec_path(settings, model))
    actor = f"cli:{getpass.getuser()}"
    return request_by_hand(spec, reason=reason.strip(), actor=actor, as_of=_read_as_of(as_of), is_forced=force, settings=settings)


def _read_as_of(value: str | None) -> datetime:
    if value is None:
        return datetime.combine(datetime.now(UTC).date(), time.min, tzinfo=UTC)
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        raise typer.BadParameter(f"--as-of {value!r} is no date or time; use e.g. 2013-05-01") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _show(requests: "tuple[RetrainRequest, ...]", results: "Results", *, as_json: bool) -> None:
    if as_json:
        told = [asdict(each) | _tell_result(results.get((each.model, each.dag_run_id))) for each in requests]
        typer.echo(json.dumps(told, indent=2, default=str))
        return
    if not requests:
        typer.echo("Nobody has asked for a retraining.")
    for request in requests:
        typer.echo(_describe(request, results.get((request.model, request.dag_run_id))))


def _tell_result(result: "RunResult | None") -> dict[str, str]:
    """What the retraining came to; empty while it has decided nothing, and for a request without one."""
    return {"result": result.outcome, "result_reason": result.reason} if result else {"result": "", "result_reason": ""}


def _describe(request: "RetrainRequest", result: "RunResult | None") -> str:
    asked = f"{request.model}  as of {request.as_of:%Y-%m-%d %H:%M} UTC  by {request.actor}: {request.reason}"
    return f"{request.request_id:>5}  {asked}\n       {_describe_outcome(request, result)}"


def _describe_outcome(request: "RetrainRequest", result: "RunResult | None") -> str:
    if request.outcome == "granted":
        ended = f", ended {request.ended_at:%Y-%m-%d %H:%M} UTC" if request.ended_at else ", not ended"
        reason = f" at {result.reason}" if result and result.reason else ""
        return f"granted: {request.dag_run_id}{ended}" + (f", {result.outcome}{reason}" if result else "")
    failed = "; ".join(check.reason for check in request.checks if not check.passed)
    when = f" {request.decided_at:%Y-%m-%d %H:%M} UTC" if request.decided_at else ""
    return f"{request.outcome}{when}: {failed}" if failed else f"{request.outcome}{when}"
