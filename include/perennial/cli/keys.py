"""`perennial keys`."""

import getpass
import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from perennial.config.settings import Settings

Caller = Annotated[str, typer.Argument(help="Name of an application; up to 63 of a-z 0-9 . _ -")]

run = typer.Typer(
    help="Make, list and revoke the keys of the gateway's callers.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@run.command()
def create(
    caller: Caller,
    replace: Annotated[bool, typer.Option("--replace", help="Exchange the key that the caller has.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the caller and the key as JSON.")] = False,
) -> None:
    """Print a new key, this once. The gateway takes it before this ends."""
    from perennial.config.settings import Settings
    from perennial.steps import keys

    settings = Settings.load()
    key = keys.create_key(settings, caller, actor=_actor(), replace=replace)
    # Printed before the gateway is asked: if that is away, the key counts all the same.
    typer.echo(json.dumps({"caller": caller, "key": key}, indent=2) if as_json else key)
    keys.apply_keys(settings)
    _warn_if_off(settings)


@run.command("list")
def list_keys(as_json: Annotated[bool, typer.Option("--json", help="Print the callers as JSON.")] = False) -> None:
    """Show who has a key, since when, and who had one."""
    from perennial.config.settings import Settings
    from perennial.steps.keys import read_keys

    settings = Settings.load()
    keys = read_keys(settings)
    if as_json:
        records = [{"caller": key.caller, "created_at": key.created_at, "revoked_at": key.revoked_at} for key in keys]
        typer.echo(json.dumps(records, indent=2, default=lambda instant: instant.isoformat()))
        return
    if not keys:
        typer.echo("Nobody has a key. Make one: perennial keys create CALLER")
    for key in keys:
        until = f"  revoked {key.revoked_at:%Y-%m-%d %H:%M} UTC" if key.revoked_at else ""
        typer.echo(f"{key.caller:<20}  created {key.created_at:%Y-%m-%d %H:%M} UTC{until}")
    _warn_if_off(settings)


@run.command()
def revoke(caller: Caller) -> None:
    """Refuse a caller's key from now on."""
    from perennial.config.settings import Settings
    from perennial.steps import keys

    settings = Settings.load()
    keys.revoke_key(settings, caller, actor=_actor())
    keys.apply_keys(settings)
    typer.echo(f"{caller}: revoked")
    _warn_if_off(settings)


def _actor() -> str:
    return f"cli:{getpass.getuser()}"


def _warn_if_off(settings: "Settings") -> None:
    if settings.api_keys == "off":
        typer.echo("No key is asked for now: set PERENNIAL_API_KEYS=required in .env, then: perennial up", err=True)
