"""Scores of a window, for who watches the model that made them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from psycopg2 import sql

from perennial.adapters.scores.connection import connected, listed

if TYPE_CHECKING:
    import pandas as pd

_SAMPLE = """
    WITH window_rows AS (
        SELECT jsonb_build_array({key})::text AS entity, event_at, prediction, model_version, features, count(*) OVER () AS n_rows
        FROM {table} WHERE event_at >= %(start)s AND event_at < %(end)s),
    chosen AS (SELECT * FROM window_rows ORDER BY hashtextextended(entity, 0), entity, event_at LIMIT %(max_rows)s)
    SELECT * FROM chosen ORDER BY event_at, entity
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSample:
    """Scores of a window in the order of event time: all `n_rows` of them, or a sample chosen by entity.

    `rows` has the columns entity (its key as JSON text, as in the prediction log), event_at, prediction and model_version;
    `features` is as long and has a column per feature, none where there are no rows.
    """

    rows: "pd.DataFrame"
    features: "pd.DataFrame"
    n_rows: int


def read_scores(
    url: str, name: str, key: Sequence[str], *, start: datetime, end: datetime, max_rows: int = 100_000
) -> ScoreSample:
    """Scores of events in `[start, end)` by their time; of more than `max_rows`, the same part each time.

    A table that is not there yet holds none.

    Raises
    ------
    QueryError
        When Postgres refuses: the role may not read the table, or it is no table of scores.
    UnavailableError
        When the warehouse does not answer.
    """
    with connected(url, name) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NULL", (name,))
        if cursor.fetchone() == (True,):
            return _to_sample([])
        names = {"table": sql.Identifier(*name.split(".")), "key": listed(key)}
        cursor.execute(sql.SQL(_SAMPLE).format(**names), {"start": start, "end": end, "max_rows": max_rows})
        return _to_sample(cursor.fetchall())


def _to_sample(found: Sequence[tuple[Any, ...]]) -> ScoreSample:
    import pandas as pd

    rows = pd.DataFrame([row[:4] for row in found], columns=["entity", "event_at", "prediction", "model_version"])
    rows = rows.astype({"prediction": "float64", "model_version": "int64"})
    rows["event_at"] = pd.to_datetime(rows["event_at"], utc=True)
    features = pd.DataFrame.from_records([row[4] for row in found])
    return ScoreSample(rows=rows, features=features, n_rows=found[0][5] if found else 0)
