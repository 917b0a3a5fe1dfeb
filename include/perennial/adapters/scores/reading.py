"""Reading a table of scores by windows of event time, as the prediction log is read.

A window is half-open. An entity has the text that it has in the prediction log: its key as a JSON array.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from psycopg2 import sql

from perennial.adapters.scores.connection import connected, listed

if TYPE_CHECKING:
    import pandas as pd

_COUNTS = """
    SELECT model_version, count(*), max(event_at)
    FROM {table} WHERE event_at >= %(start)s AND event_at < %(end)s GROUP BY model_version ORDER BY model_version
"""
_SAMPLE = """
    WITH keyed AS (
        SELECT jsonb_build_array({key})::text AS entity, event_at, prediction, features
        FROM {table} WHERE event_at >= %(start)s AND event_at < %(end)s AND model_version = %(version)s),
    chosen AS (SELECT * FROM keyed ORDER BY hashtextextended(entity, 0), entity, event_at LIMIT %(max_rows)s)
    SELECT * FROM chosen ORDER BY event_at, entity
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCounts:
    """Scores of one model version in a window."""

    model_version: int
    n_rows: int
    newest_event_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRows:
    """Scores of a window in the order of event time.

    `rows` has the columns entity, event_at (UTC) and prediction. `features` is as long, with the types that JSON has, and a
    column per feature; without any column where there are no rows.
    """

    rows: "pd.DataFrame"
    features: "pd.DataFrame"


def count_scores(url: str, name: str, key: Sequence[str], *, start: datetime, end: datetime) -> list[ScoreCounts]:
    """Scores of events in `[start, end)` by version; none where the table is not there yet. Raises as `read_scores` does."""
    found = _read(url, name, key, _COUNTS, {"start": start, "end": end})
    return [ScoreCounts(model_version=row[0], n_rows=row[1], newest_event_at=row[2]) for row in found]


def read_scores(
    url: str, name: str, key: Sequence[str], model_version: int, *, start: datetime, end: datetime, max_rows: int
) -> ScoreRows:
    """Scores of one version for events in `[start, end)`: all of them, or a sample of `max_rows` that is drawn by entity.

    The same window has always the same sample. A table that is not there yet holds no scores.

    Raises
    ------
    QueryError
        When Postgres refuses: it is no table of scores.
    ConfigurationError
        When the role may not read it.
    UnavailableError
        When the warehouse does not answer.
    """
    window = {"start": start, "end": end, "version": model_version, "max_rows": max_rows}
    return _to_rows(_read(url, name, key, _SAMPLE, window))


def _read(url: str, name: str, key: Sequence[str], statement: str, values: dict[str, object]) -> list[tuple[Any, ...]]:
    with connected(url, name) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NULL", (name,))
        if cursor.fetchone() == (True,):
            return []
        cursor.execute(sql.SQL(statement).format(table=sql.Identifier(*name.split(".")), key=listed(key)), values)
        return cursor.fetchall()


def _to_rows(found: Sequence[tuple[Any, ...]]) -> ScoreRows:
    import pandas as pd

    rows = pd.DataFrame([row[:3] for row in found], columns=["entity", "event_at", "prediction"]).astype(
        {"prediction": "float64"}
    )
    rows["event_at"] = pd.to_datetime(rows["event_at"], utc=True)
    return ScoreRows(rows=rows, features=pd.DataFrame.from_records([row[3] for row in found]))
