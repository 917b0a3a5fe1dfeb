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
    """Names of columns, quoted."""
    return sql.SQL(", ").join(map(sql.Identifier, names))
