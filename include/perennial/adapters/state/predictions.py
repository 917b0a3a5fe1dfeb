"""The prediction log: `prediction` by UTC day, `traffic` by second, and how far each journal has been taken over."""

import io
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import orjson
import psycopg2
import psycopg2.errors
from psycopg2.extras import execute_values

from perennial.adapters.state.connection import Connection
from perennial.errors import PredictionRefused, QueryError, UnavailableError
from perennial.postgres import describe

if TYPE_CHECKING:
    from psycopg2.extras import RealDictCursor

_LOCK = "prediction-log"
_COPY = """COPY prediction (predicted_at, model, model_version, kind, request_id, row_number, features, prediction, milliseconds,
                            entity, event_at) FROM STDIN"""
_COPY_CHUNK = 256 * 1024
# Whether a day's table is there, and how it is attached: NULL is not at all.
_STATE_OF_DAY = """SELECT to_regclass(%(name)s) IS NULL AS is_missing,
                          (SELECT inhdetachpending FROM pg_inherits
                           WHERE inhrelid = to_regclass(%(name)s) AND inhparent = 'prediction'::regclass) AS is_leaving"""
# Postgres' class of errors for what is too large: an identifier for its index, a row nested too deeply.
_LIMIT_EXCEEDED = "54"
# A position whose journal is gone; young ones stay, in case a disk was only not there for a while.
_FORGOTTEN_AFTER = timedelta(days=1)
_ANONYMOUS = b"\t\\N"
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRequest:
    """One answered request. `rows` and `predictions` are as long as each other: `n_rows`, or 0 where they were not kept.

    `entities` and `event_at` are as long as `rows`, or empty where no row said whom it is about and when.
    """

    predicted_at: datetime
    request_id: str
    kind: str
    model: str
    model_version: int
    status: int
    milliseconds: float
    n_rows: int
    rows: Sequence[Mapping[str, object]] = ()
    predictions: Sequence[float] = ()
    entities: Sequence[str] = ()
    event_at: Sequence[datetime | None] = ()


