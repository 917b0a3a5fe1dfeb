"""`perennial lineage`."""

import json
from datetime import datetime
from typing import Annotated

import typer


def run(
    model: Annotated[str, typer.Argument(help="Model of the version.")],
    version: Annotated[int, typer.Argument(min=1, help="Registered version whose lineage is wanted.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON: each value, and how to follow it.")] = False,
) -> None:
    """What a version was made from, by whom, what was decided, and whom it answered; each id with what opens it."""
    from rich.console import Console
    from rich.markup import escape

    from perennial.config.settings import Settings
    from perennial.steps.lineage import describe_value, read_lineage

    sections = read_lineage(model, version, settings=Settings.load())
    if as_json:
        told = {each.title: {fact.name: {"value": fact.value, "follow": fact.follow} for fact in each.facts} for each in sections}
        typer.echo(json.dumps({"model": model, "version": version, **told}, indent=2, default=_plain))
        return
    console = Console(highlight=False)
    for section in sections:
        console.rule(section.title, align="left")
        for fact in section.facts:
            console.print(f"[bold]{fact.name.replace('_', ' '):<20}[/] {escape(describe_value(fact.value))}", soft_wrap=True)
            if fact.follow:
                console.print(f"  [dim]→ {escape(fact.follow)}[/]", soft_wrap=True)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
