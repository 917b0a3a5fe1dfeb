"""The connection to a table of scores, and what Postgres says when it refuses."""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import psycopg2
import psycopg2.errors
from psycopg2 import sql

from perennial.errors import ConfigurationError, PerennialError, QueryError, UnavailableError

if TYPE_CHECKING:
    from psycopg2.extensions import connection

ROLE_STEP = "docs/scoring.md says what the role of PERENNIAL_WAREHOUSE_WRITER_URL needs; the embedded one: perennial up"
_OPTIONS = "-c timezone=UTC"


@contextmanager
def connected(url: str, name: str) -> Iterator["connection"]:
    """A connection whose errors are ours; one `with` block of it is one transaction."""
    try:
        with closing(psycopg2.connect(url, connect_timeout=10, application_name="perennial", options=_OPTIONS)) as connection:
            yield connection
    except psycopg2.Error as error:
        raise _translate(error, name) from error


def _translate(error: psycopg2.Error, name: str) -> PerennialError:
    # In one line, without its DETAIL: that quotes rows, and rows hold personal data.
    said = error.diag.message_primary or str(error).strip().partition("\n")[0]
    if isinstance(error, psycopg2.errors.InsufficientPrivilege | psycopg2.errors.ReadOnlySqlTransaction):
        return ConfigurationError(f"no access to {name} in the warehouse: {said}", ROLE_STEP)
    if "authentication failed" in said:
        return ConfigurationError(f"the warehouse lets nobody in for {name}: {said}", ROLE_STEP)
    if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
        return UnavailableError(f"the warehouse does not answer for {name}: {said}", "see: perennial status")
    return QueryError(
        f"the warehouse refused scores for {name}: {said}", "compare the table with the query, then: perennial check"
    )


def listed(names: Iterable[str]) -> sql.Composed:
    """Names of columns, quoted."""
    return sql.SQL(", ").join(map(sql.Identifier, names))
