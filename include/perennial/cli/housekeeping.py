"""`perennial housekeeping`."""

import getpass
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perennial.contracts.housekeeping import Found, Kind, Removal


def run(
    apply: Annotated[
        bool, typer.Option("--apply/--dry-run", help="Remove it; by default it is only said what would go.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Look at this kind only, such as bentos; may be given several times.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every item, or what was removed, as JSON.")] = False,
) -> None:
    """What is older than PERENNIAL_KEEP_…_DAYS goes, but for what a version needs that serves, is under way, or was so lately."""
    from datetime import UTC, datetime

    from perennial.config.settings import Settings
    from perennial.steps import housekeeping

    settings = Settings.load()
    found = housekeeping.find(as_of=datetime.now(UTC), settings=settings, only=_read_kinds(only or []))
    removals = housekeeping.remove(found, actor=f"cli:{getpass.getuser()}", settings=settings) if apply else ()
    if as_json:
        content = [asdict(removal) for removal in removals] if apply else asdict(found)
        typer.echo(json.dumps(content, indent=2, default=str))
    elif apply:
        _print_removals(removals)
    else:
        _print_found(found)


def _read_kinds(names: "Sequence[str]") -> "list[Kind]":
    from typing import get_args

    from perennial.contracts.housekeeping import Kind
    from perennial.errors import ConfigurationError

    kinds = {str(kind): kind for kind in get_args(Kind)}
    if unknown := [name for name in names if name not in kinds]:
        raise ConfigurationError(f"there is no kind {unknown[0]!r}", f"kinds: {', '.join(kinds)}")
    return [kinds[name] for name in names]


def _print_found(found: "Found") -> None:
    from perennial.steps.housekeeping import format_bytes

    rows = [
        (each.kind, format_bytes(each.n_bytes), f"{each.n_removable:,}", format_bytes(each.removable_bytes))
        for each in found.findings
    ]
    _print_table(("kind", "there is", "may go", "of it"), rows)
    for name, why in found.kept.items():
        typer.echo(f"kept: {name}: {why}")
    typer.echo("nothing was removed; to do so: perennial housekeeping --apply")


def _print_removals(removals: "Sequence[Removal]") -> None:
    from perennial.steps.housekeeping import format_bytes

    rows = [
        (each.kind, format_bytes(each.before_bytes), format_bytes(each.after_bytes), f"{each.n:,}", format_bytes(each.n_bytes))
        for each in removals
    ]
    _print_table(("kind", "before", "after", "removed", "of it"), rows)


def _print_table(columns: tuple[str, ...], rows: "Sequence[tuple[str, ...]]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)
