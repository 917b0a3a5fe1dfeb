"""What each window of each model showed: the table `verdict`."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from psycopg2.extras import Json

from perennial.adapters.state.connection import Connection
from perennial.contracts.monitoring import Finding, Verdict

_COLUMNS = ", ".join(Verdict.__dataclass_fields__)
_VALUES = ", ".join(f"%({name})s" for name in Verdict.__dataclass_fields__)
_KEY = ("model", "window_start", "window_end")
_CHANGES = ", ".join(f"{name} = EXCLUDED.{name}" for name in Verdict.__dataclass_fields__ if name not in _KEY)


class VerdictTable(Connection):
    """Reads and writes of the table `verdict`."""

    def write_verdict(self, verdict: Verdict) -> None:
        """Record what a window showed; one row per model and window, the last word stays."""
        values = {name: getattr(verdict, name) for name in Verdict.__dataclass_fields__}
        values |= {
            "reasons": Json(list(verdict.reasons)),
            "findings": Json([asdict(finding) for finding in verdict.findings]),
        }
        with self._transaction() as cursor:
            cursor.execute(
                f"""INSERT INTO verdict ({_COLUMNS}) VALUES ({_VALUES})
                    ON CONFLICT ({", ".join(_KEY)}) DO UPDATE SET {_CHANGES}, decided_at = now()""",
                values,
            )

    def read_verdict(self, model: str, *, start: datetime, end: datetime) -> Verdict | None:
        """The verdict on one window, or none."""
        rows = self._fetch(
            f"SELECT {_COLUMNS} FROM verdict WHERE model = %s AND window_start = %s AND window_end = %s", (model, start, end)
        )
        return _verdict(rows[0]) if rows else None

    def read_verdicts(
        self,
        model: str,
        *,
        before: datetime,
        limit: int,
        model_version: int | None = None,
        decided_since: datetime | None = None,
    ) -> tuple[Verdict, ...]:
        """Verdicts on the latest windows that ended at or before an instant, the newest first; of one version, or of any.

        `decided_since` is of the clock, not of the data: what was decided before it is left out.
        Several windows that ended at once are one for the reader: the shortest.
        """
        rows = self._fetch(
            f"""SELECT * FROM (
                    SELECT DISTINCT ON (window_end) {_COLUMNS} FROM verdict
                    WHERE model = %(model)s AND window_end <= %(before)s
                        AND (%(version)s::integer IS NULL OR model_version = %(version)s)
                        AND (%(since)s::timestamptz IS NULL OR decided_at >= %(since)s)
                    ORDER BY window_end DESC, window_start DESC) AS latest
                ORDER BY window_end DESC LIMIT %(limit)s""",
            {"model": model, "before": before, "version": model_version, "since": decided_since, "limit": limit},
        )
        return tuple(_verdict(row) for row in rows)


def _verdict(row: Mapping[str, Any]) -> Verdict:
    findings = tuple(Finding(**finding) for finding in row["findings"])
    return Verdict(**{**row, "reasons": tuple(row["reasons"]), "findings": findings})
