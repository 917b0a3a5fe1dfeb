"""What the prediction log holds of a replayed period: live rows of requests whose id says that a replay sent them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from perennial.adapters.state.connection import Connection

if TYPE_CHECKING:
    import pandas as pd

# As the windows of monitoring have it, so that the index over it serves both.
_OF_REPLAY = """model = %(model)s AND kind = 'live' AND coalesce(event_at, predicted_at) >= %(start)s
    AND coalesce(event_at, predicted_at) < %(end)s AND starts_with(request_id, %(prefix)s)"""
_COLUMNS = ("entity", "event_at", "model_version", "prediction")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """Whose rows are meant: a model's, of event times in `[start, end)`, sent under ids with this prefix."""

    model: str
    start: datetime
    end: datetime
    prefix: str

    @property
    def values(self) -> Mapping[str, object]:
        return {"model": self.model, "start": self.start, "end": self.end, "prefix": self.prefix}


class ReplayTable(Connection):
    """Reads of the prediction log."""

    def read_replayed_requests(self, replayed: Replayed) -> dict[str, int]:
        """How many rows of each request are there, by its id."""
        sql = f"SELECT request_id, count(*) AS n_rows FROM prediction WHERE {_OF_REPLAY} GROUP BY request_id"
        return {row["request_id"]: row["n_rows"] for row in self._fetch(sql, replayed.values)}

    def read_first_replayed_version(self, replayed: Replayed) -> int | None:
        """The version that answered the first of them, in the order in which they were answered; None where there are none."""
        sql = f"SELECT model_version FROM prediction WHERE {_OF_REPLAY} ORDER BY predicted_at LIMIT 1"
        rows: Sequence[Mapping[str, int]] = self._fetch(sql, replayed.values)
        return rows[0]["model_version"] if rows else None

    def read_replayed_rows(self, replayed: Replayed) -> "pd.DataFrame":
        """Entity, event time, version and prediction of each row; of a row that was answered twice, the first answer."""
        import pandas as pd

        rows = self._fetch(
            f"""SELECT DISTINCT ON (request_id, row_number) {", ".join(_COLUMNS)} FROM prediction WHERE {_OF_REPLAY}
                ORDER BY request_id, row_number, predicted_at""",
            replayed.values,
        )
        return pd.DataFrame([tuple(row.values()) for row in rows], columns=list(_COLUMNS))
