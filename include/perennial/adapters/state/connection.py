"""The connection to the state database that all of its tables share."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from psycopg2.extras import RealDictCursor

from perennial.errors import PermanentError
from perennial.postgres import STATE, connect, translated

if TYPE_CHECKING:
    from psycopg2.extensions import connection


class Connection:
    """One connection to the state database; every method is one transaction. Use as a context manager.

    Raises
    ------
    UnavailableError
        From any method, when Postgres does not answer.
    ConfigurationError
        When it refuses the login.
    QueryError
        When it refuses a statement: its tables are of another version.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: connection | None = None

    def __enter__(self) -> Self:
        self._connection = connect(self._url, STATE)
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
        with translated(STATE):
            yield self._connection

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
