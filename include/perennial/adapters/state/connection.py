"""The connection to the state database that all of its tables share."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import psycopg2
from psycopg2.extras import RealDictCursor

from perennial.errors import PermanentError, UnavailableError

if TYPE_CHECKING:
    from psycopg2.extensions import connection

# Instants come back in the session's time zone: whatever the server's is, they are to be UTC.
_OPTIONS: dict[str, Any] = {"connect_timeout": 10, "application_name": "perennial", "options": "-c timezone=UTC"}


class Connection:
    """One connection to the state database; every method is one transaction. Use as a context manager.

    Raises
    ------
    UnavailableError
        From any method, when Postgres does not answer.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: connection | None = None

    def __enter__(self) -> Self:
        try:
            self._connection = psycopg2.connect(self._url, **_OPTIONS)
        except psycopg2.OperationalError as error:
            raise UnavailableError(f"the state database does not answer: {error}".strip(), "see: perennial status") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[RealDictCursor]:
        with self._opened() as opened, opened, opened.cursor(cursor_factory=RealDictCursor) as cursor:
            yield cursor

    @contextmanager
    def _no_transaction(self) -> Iterator[RealDictCursor]:
        """For a statement that can be in none."""
        with self._opened() as opened:
            opened.autocommit = True
            try:
                with opened.cursor(cursor_factory=RealDictCursor) as cursor:
                    yield cursor
            finally:
                if not opened.closed:
                    opened.autocommit = False

    @contextmanager
    def _opened(self) -> Iterator["connection"]:
        if self._connection is None:
            raise PermanentError("the state database is used outside its `with` block")
        try:
            yield self._connection
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            raise UnavailableError(f"the state database went away: {describe(error)}", "see: perennial status") from error

    def _fetch(self, sql: str, values: tuple[object, ...] | Mapping[str, object]) -> Sequence[Mapping[str, Any]]:
        with self._transaction() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall()

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock that all processes share; waits for it. Postgres frees it when the holder dies."""
        with self._transaction() as cursor:
            cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (name,))
        try:
            yield
        finally:
            with self._transaction() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (name,))


def describe(error: psycopg2.Error) -> str:
    """What Postgres says in one line, without its DETAIL and CONTEXT: these quote rows, and rows hold personal data."""
    return error.diag.message_primary or str(error).strip().partition("\n")[0]
