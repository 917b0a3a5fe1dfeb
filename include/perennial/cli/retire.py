"""`perennial retire`."""

import getpass
import json
from dataclasses import asdict
from typing import Annotated

import typer


def run(
    model: Annotated[str, typer.Argument(help="Model to take out of service; it needs no spec any more.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; recorded in the audit trail and told to the model's callers.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Callers get 410 with the reason, the bentos stop, a release that is under way ends; the history stays.

    Run again with the same reason, it completes what was left. Scheduled retrainings are skipped; what a retraining that is
    under way trains is not released. A rollback, or a retraining by hand and its release, brings the model back.
    """
    from perennial.config.settings import Settings
    from perennial.steps.retire import name_way_back, retire

    done = retire(model, reason=reason, actor=f"cli:{getpass.getuser()}", settings=Settings.load())
    if as_json:
        typer.echo(json.dumps(asdict(done), indent=2, default=str))
        return
    retirement = done.retirement
    typer.echo(f"{model}: retired since {retirement.retired_at:%Y-%m-%d %H:%M} UTC by {retirement.actor}: {retirement.reason}")
    if done.stopped:
        typer.echo(f"the release of version {done.stopped.model_version}, which was {done.stopped.state}, ended")
    if done.retraining:
        typer.echo(f"the retraining {done.retraining} goes on; its version is not released")
    typer.echo(f"its callers get 410 with the reason; {name_way_back(model, done.served_last)}")
