"""`perennial psql …`."""

import os

import typer

# What the command answers without the stack.
_STANDS_ALONE = frozenset({"--help", "-?", "--version", "-V"})


def run(context: typer.Context) -> None:
    from perennial.config.settings import Settings
    from perennial.stack.postgres import binary
    from perennial.stack.running import require

    settings, command = Settings.load(), str(binary("psql"))
    login: dict[str, str] = {}
    if not _STANDS_ALONE.intersection(context.args):
        require(settings, "postgres")
        login = {
            "PGHOST": settings.postgres_host,
            "PGPORT": str(settings.postgres_port),
            "PGDATABASE": "perennial",
            "PGUSER": "perennial",
            "PGPASSWORD": settings.secret("perennial_password"),
        }
    os.execve(command, [command, *context.args], {**os.environ, **login})
