"""`perennial up`."""

import time
from typing import Annotated

import typer


def run(
    services: Annotated[
        list[str] | None, typer.Argument(help="Only these services and what they need; all when none is named.")
    ] = None,
) -> None:
    from rich.console import Console

    from perennial.config.settings import Settings
    from perennial.errors import ConfigurationError
    from perennial.stack.lifecycle import up
    from perennial.stack.services import SERVICES

    if unknown := sorted(set(services or ()) - set(SERVICES)):
        raise ConfigurationError(f"no service {unknown[0]!r}", f"services: {', '.join(SERVICES)}")
    settings, console, began = Settings.load(), Console(highlight=False), time.monotonic()

    def report(title: str, outcome: str, seconds: float | None) -> None:
        sign, took = ("[yellow]↻[/]", "") if seconds is None else ("[green]✓[/]", f"{seconds:5.1f} s")
        console.print(f"  {sign} {title:<26} {outcome:<16} {took}".rstrip())

    with console.status("starting the stack"):
        up(settings, names=tuple(services or ()), report=report)
    console.print(f"Up after {time.monotonic() - began:.1f} s. Addresses and the login: perennial status")
