"""`perennial history`."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from perennial.adapters.state.history import RecordedDecision, RunResult, Stop, VerdictLine
    from perennial.steps.history import Chapter, History, Served


def run(
    model: Annotated[str, typer.Argument(help="Model whose history is wanted.")],
    at: Annotated[
        str | None, typer.Option("--at", help="Only who served at this date or time (ISO 8601; UTC unless it says otherwise).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, instants to the microsecond.")] = False,
) -> None:
    """Who served when, why it came, why it went, how it fared; what was rejected, and which retrainings failed."""
    from perennial.config.settings import Settings
    from perennial.steps.history import find_served, read_history, read_instant

    instant = read_instant(at) if at is not None else None
    history = read_history(model, settings=Settings.load())
    found = find_served(history, instant) if instant is not None else None
    if as_json:
        typer.echo(json.dumps({"model": model, **asdict(found)} if found else asdict(history), indent=2, default=_plain))
    elif found:
        _print_served(found, history)
    else:
        _print_history(history)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _print_history(history: "History") -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.rule(f"who served {history.model}", align="left")
    if not history.chapters:
        console.print("Nobody yet.")
    for chapter in reversed(history.chapters):
        _print_chapter(console, chapter, history.metric)
    console.rule("what was rejected", align="left")
    rejections: list[RecordedDecision | Stop] = [*history.rejected, *history.stopped]
    if not rejections:
        console.print("Nothing yet.")
    for rejection in sorted(rejections, key=_instant_of, reverse=True):
        _print_rejection(console, rejection)
    if history.failed:
        console.rule("what failed", align="left")
    for run in reversed(history.failed):
        _print_failure(console, run)


def _print_failure(console: "Console", run: "RunResult") -> None:
    from rich.markup import escape

    console.print(f"[bold]{_instant(run.at)}[/]  retraining {escape(run.dag_run_id)}", soft_wrap=True)
    console.print(f"  [red]✗[/] {escape(run.reason)}", soft_wrap=True)


def _instant_of(rejection: "RecordedDecision | Stop") -> datetime:
    from perennial.adapters.state.history import Stop

    return rejection.at if isinstance(rejection, Stop) else rejection.decided_at


def _print_chapter(console: "Console", chapter: "Chapter", metric: str) -> None:
    from rich.markup import escape

    tenure = chapter.tenure
    until = _instant(tenure.valid_to) if tenure.valid_to else "now"
    console.print(f"[bold]version {tenure.model_version}[/]  {_instant(tenure.valid_from)} – {until}", soft_wrap=True)
    told = {
        "came": chapter.came,
        "by run": tenure.dag_run_id,
        "trained": f"{tenure.retrain_run_id}, {_tell_cause(chapter.decision)}",
        "fared": _tell_fare(chapter.decision, metric),
        "watched": _tell_verdicts(chapter.verdicts),
        "went": chapter.went,
    }
    for name, text in told.items():
        if text:
            console.print(f"  {name:<8} {escape(text)}", soft_wrap=True)


def _tell_cause(recorded: "RecordedDecision | None") -> str:
    return f"cause: {recorded.cause}" if recorded and recorded.cause else "its cause is not recorded"


def _tell_fare(recorded: "RecordedDecision | None", metric: str) -> str:
    """The holdout's figures at the decision: of the metric that the spec chooses by, or of all where there is no spec."""
    if recorded is None:
        return "its decision is not recorded"
    decision = recorded.decision
    shown = []
    for name, value in decision.challenger_metrics.items():
        if metric in ("", name):
            rival = decision.champion_metrics.get(name)
            shown.append(f"{name} {value:.4f}" + ("" if rival is None else f", the champion then {rival:.4f}"))
    return f"{decision.candidate}, on the holdout {'; '.join(shown)}"


def _tell_verdicts(verdicts: "Sequence[VerdictLine]") -> str:
    """How many windows of each outcome, and the latest."""
    if not verdicts:
        return ""
    counts = Counter(each.outcome for each in verdicts)
    last = verdicts[-1]
    said = f"; {last.reasons[0]}" if last.reasons else ""
    listed = ", ".join(f"{n} {outcome}" for outcome, n in counts.items())
    return f"{listed}; the last until {_instant(last.window_end)}: {last.outcome}{said}"


def _print_rejection(console: "Console", rejection: "RecordedDecision | Stop") -> None:
    from rich.markup import escape

    from perennial.adapters.state.history import Stop

    if isinstance(rejection, Stop):
        stage = f" in its {rejection.stage}" if rejection.stage else ""
        head = f"release of version {rejection.model_version} {rejection.state.replace('_', ' ')}{stage} by {rejection.actor}"
        reasons = [f"{each.measure}: {each.reason}" for each in rejection.measures if not each.passed]
        reasons = reasons or [rejection.reason]
    else:
        decision = rejection.decision
        head = f"{decision.candidate} of {decision.dag_run_id}, {_tell_cause(rejection)}"
        reasons = [f"{gate.gate}: {gate.reason}" for gate in decision.gates if not gate.passed]
    console.print(f"[bold]{_instant(_instant_of(rejection))}[/]  {escape(head)}", soft_wrap=True)
    for reason in reasons:
        console.print(f"  [red]✗[/] {escape(reason)}", soft_wrap=True)


def _print_served(found: "Served", history: "History") -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if found.chapter:
        _print_chapter(console, found.chapter, history.metric)
    else:
        console.print(f"Nobody served {history.model} at {_instant(found.at)}.")
        for side, chapter in (("before", found.before), ("after", found.after)):
            console.print(f"The nearest {side}: {_tell_tenure(chapter)}" if chapter else f"Nobody served {side}.", soft_wrap=True)
    for chapter in found.during:
        began = chapter.tenure.valid_from
        console.print(f"Within that second, at {began:%H:%M:%S.%f}, version {chapter.tenure.model_version} began to serve.")


def _tell_tenure(chapter: "Chapter") -> str:
    tenure = chapter.tenure
    until = _instant(tenure.valid_to) if tenure.valid_to else "now"
    return f"version {tenure.model_version}, {_instant(tenure.valid_from)} – {until}"


def _instant(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S} UTC"
