"""`perennial check`."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from perennial.config.settings import Settings
    from perennial.steps.check import Check

_SIGNS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "fault": "[red]✗[/]", "skipped": "[yellow]–[/]"}


def run(
    models: Annotated[list[str] | None, typer.Argument(help="Only these models; all when none is named.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of a spec, for editors, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was checked as JSON.")] = False,
) -> None:
    """Exit code 0: all is well. 1: something has to be mended. 3: what was checked is well, but a service is away."""
    from perennial.config.settings import Settings
    from perennial.config.spec_schema import render_schema

    if schema:
        typer.echo(render_schema(), nl=False)
        return
    checks = _print(_check(Settings.load(), models or ()), quiet=as_json)
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=2))
    found = {check.status for check in checks}
    raise typer.Exit(1 if "fault" in found else 3 if "skipped" in found else 0)


def _check(settings: "Settings", models: Sequence[str]) -> Iterator["Check"]:
    """Check against the stack as it runs; where it does not, say how to start it."""
    from perennial.stack.running import START, describe_other_ports, is_down, read_running_settings
    from perennial.steps.check import Check, check_models

    if other := describe_other_ports(settings):
        what, next_step = "this stack runs with other ports than the settings say", f"set {other}, or put them into .env"
        yield Check(model="", subject="ports", status="fault", message=what, next_step=next_step)
    down = is_down(settings)
    for check in check_models(read_running_settings(settings), models=models):
        is_ours = check.subject in ("state", "mlflow") or not settings.warehouse_url
        yield replace(check, next_step=START) if down and is_ours and check.status == "skipped" else check


def _print(checks: Iterable["Check"], *, quiet: bool) -> list["Check"]:
    """Print each as it comes in; some take a second."""
    from rich.console import Console
    from rich.markup import escape

    console, done = Console(highlight=False, quiet=quiet), []
    for check in checks:
        done.append(check)
        head = f"{_SIGNS[check.status]} {check.model or 'stack'}  {check.subject}: "
        console.print(head + escape(check.message), soft_wrap=True)
        if check.status != "ok" and check.next_step:
            console.print(f"  → {escape(check.next_step)}", soft_wrap=True)
    return done
