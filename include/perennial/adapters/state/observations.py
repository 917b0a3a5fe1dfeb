"""What the prediction log says of a challenger and the champion, for their comparison. Reads `prediction` and `traffic` only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from perennial.adapters.state.connection import Connection

Kind = Literal["live", "shadow", "replay"]

# Of the latest, as many as are compared at a time: enough for any threshold, and read in some hundredths of a second.
_MAX_ROWS = 5_000
# Copies of one request are answered within the gateway's timeout of each other.
_PAIRED_WITHIN = "1 minute"
# Answers that may carry the ids of the copies: above their number only where callers use one id for many requests.
_MAX_ANSWERS = 20 * _MAX_ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCounts:
    """Requests of one version; failed ones were answered 5xx, refused ones 4xx."""

    n_requests: int
    n_failed: int
    n_refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest:
    """One answered request of the log, complete."""

    request_id: str
    rows: Sequence[Mapping[str, object]]
    predictions: Sequence[float]
    milliseconds: float


class ObservationTable(Connection):
    """Reads of the prediction log."""

    def read_clock(self) -> datetime:
        """What time it is for the database, whose clock stages start by."""
        return self._fetch("SELECT clock_timestamp() AS now", ())[0]["now"]  # type: ignore[no-any-return]

    def read_counts(
        self, model: str, model_version: int, *, kind: Kind | None = None, since: datetime, until: datetime | None = None
    ) -> RequestCounts:
        """Requests of one kind, or of all, from `since` until before `until`, to the second."""
        rows = self._fetch(
            """SELECT coalesce(sum(n_requests), 0)::int AS n_requests,
                      coalesce(sum(n_requests) FILTER (WHERE status >= 500), 0)::int AS n_failed,
                      coalesce(sum(n_requests) FILTER (WHERE status BETWEEN 400 AND 499), 0)::int AS n_refused
               FROM traffic WHERE model = %s AND model_version = %s AND (%s::text IS NULL OR kind = %s)
                   AND at >= date_trunc('second', %s::timestamptz) AND (%s::timestamptz IS NULL OR at < %s)""",
            (model, model_version, kind, kind, since, until, until),
        )
        return RequestCounts(**rows[0])

    def read_latencies(self, model: str, model_version: int, *, kind: Kind, since: datetime) -> list[float]:
        """Milliseconds that the latest answered requests took."""
        rows = self._fetch(
            """SELECT milliseconds FROM prediction
               WHERE model = %s AND model_version = %s AND kind = %s AND predicted_at >= %s AND row_number = 0
               ORDER BY predicted_at DESC LIMIT %s""",
            (model, model_version, kind, since, _MAX_ROWS),
        )
        return [row["milliseconds"] for row in rows]

    def read_predictions(self, model: str, model_version: int, *, kind: Kind, since: datetime) -> tuple[list[float], int]:
        """Predictions of the latest rows, one for each different row, and of how many requests they are."""
        rows = self._fetch(
            """WITH latest AS (
                   SELECT request_id, features, prediction FROM prediction
                   WHERE model = %s AND model_version = %s AND kind = %s AND predicted_at >= %s
                   ORDER BY predicted_at DESC LIMIT %s)
               SELECT (SELECT count(DISTINCT request_id) FROM latest) AS n_requests, min(prediction) AS prediction
               FROM latest GROUP BY features""",
            (model, model_version, kind, since, _MAX_ROWS),
        )
        return [row["prediction"] for row in rows], rows[0]["n_requests"] if rows else 0

    def read_pairs(self, model: str, *, challenger: int, champion: int, since: datetime) -> list[tuple[float, float, int]]:
        """What both versions predicted for the latest copied rows: challenger's, champion's, how often.

        A row is the same where request, number and content are: callers may use one request id twice.

        Notes
        -----
        Grouped, not joined row by row: for a caller whose requests all have one id, that would be each copy with each answer.
        Of such a caller's answers no more than some are read, and those copies that find no partner among them are left out.
        """
        rows = self._fetch(
            f"""WITH copied AS (
                   SELECT predicted_at, request_id, row_number, features, prediction FROM prediction
                   WHERE model = %(model)s AND model_version = %(challenger)s AND kind = 'shadow' AND predicted_at >= %(since)s
                   ORDER BY predicted_at DESC LIMIT {_MAX_ROWS}),
               wanted AS (
                   SELECT request_id, min(predicted_at) - interval '{_PAIRED_WITHIN}' AS first,
                       max(predicted_at) + interval '{_PAIRED_WITHIN}' AS last
                   FROM copied GROUP BY request_id),
               answered AS (
                   SELECT request_id, row_number, features, live.prediction
                   FROM wanted JOIN prediction AS live USING (request_id)
                   WHERE live.model = %(model)s AND live.model_version = %(champion)s AND live.kind = 'live'
                       AND live.predicted_at >= %(since)s - interval '{_PAIRED_WITHIN}'
                       AND live.predicted_at BETWEEN wanted.first AND wanted.last
                   LIMIT {_MAX_ANSWERS}),
               both_of AS (
                   SELECT request_id, row_number, features, prediction AS challenger, NULL AS champion FROM copied
                   UNION ALL SELECT request_id, row_number, features, NULL, prediction FROM answered),
               paired AS (
                   SELECT features, min(challenger) AS challenger, min(champion) AS champion, count(challenger) AS n_copies
                   FROM both_of GROUP BY request_id, row_number, features)
               SELECT challenger, champion, sum(n_copies)::int AS n FROM paired
               WHERE champion IS NOT NULL AND n_copies > 0 GROUP BY features, challenger, champion""",
            {"model": model, "challenger": challenger, "champion": champion, "since": since},
        )
        return [(row["challenger"], row["champion"], row["n"]) for row in rows]

    def read_latest_requests(self, model: str, model_version: int, *, limit: int) -> list[RecordedRequest]:
        """The latest live requests whose rows are on record, the latest first; fewer where they have very many rows."""
        rows = self._fetch(
            """WITH latest AS (
                   SELECT request_id, predicted_at FROM prediction
                   WHERE model = %(model)s AND model_version = %(version)s AND kind = 'live' AND row_number = 0
                   ORDER BY predicted_at DESC LIMIT %(limit)s)
               SELECT request_id, predicted_at, row_number, features, prediction, milliseconds
               FROM latest JOIN prediction USING (request_id, predicted_at)
               WHERE model = %(model)s AND model_version = %(version)s AND kind = 'live'
               ORDER BY predicted_at DESC, request_id, row_number LIMIT %(most)s""",
            {"model": model, "version": model_version, "limit": limit, "most": _MAX_ROWS + 1},
        )
        requests: dict[tuple[str, datetime], list[Mapping[str, object]]] = {}
        for row in rows:
            requests.setdefault((row["request_id"], row["predicted_at"]), []).append(row)
        if len(rows) > _MAX_ROWS:
            # The last one was cut, or would not fit.
            requests.popitem()
        return [_to_request(key[0], found) for key, found in requests.items()]


def _to_request(request_id: str, rows: Sequence[Mapping[str, object]]) -> RecordedRequest:
    return RecordedRequest(
        request_id=request_id,
        rows=tuple(row["features"] for row in rows),  # type: ignore[misc]
        predictions=tuple(float(str(row["prediction"])) for row in rows),
        milliseconds=float(str(rows[0]["milliseconds"])),
    )
