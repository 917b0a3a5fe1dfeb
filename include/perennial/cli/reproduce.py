"""`perennial reproduce`."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from perennial.steps.reproduce import Reproduction
    from perennial.steps.reproduction_links import Link

_COLOURS = {"identical": "green", "within tolerance": "green", "different": "red", "link missing": "red"}


def run(
    model: Annotated[str, typer.Argument(help="Model of the version.")],
    version: Annotated[int, typer.Argument(min=1, help="Registered version that is to be built again.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print what was compared as JSON.")] = False,
) -> None:
    """Exit code 0: the same came out. 1: it did not, or a link of the chain is missing. 3: a service is away."""
    from rich.console import Console

    from perennial.config.settings import Settings
    from perennial.steps.reproduce import reproduce

    console = Console(highlight=False, quiet=as_json)
    with console.status(f"{model} version {version}: snapshot, code, training"):
        done = reproduce(model, version, settings=Settings.load(), tell=lambda link: _print_link(console, link))
    if as_json:
        typer.echo(json.dumps(asdict(done), indent=2))
    _print_outcome(console, done)
    raise typer.Exit(0 if done.outcome in ("identical", "within tolerance") else 1)


def _print_link(console: "Console", link: "Link") -> None:
    from rich.markup import escape

    sign = "[green]✓[/]" if link.holds else "[red]✗[/]"
    console.print(f"{sign} {link.name:<9} {escape(link.detail)}", soft_wrap=True)
    if not link.holds:
        console.print(f"  → {escape(link.next_step)}", soft_wrap=True)


def _print_outcome(console: "Console", done: "Reproduction") -> None:
    from rich.markup import escape

    if done.largest_difference is not None:
        n_training, n_holdout = f"{done.n_training_rows:,}", f"{done.n_holdout_rows:,}"
        console.print(f"  trained again on {n_training} rows; compared on the holdout's {n_holdout}")
    for each in done.metrics:
        again = "–" if each.again is None else f"{each.again!r}"
        console.print(f"  {each.metric:<26} recorded {each.recorded!r:<22} again {again}", soft_wrap=True)
    head = f"[{_COLOURS[done.outcome]}]{done.outcome}[/]"
    console.print(f"{done.model} version {done.model_version}: {head}: {escape(done.reason)}", soft_wrap=True)
