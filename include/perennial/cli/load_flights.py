"""`perennial load-flights`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from perennial.adapters.flights import FlightsLoad, Progress


def run(
    reload: Annotated[bool, typer.Option("--reload", help="Load again what is loaded already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is loaded as JSON.")] = False,
) -> None:
    """Loading twice changes nothing. The data, flights that left New York in 2013, is in the public domain (CC0)."""
    from rich.console import Console

    from perennial.adapters.flights import load_flights
    from perennial.config.settings import Settings
    from perennial.stack.running import require_up

    settings, console = Settings.load(), Console(highlight=False, stderr=as_json)
    require_up(settings)
    with _bar(console) as progress:
        load = load_flights(settings.database_url("warehouse"), settings.project, reload=reload, progress=progress)
    if as_json:
        typer.echo(json.dumps(asdict(load), indent=2))
    else:
        _print(load, console)


@contextmanager
def _bar(console: "Console") -> Iterator["Progress"]:
    from rich.progress import Progress

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("looking at what is there", total=None)

        def progress(what: str, done: int, size: int) -> None:
            bar.update(task, description=what, completed=done, total=size or None)

        yield progress


def _print(load: "FlightsLoad", console: "Console") -> None:
    for table, n_rows in load.rows.items():
        console.print(f"  flights.{table:<10} {n_rows:>9,} rows")
    done = f"Loaded in {load.seconds:.1f} s" if load.changed else "Already loaded, nothing changed"
    console.print(f"{done}, from {load.source}; public domain ({load.license}).")
