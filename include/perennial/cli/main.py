"""The `perennial` command: a table of subcommands, each a module of this package that is loaded when it is called."""

import importlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from typer._click import exceptions as click
from typer.core import TyperCommand, TyperGroup

from perennial.errors import PerennialError, RetryableError, UnavailableError

if TYPE_CHECKING:
    from typer._click.core import Command, Context


@dataclass(frozen=True, slots=True)
class Entry:
    """One subcommand: `perennial.cli.<module>` has a function `run` with Typer's annotations, or a group of such functions.

    Parameters
    ----------
    passes_through
        Whether all that follows, `--help` too, goes to `run` as it is.
    """

    module: str
    summary: str
    passes_through: bool = False


# To add a command, write its module and its line here.
COMMANDS = {
    "up": Entry("up", "Start the stack and wait until every service is healthy."),
    "down": Entry("down", "Stop the stack; what it has stored stays."),
    "status": Entry("status", "Show every service, its health and its address, and where the login is."),
    "demo": Entry("demo", "Train, release and query the example model; what is there already is picked up."),
    "release": Entry("release", "Release one version of a model to its callers, stage by stage."),
    "rollback": Entry("rollback", "Lead a model's callers back to an earlier champion."),
    "retire": Entry("retire", "Take a model out of service; its callers are told why."),
    "requests": Entry("requests", "Show who wished for a retraining and what became of it; ask for one."),
    "history": Entry("history", "Tell who served a model when, why it came and went, and what was rejected."),
    "lineage": Entry("lineage", "Tell what a version was made from, what was decided about it, and whom it answered."),
    "reproduce": Entry("reproduce", "Train a version again from its snapshot, commit and lock, and compare."),
    "keys": Entry("keys", "Make, list and revoke the keys of the gateway's callers."),
    "replay": Entry("replay", "Send a past period's rows through the gateway, monitored and retrained step by step."),
    "housekeeping": Entry("housekeeping", "Find, and remove, what has outlived its time and nobody needs."),
    "load-flights": Entry("load_flights", "Fill the example warehouse with the flights that left New York in 2013."),
    "check": Entry("check", "Check all model specs, their SQL, their suites and the connections."),
    "airflow": Entry("airflow", "Run one of Airflow's own commands against the stack.", passes_through=True),
    "mlflow": Entry("mlflow", "Run one of MLflow's own commands against the stack.", passes_through=True),
    "psql": Entry("psql", "Ask the database of the business state, with Postgres's own client.", passes_through=True),
}

_EPILOG = "Exit codes: 0 done; 1 it cannot work until you change what the message names; 2 wrong usage; 3 try again later."


class _LazyCommand(TyperCommand):
    """Stands in the list of commands with its summary, and turns into the real command when it is called."""

    def __init__(self, name: str, entry: Entry) -> None:
        super().__init__(name, short_help=entry.summary, help=entry.summary)
        self.entry = entry

    def make_context(self, info_name: str | None, args: list[str], parent: "Context | None" = None, **extra: Any) -> "Context":
        return _load(self.name or "", self.entry).make_context(info_name, args, parent, **extra)


class _LazyGroup(TyperGroup):
    def list_commands(self, ctx: "Context") -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: "Context", cmd_name: str) -> "Command | None":  # noqa: ARG002
        entry = COMMANDS.get(cmd_name)
        return _LazyCommand(cmd_name, entry) if entry else None

    def resolve_command(self, ctx: "Context", args: list[str]) -> "tuple[str | None, Command | None, list[str]]":
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"there is no command {args[0]!r}\n  → commands: {', '.join(COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)


app = typer.Typer(cls=_LazyGroup, epilog=_EPILOG, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def _about() -> None:
    """Perennial keeps models fresh: it retrains, compares, releases and watches them."""


def main() -> None:
    """Run the command line; an error of ours is shown as its message, without a traceback."""
    try:
        sys.exit(app(prog_name="perennial", standalone_mode=False))
    except PerennialError as error:
        typer.echo(f"error: {_explained(error)}", err=True)
        sys.exit(3 if isinstance(error, RetryableError) else 1)
    except click.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        usage = f"{error.ctx.get_usage()}\n" if isinstance(error, click.UsageError) and error.ctx else ""
        typer.echo(f"{usage}error: {error.format_message()}", err=True)
        sys.exit(error.exit_code)
    except typer.Abort:
        typer.echo("error: aborted", err=True)
        sys.exit(1)


def _explained(error: PerennialError) -> PerennialError:
    """Where a service is away because the whole stack is, or has other ports, that is the next step."""
    if not isinstance(error, UnavailableError):
        return error
    from perennial.config.settings import Settings
    from perennial.stack.running import explain_silence

    return UnavailableError(error.what, explain_silence(Settings.load()) or error.next_step)


def _load(name: str, entry: Entry) -> "Command":
    run = importlib.import_module(f"perennial.cli.{entry.module}").run
    if isinstance(run, typer.Typer):
        return typer.main.get_command(run)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    options = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    single.command(name, help=entry.summary, context_settings=options if entry.passes_through else None)(run)
    return typer.main.get_command(single)
