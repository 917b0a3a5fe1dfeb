"""What the prediction log says of a window, for monitoring. Reads `prediction` and `traffic` only.

Windows of rows are half-open and of event time: the caller's where it was given, else the moment of the prediction. What the
service did is of the moment itself: requests and their latencies are counted by the clock.
"""

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import orjson

from perennial.adapters.state.connection import Connection

if TYPE_CHECKING:
    import pandas as pd
    from psycopg2.extras import RealDictCursor

_COPY_CHUNK = 256 * 1024
_EVENT = "coalesce(event_at, predicted_at)"
_IN_WINDOW = f"model = %(model)s AND kind = 'live' AND {_EVENT} >= %(start)s AND {_EVENT} < %(end)s"
# A number for each row, and one for each entity: of an anonymous row its own. Who uses one request id twice differs by time.
_ROW_HASH = "hashtextextended(request_id, timestamp_hash_extended(predicted_at AT TIME ZONE 'UTC', row_number))"
_ENTITY_HASH = f"CASE entity WHEN '' THEN {_ROW_HASH} ELSE hashtextextended(entity, 0) END"
# A distinct count of texts would sort them.
_COUNT_WINDOW = f"""
    SELECT model_version, count(*) AS n_rows, count(*) FILTER (WHERE entity = '') AS n_anonymous,
        count(DISTINCT hashtextextended(entity, 0)) FILTER (WHERE entity <> '') AS n_entities,
        min({_EVENT}) AS first_event_at, max({_EVENT}) AS last_event_at,
        min(predicted_at) AS first_predicted_at, max(predicted_at) AS last_predicted_at
    FROM prediction WHERE {_IN_WINDOW} GROUP BY model_version ORDER BY model_version"""
