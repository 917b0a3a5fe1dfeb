"""The connection to a table of scores, and what Postgres says when it refuses."""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from psycopg2 import sql

from perennial.postgres import SCORES, connect, translated

if TYPE_CHECKING:
    from psycopg2.extensions import connection


@contextmanager
def connected(url: str, name: str) -> Iterator["connection"]:
    """A connection whose errors are ours; one `with` block of it is one transaction."""
    with translated(SCORES, about=name), closing(connect(url, SCORES, about=name)) as connection:
        yield connection


def listed(names: Iterable[str]) -> sql.Composed:
    """Names of columns, quoted; for statements that are executed with values."""
    return sql.SQL(", ").join(map(identifier, names))


def identifier(name: str) -> sql.Identifier:
    """A name, quoted; for statements that are executed with values, in which psycopg2 takes a single % for a value's place."""
    return sql.Identifier(name.replace("%", "%%"))
