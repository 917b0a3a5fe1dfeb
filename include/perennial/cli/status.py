"""`perennial status`."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from perennial.stack.status import StackStatus


def run(as_json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False) -> None:
    """Exit code 0 when everything is healthy, else 1."""
    from perennial.config.settings import Settings
    from perennial.stack.status import read_status

    status = read_status(Settings.load())
    if as_json:
        typer.echo(json.dumps(status.to_record(), indent=2))
    else:
        _print(status)
    raise typer.Exit(0 if status.is_healthy else 1)


def _print(status: "StackStatus") -> None:
    from datetime import timedelta

    from rich.console import Console
    from rich.table import Table

    console, table = Console(highlight=False), Table(box=None, pad_edge=False)
    if status.is_down:
        console.print("The stack is down → start it: perennial up")
        return
    if status.other_ports:
        what = "This stack runs with other ports than this shell's settings say; other commands would miss it."
        console.print(f"[yellow]![/] {what}\n  → set {status.other_ports}, or put them into .env\n", soft_wrap=True)
    for column in ("", "Service", "URL", "PID", "Uptime"):
        table.add_column(column, no_wrap=True)
    for service in status.services:
        sign = "[green]✓[/]" if service.is_healthy else "[red]✗[/]"
        running = (str(service.pid), str(timedelta(seconds=service.uptime_seconds))) if service.pid else ("", "")
        table.add_row(sign, service.title, service.url, *running)
    # An address that is cut short is of no use; a narrow terminal wraps the line.
    console.width = max(console.width, console.measure(table, options=console.options.update(max_width=1000)).maximum)
    console.print(table)
    for service in (service for service in status.services if not service.is_healthy):
        console.print(f"\n[red]✗[/] {service.title}: {service.reason}\n  → {service.log}", soft_wrap=True)
    console.print(f"\nLogin for Airflow: user {status.login_user}, password in {status.login_file}", soft_wrap=True)