# A line of COPY that is JSON has nothing to unescape but backslashes.
_COLUMNS = ("entity", "event_at", "predicted_at", "prediction", "milliseconds", "row_number", "request_id")
_AS_JSON = f"""json_build_array(entity, (extract(epoch FROM {_EVENT}) * 1000000)::bigint,
        (extract(epoch FROM predicted_at) * 1000000)::bigint, prediction, milliseconds, row_number, request_id, features)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionCounts:
    """Live rows of one model version in a window. `n_anonymous` of them do not say whom they are about."""

    model_version: int
    n_rows: int
    n_anonymous: int
    n_entities: int
    first_event_at: datetime
    last_event_at: datetime
    first_predicted_at: datetime
    last_predicted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowCounts:
    """Live rows in a window by model version, in the order of the versions; empty where there are none."""

    versions: Sequence[VersionCounts]

    @property
    def n_rows(self) -> int:
        return sum(each.n_rows for each in self.versions)

    def find_latest(self, champions: Collection[int]) -> VersionCounts | None:
        """The version of the latest event among those that serve or served; of two at one instant the one that predicted last.

        A challenger's canary answers a few callers meanwhile, and may answer the last one. It counts where nobody else answered.
        """
        served = [each for each in self.versions if each.model_version in champions] or self.versions
        return max(served, key=lambda each: (each.last_event_at, each.last_predicted_at, each.model_version), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRows:
    """Rows of a window, in order of event time.

    `rows` has the columns entity ('' where anonymous), event_at and predicted_at (UTC), prediction (NaN where the model gave no
    number), milliseconds, row_number and request_id. `features` is as long, with the types that JSON has, and a column per
    feature; without any column where there are no rows.
    """

    rows: "pd.DataFrame"
    features: "pd.DataFrame"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceCounts:
    """Live requests to one version; failed ones were answered 5xx, refused ones 4xx. Rows are those that were looked at."""

    n_requests: int
    n_failed: int
    n_refused: int
    n_rows: int
    n_refused_rows: int


class WindowTable(Connection):
    """Reads of windows of the prediction log."""

    def read_window(self, model: str, *, start: datetime, end: datetime) -> WindowCounts:
        """Live rows with an event in `[start, end)`, by version."""
        rows = self._fetch(_COUNT_WINDOW, {"model": model, "start": start, "end": end})
        return WindowCounts(versions=tuple(VersionCounts(**row) for row in rows))

    def read_window_rows(self, model: str, model_version: int, *, start: datetime, end: datetime, max_rows: int) -> WindowRows:
        """Live rows of one version with an event in `[start, end)`: all of them, or a sample of `max_rows`.

        The sample is drawn by entities, so that all rows of one are in it or none are (but of the last entity that found room),
        and by a hash of them: the same window has always the same sample, and one entity is drawn in every window or in none.
        """
        window = {"model": model, "version": model_version, "start": start, "end": end, "n": max_rows}
        with self._transaction() as cursor:
            # Two looks, and what is logged between them belongs to neither.
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            where = cursor.mogrify(f"{_IN_WINDOW} AND model_version = %(version)s", window).decode()
            logged = _copy_rows(cursor, where + _cut(cursor, where, max_rows))
        return _to_window_rows(logged)

    def read_service(self, model: str, model_version: int, *, start: datetime, end: datetime) -> ServiceCounts:
        """Live requests from `start` until before `end` by the clock, to the second; also those whose rows were not kept."""
        rows = self._fetch(
            """SELECT coalesce(sum(n_requests), 0)::bigint AS n_requests,
                      coalesce(sum(n_requests) FILTER (WHERE status >= 500), 0)::bigint AS n_failed,
                      coalesce(sum(n_requests) FILTER (WHERE status BETWEEN 400 AND 499), 0)::bigint AS n_refused,
                      coalesce(sum(n_rows), 0)::bigint AS n_rows,
                      coalesce(sum(n_rows) FILTER (WHERE status BETWEEN 400 AND 499), 0)::bigint AS n_refused_rows
               FROM traffic WHERE model = %s AND model_version = %s AND kind = 'live'
                   AND at >= date_trunc('second', %s::timestamptz) AND at < %s""",
            (model, model_version, start, end),
        )
        return ServiceCounts(**rows[0])


def _cut(cursor: "RealDictCursor", where: str, max_rows: int) -> str:
    """A condition that leaves the first rows in the order of the sample, found without a look at their features."""
    cursor.execute(
        f"""SELECT {_ENTITY_HASH} AS entity_hash, {_ROW_HASH} AS row_hash FROM prediction WHERE {where}
            ORDER BY entity_hash, row_hash OFFSET {max_rows:d} LIMIT 1"""
    )
    first_out = cursor.fetchone()
    if first_out is None:
        return ""
    return f" AND ({_ENTITY_HASH}, {_ROW_HASH}) < ({first_out['entity_hash']:d}, {first_out['row_hash']:d})"


def _copy_rows(cursor: "RealDictCursor", where: str) -> list[list[object]]:
    content = io.BytesIO()
    cursor.copy_expert(f"COPY (SELECT {_AS_JSON} FROM prediction WHERE {where}) TO STDOUT", content, size=_COPY_CHUNK)
    lines = content.getvalue().replace(b"\\\\", b"\\").replace(b"\n", b",")
    rows: list[list[object]] = orjson.loads(b"[%b]" % lines[:-1])
    return rows


def _to_window_rows(logged: Sequence[Sequence[object]]) -> WindowRows:
    import pandas as pd

    columns = list(zip(*logged, strict=True)) or [()] * (len(_COLUMNS) + 1)
    rows = pd.DataFrame(dict(zip(_COLUMNS, columns, strict=False)))
    for name in ("event_at", "predicted_at"):
        rows[name] = pd.to_datetime(rows[name].astype("int64"), unit="us", utc=True)
    # JSON has no NaN: Postgres writes it as a text.
    rows = rows.astype({"prediction": "float64", "milliseconds": "float64", "row_number": "int64"})
    order = rows.sort_values(["event_at", "predicted_at", "request_id", "row_number"]).index
    features = pd.DataFrame.from_records(columns[-1])
    return WindowRows(rows=rows.loc[order].reset_index(drop=True), features=features.loc[order].reset_index(drop=True))
