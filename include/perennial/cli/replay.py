"""`perennial replay`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from perennial.config.settings import Settings
    from perennial.config.spec import ModelSpec
    from perennial.contracts.replay import Replay, ReplayStep
    from perennial.steps.replay_period import PeriodReplay, Plan, Progress

_DATES = ["%Y-%m-%d"]
# Of the table, where a name is too long for its column.
_HEADINGS = {
    "ROC AUC retrained": "ROC AUC re- trai- ned",
    "Brier retrained": "Brier re- trai- ned",
    "Alarms": "Al- arms",
    "Not judged": "Not jud- ged",
    "Retrainings": "Re- trained",
    "Champions": "Cham- pions",
}


def run(
    model: Annotated[str, typer.Argument(help="Model whose champion answers.")],
    start: Annotated[datetime, typer.Option("--from", formats=_DATES, help="First day, in the spec's time zone.")],
    end: Annotated[datetime, typer.Option("--to", formats=_DATES, help="Day after the last one.")],
    every: Annotated[Literal["day", "week", "month"], typer.Option("--every", help="How much a step covers.")] = "month",
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.1, help="Rows a second; by default as fast as they are answered.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Send a past period's rows through the gateway, and let monitoring and what it sets off run after each step.

    Broken off and started again, it goes on where it was. The table, a picture and a page are left under var/reports/replays.
    """
    from rich.console import Console

    from perennial.config.settings import Settings
    from perennial.config.spec_file import load_spec, spec_path
    from perennial.contracts.replay import Interval
    from perennial.steps.replay_period import Plan
    from perennial.steps.replay_report import to_json

    if start >= end:
        raise typer.BadParameter(f"{end:%Y-%m-%d} is not after {start:%Y-%m-%d}", param_hint="--to")
    settings, console = Settings.load(), Console(highlight=False, stderr=as_json)
    spec = load_spec(spec_path(settings, model))
    first, last = (day.replace(tzinfo=spec.zone).astimezone(UTC) for day in (start, end))
    interval = Interval(start=first, end=last)
    replay = _replay(spec, Plan(interval=interval, every=every, rate=rate), settings, console)
    if as_json:
        typer.echo(to_json(replay))


def _replay(spec: "ModelSpec", plan: "Plan", settings: "Settings", console: "Console") -> "Replay":
    from perennial.adapters.airflow_api import AirflowApi
    from perennial.stack.running import require_up
    from perennial.steps.replay_period import PeriodReplay
    from perennial.steps.replay_report import write_report

    require_up(settings)
    api = AirflowApi(settings.airflow_api_url, user="admin", password=settings.secret("admin_password"))
    try:
        with _bar(console) as progress:
            period = PeriodReplay(spec, plan, settings=settings, api=api, progress=progress)
            replay = _follow(period, console, timezone=spec.schedule.timezone)
    finally:
        api.close()
    _print(replay, console)
    console.print(f"\n{write_report(replay, settings=settings)}", soft_wrap=True)
    return replay


def _follow(period: "PeriodReplay", console: "Console", *, timezone: str) -> "Replay":
    console.print(f"version {period.frozen_version} is the first champion")
    steps = []
    for step in period.run_steps():
        steps.append(step)
        _print_step(step, console, timezone=timezone)
    return period.finish(steps)


def _print_step(step: "ReplayStep", console: "Console", *, timezone: str) -> None:
    from rich.markup import escape

    from perennial.contracts.monitoring import BREACHES, UNJUDGED
    from perennial.steps.replay_report import describe_interval, describe_step

    sign = "[red]![/]" if step.verdict in BREACHES else "[dim]–[/]" if step.verdict in UNJUDGED else "[green]✓[/]"
    head = f"{sign} {describe_interval(step.interval, timezone)}  {step.sent.n_rows:,} rows"
    failed = f", [red]{step.sent.n_failed} requests failed[/]" if step.sent.n_failed else ""
    console.print(f"{head}{failed}  {step.verdict.replace('_', ' ')}: {escape(describe_step(step))}", soft_wrap=True)


@contextmanager
def _bar(console: "Console") -> Iterator["Progress"]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("looking at what is there", total=None)

        def progress(what: str, done: int, size: int) -> None:
            bar.update(task, description=what, completed=done, total=size or None)

        yield progress


def _print(replay: "Replay", console: "Console") -> None:
    from perennial.steps.replay_report import COLUMNS, VERSION_COLUMNS, month_cells, summarize, version_cells

    for columns, rows in ((COLUMNS, month_cells(replay)), (VERSION_COLUMNS, version_cells(replay))):
        if rows:
            console.print()
            console.print(_build_table(columns, rows))
    for sentence in summarize(replay):
        console.print(sentence, soft_wrap=True)


def _build_table(columns: "Sequence[str]", rows: "Sequence[Sequence[str]]") -> "Table":
    """80 columns have room for all of it, if each heading has a line per word."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, collapse_padding=True)
    for number, name in enumerate(columns):
        heading = _HEADINGS.get(name, name).replace(" ", "\n")
        table.add_column(heading, justify="right" if number else "left", no_wrap=number < len(columns) - 1)
    for cells in rows:
        table.add_row(*cells)
    return table
