"""Connections to Postgres: the same session everywhere, and errors that are ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from perennial.errors import ConfigurationError
from perennial.postgres.faults import Database, read_psycopg, to_error
from perennial.postgres.urls import find_url_fault

if TYPE_CHECKING:
    from psycopg2.extensions import connection

# What a URL may say otherwise.
_DEFAULTS = {"connect_timeout": "10", "application_name": "perennial"}
# A query that cuts days or hours off an instant must not depend on the server's own time zone.
_SESSION = "-c timezone=UTC"


def build_dsn(url: str, database: Database, *, session: str = "") -> str:
    """A URL and our session as libpq's keywords and values, which every library takes.

    Parameters
    ----------
    session
        Further settings of the session, as `-c name=value`.

    Raises
    ------
    ConfigurationError
        When libpq does not take the URL, naming the setting and nothing of its value.
    """
    from psycopg2.extensions import make_dsn, parse_dsn

    if fault := find_url_fault(url):
        raise ConfigurationError(f"{database.setting}: {fault}", "see it in .env or the environment")
    given = parse_dsn(url)
    options = " ".join(part for part in (given.get("options", ""), _SESSION, session) if part)
    # Whatever encoding the database has, Arrow and Python want this one.
    return str(make_dsn(**{**_DEFAULTS, **given, "client_encoding": "UTF8", "options": options}))


def connect(url: str, database: Database, *, about: str = "", session: str = "") -> "connection":
    """A new connection through psycopg2.

    Raises
    ------
    ConfigurationError
        When the URL is wrong or the login is refused.
    UnavailableError
        When Postgres does not answer.
    """
    import psycopg2

    dsn = build_dsn(url, database, session=session)
    with translated(database, about=about):
        return psycopg2.connect(dsn)


@contextmanager
def translated(database: Database, *, about: str = "") -> Iterator[None]:
    """Turn errors of psycopg2 into ours, by the table of SQLSTATE classes."""
    import psycopg2

    try:
        yield
    except psycopg2.Error as error:
        raise to_error(read_psycopg(error), database, about=about) from error
