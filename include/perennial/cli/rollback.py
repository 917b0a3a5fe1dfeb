"""`perennial rollback`."""

import getpass
import json
from dataclasses import asdict
from typing import Annotated

import typer


def run(
    model: Annotated[str, typer.Argument(help="Model whose callers go back.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; recorded in the audit trail and mailed.")],
    to: Annotated[
        int | None, typer.Option("--to", min=1, help="Version that served before; the last champion before this one by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """All callers go to that version at once; a release that is under way is stopped, also where that version serves already.

    Within seconds while the version's bento is kept warm, else as long as it takes to build and start it.
    """
    from perennial.config.settings import Settings
    from perennial.config.spec_file import load_spec, spec_path
    from perennial.steps.rollback_report import roll_back_and_tell

    settings = Settings.load()
    spec = load_spec(spec_path(settings, model))
    done = roll_back_and_tell(spec, to=to, reason=reason, actor=f"cli:{getpass.getuser()}", settings=settings)
    if as_json:
        typer.echo(json.dumps(asdict(done), indent=2, default=str))
        return
    stopped = f"stopped {done.stopped}; " if done.stopped else ""
    if done.changed:
        change = f"version {done.before} → {done.model_version}" if done.before else f"retired → version {done.model_version}"
        typer.echo(f"{model}: {stopped}{change} in {done.seconds:.1f} s, {done.url}")
    else:
        typer.echo(f"{model}: {stopped}version {done.model_version} serves already, {done.url}")