class PredictionStore(Connection):
    """Writes the prediction log; one connection at a time may. Raises as `Connection` does."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._days: set[date] = set()

    @contextmanager
    def _transaction(self) -> Iterator["RealDictCursor"]:
        try:
            with super()._transaction() as cursor:
                yield cursor
        except QueryError as error:
            # Tables that are not there yet, no right to them: somebody is about to mend it, and the predictions can wait.
            raise UnavailableError(f"predictions cannot be written: {error.what}", error.next_step) from error

    def take_over(self) -> bool:
        """Whether this connection is, or just became, the one that writes. It stays so until it ends."""
        (row,) = self._fetch("SELECT pg_try_advisory_lock(hashtextextended(%s, 0)) AS is_taken", (_LOCK,))
        return bool(row["is_taken"])

    def read_positions(self) -> dict[str, int]:
        """How far each journal segment has been taken over."""
        return {row["segment"]: row["position"] for row in self._fetch("SELECT segment, position FROM prediction_journal", ())}

    def write_requests(self, requests: Sequence[LoggedRequest], *, segment: str, start: int, end: int) -> None:
        """Take over what a segment holds from `start` to `end`, in one transaction.

        Raises
        ------
        PredictionRefused
            When the database refuses one of the requests; nothing of them is written.
        UnavailableError
            When it is away, has no such tables or no longer a day's table, or somebody else has moved the segment's position
            meanwhile.
        """
        self.make_days(request.predicted_at.astimezone(UTC).date() for request in requests if request.rows)
        content = _copy_content(requests)
        with self._transaction() as cursor:
            _move_position(cursor, segment, start, end)
            try:
                cursor.copy_expert(_COPY, content, size=_COPY_CHUNK)
                _add_traffic(cursor, requests)
            except psycopg2.Error as error:
                if _lacks_a_day(error):
                    self._days.clear()
                elif _is_refusal(error):
                    raise PredictionRefused(f"the state database refuses predictions: {describe(error)}") from error
                raise

    def make_days(self, days: Iterable[date]) -> None:
        """Make the partitions of these UTC days where they are missing; a day's table that was detached is attached again.

        Notes
        -----
        A partition is made as a table of its own and attached, which readers and writers of the others do not notice; made in
        place, it would wait for all of them and stop those that come after.
        """
        for day in set(days) - self._days:
            self._make_day(day)
            self._days.add(day)

    def _make_day(self, day: date) -> None:
        name, values = f"prediction_{day:%Y%m%d}", (f"{day}+00", f"{day + timedelta(days=1)}+00")
        with self._transaction() as cursor:
            cursor.execute(_STATE_OF_DAY, {"name": name})
            (state,) = cursor.fetchall()
            if state["is_leaving"]:
                step = f"if nobody does it any more: ALTER TABLE prediction DETACH PARTITION {name} FINALIZE"
                raise UnavailableError(f"{name} is being detached", step)
            if state["is_missing"]:
                cursor.execute(f"CREATE TABLE {name} (LIKE prediction INCLUDING ALL)")
            if state["is_leaving"] is None:
                # Also a table that was detached and is still there.
                cursor.execute(f"ALTER TABLE prediction ATTACH PARTITION {name} FOR VALUES FROM (%s) TO (%s)", values)

    def forget_segment(self, segment: str) -> None:
        """Drop the position of a segment that is deleted."""
        with self._transaction() as cursor:
            cursor.execute("DELETE FROM prediction_journal WHERE segment = %s", (segment,))

    def forget_segments_but(self, segments: Sequence[str]) -> None:
        """Drop positions that were left behind: their segments are not among these, and not of the last day."""
        with self._transaction() as cursor:
            cursor.execute(
                "DELETE FROM prediction_journal WHERE segment <> ALL (%s) AND shipped_at < now() - %s",
                (list(segments), _FORGOTTEN_AFTER),
            )


def _move_position(cursor: "RealDictCursor", segment: str, start: int, end: int) -> None:
    cursor.execute(
        """INSERT INTO prediction_journal AS known (segment, position) VALUES (%s, %s)
           ON CONFLICT (segment) DO UPDATE SET position = EXCLUDED.position, shipped_at = now() WHERE known.position = %s""",
        (segment, end, start),
    )
    if cursor.rowcount != 1:
        raise UnavailableError(f"somebody else has taken over {segment} beyond byte {start}")


def _lacks_a_day(error: psycopg2.Error) -> bool:
    """Whether a row found no partition: somebody dropped or detached the day after it was made."""
    return isinstance(error, psycopg2.errors.CheckViolation) and not error.diag.constraint_name


def _is_refusal(error: psycopg2.Error) -> bool:
    """Whether the database refuses what the requests hold; all else, as a full disk or a missing table, is no fault of theirs."""
    return isinstance(error, psycopg2.DataError | psycopg2.IntegrityError) or (error.pgcode or "").startswith(_LIMIT_EXCEEDED)


def _copy_content(requests: Iterable[LoggedRequest]) -> io.BytesIO:
    try:
        return io.BytesIO(b"".join(_copy_lines(requests)))
    except Exception as error:
        # Rows that could be read but cannot be written, nested too deeply for instance.
        raise PredictionRefused(f"predictions cannot be written as JSON: {type(error).__name__}") from error


def _copy_lines(requests: Iterable[LoggedRequest]) -> Iterator[bytes]:
    for request in requests:
        fixed = (request.predicted_at.isoformat(), request.model, str(request.model_version), request.kind, request.request_id)
        head = "\t".join(value.translate(_ESCAPES) for value in fixed).encode()
        identities = _copy_identities(request)
        for number, (row, prediction) in enumerate(zip(request.rows, request.predictions, strict=True)):
            features = orjson.dumps(row).replace(b"\\", b"\\\\")
            fields = (head, number, features, b"%r" % prediction, b"%r" % request.milliseconds, next(identities))
            yield b"%b\t%d\t%b\t%b\t%b\t%b\n" % fields


def _copy_identities(request: LoggedRequest) -> Iterator[bytes]:
    """Entity and event time of one row after another."""
    if not request.entities:
        yield from itertools.repeat(_ANONYMOUS)
    for entity, event_at in zip(request.entities, request.event_at, strict=True):
        instant = event_at.isoformat() if event_at else "\\N"
        yield f"{entity.translate(_ESCAPES)}\t{instant}".encode()


def _add_traffic(cursor: "RealDictCursor", requests: Iterable[LoggedRequest]) -> None:
    n_requests, n_rows = Counter[tuple[object, ...]](), Counter[tuple[object, ...]]()
    for request in requests:
        second = request.predicted_at.replace(microsecond=0)
        key = (request.model, request.model_version, request.kind, second, request.status)
        n_requests[key] += 1
        n_rows[key] += request.n_rows
    if n_requests:
        execute_values(
            cursor,
            """INSERT INTO traffic (model, model_version, kind, at, status, n_requests, n_rows) VALUES %s
               ON CONFLICT (model, model_version, kind, at, status) DO UPDATE SET
                   n_requests = traffic.n_requests + EXCLUDED.n_requests, n_rows = traffic.n_rows + EXCLUDED.n_rows""",
            [(*key, n_requests[key], n_rows[key]) for key in n_requests],
        )
