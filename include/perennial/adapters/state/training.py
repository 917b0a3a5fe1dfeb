"""What was trained on and what was decided about it: the tables `snapshot` and `decision`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from psycopg2.extras import Json

from perennial.adapters.state.connection import Connection
from perennial.contracts import Decision, FailedExpectation, Finalist, GateResult, Snapshot, Validation

_DECISION_COLUMNS = ", ".join(Decision.__dataclass_fields__)
ROW_COUNT = "expect_table_row_count_to_be_between"
_SNAPSHOT_COLUMNS = "snapshot_id, model, as_of, window_start AS start, holdout_start, n_rows, digest, sql_digest, dvc_revision"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSnapshot:
    """A snapshot, when it was taken, and the results of the suites that its rows passed."""

    snapshot: Snapshot
    taken_at: datetime
    validations: tuple[Validation, ...]


class TrainingTables(Connection):
    """Reads and writes of the tables `snapshot` and `decision`."""

    def write_snapshot(self, snapshot: Snapshot, validations: tuple[Validation, ...]) -> None:
        """Record a snapshot; the same one again changes nothing but where a data registry made anew holds it."""
        with self._transaction() as cursor:
            cursor.execute(
                """INSERT INTO snapshot (snapshot_id, model, as_of, window_start, holdout_start, n_rows, digest, sql_digest,
                                         dvc_revision, validation)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
                   ON CONFLICT (snapshot_id) DO UPDATE SET dvc_revision = EXCLUDED.dvc_revision""",
                (
                    snapshot.snapshot_id, snapshot.model, snapshot.as_of, snapshot.start, snapshot.holdout_start, snapshot.n_rows,
                    snapshot.digest, snapshot.sql_digest, snapshot.dvc_revision, Json([asdict(each) for each in validations]),
                ),
            )  # fmt: skip

    def read_snapshot(self, snapshot_id: str) -> Snapshot | None:
        """One snapshot, without a readable copy (`path` is empty)."""
        rows = self._fetch(f"SELECT {_SNAPSHOT_COLUMNS} FROM snapshot WHERE snapshot_id = %s", (snapshot_id,))
        return Snapshot(**rows[0], path="") if rows else None

    def read_recorded_snapshot(self, snapshot_id: str) -> RecordedSnapshot | None:
        """One snapshot with what was validated and when it was taken."""
        columns = f"{_SNAPSHOT_COLUMNS}, validation, created_at"
        rows = self._fetch(f"SELECT {columns} FROM snapshot WHERE snapshot_id = %s", (snapshot_id,))
        return _to_recorded(dict(rows[0])) if rows else None

    def read_row_rates(self, model: str, before: datetime, *, limit: int) -> list[float]:
        """Rows per covered day that the raw suite saw, of the latest windows with `as_of` before `before`; the newest first.

        A window that failed for its row count alone is one of them: what lasts becomes the usual. Of runs of the same `as_of` the
        last counts; those that recorded no covered days do not.
        """
        rows = self._fetch(
            """WITH seen AS (
                   SELECT as_of, created_at AS at, raw FROM snapshot, jsonb_array_elements(validation) AS raw
                   WHERE model = %(model)s AND raw ->> 'point' = 'raw'
                   UNION ALL
                   SELECT (detail ->> 'as_of')::timestamptz, at, detail FROM audit
                   WHERE model = %(model)s AND action = 'validation failed' AND detail ->> 'point' = 'raw'
                       AND jsonb_array_length(detail -> 'failed') = 1 AND detail #>> '{failed,0,expectation}' = %(row_count)s)
               SELECT (raw ->> 'n_rows')::float8 / (raw ->> 'covered_days')::float8 AS rate FROM (
                   SELECT DISTINCT ON (as_of) as_of, raw FROM seen
                   WHERE as_of < %(before)s AND (raw ->> 'covered_days')::float8 > 0
                   ORDER BY as_of DESC, at DESC LIMIT %(limit)s) AS latest
               ORDER BY as_of DESC""",
            {"model": model, "before": before, "limit": limit, "row_count": ROW_COUNT},
        )
        return [row["rate"] for row in rows]

    def write_decision(self, decision: Decision) -> None:
        """Record the outcome of the gates; one row per model and Dag run, the last word stays."""
        values = (
            decision.model, decision.dag_run_id, decision.snapshot_id, decision.outcome, decision.candidate,
            decision.mlflow_run_id, decision.champion_version, Json([asdict(gate) for gate in decision.gates]),
            Json(dict(decision.challenger_metrics)), Json(dict(decision.champion_metrics)), Json(dict(decision.slices)),
            decision.forced_reason, decision.forced_by, Json([asdict(each) for each in decision.finalists]),
        )  # fmt: skip
        with self._transaction() as cursor:
            cursor.execute(
                """INSERT INTO decision (model, dag_run_id, snapshot_id, outcome, candidate, mlflow_run_id, champion_version,
                                         gates, challenger_metrics, champion_metrics, slices, forced_reason, forced_by,
                                         finalists)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
                   ON CONFLICT (model, dag_run_id) DO UPDATE SET
                       snapshot_id = EXCLUDED.snapshot_id, outcome = EXCLUDED.outcome, candidate = EXCLUDED.candidate,
                       mlflow_run_id = EXCLUDED.mlflow_run_id, champion_version = EXCLUDED.champion_version,
                       gates = EXCLUDED.gates, challenger_metrics = EXCLUDED.challenger_metrics,
                       champion_metrics = EXCLUDED.champion_metrics, slices = EXCLUDED.slices,
                       forced_reason = EXCLUDED.forced_reason, forced_by = EXCLUDED.forced_by, finalists = EXCLUDED.finalists,
                       decided_at = now()""",
                values,
            )

    def read_decision(self, model: str, dag_run_id: str) -> Decision | None:
        """The recorded decision of a Dag run, or none."""
        sql = f"SELECT {_DECISION_COLUMNS} FROM decision WHERE model = %s AND dag_run_id = %s"
        rows = self._fetch(sql, (model, dag_run_id))
        return to_decision(rows[0]) if rows else None


def to_decision(row: Mapping[str, Any]) -> Decision:
    """A decision from the columns of its row."""
    gates = tuple(GateResult(**gate) for gate in row["gates"])
    return Decision(**{**row, "gates": gates, "finalists": tuple(Finalist(**each) for each in row["finalists"])})


def _to_recorded(row: dict[str, Any]) -> RecordedSnapshot:
    taken_at, validations = row.pop("created_at"), row.pop("validation")
    return RecordedSnapshot(
        snapshot=Snapshot(**row, path=""), taken_at=taken_at, validations=tuple(_to_validation(each) for each in validations)
    )


def _to_validation(record: dict[str, Any]) -> Validation:
    failed = tuple(FailedExpectation(**{**each, "sample_keys": tuple(each["sample_keys"])}) for each in record["failed"])
    return Validation(**{**record, "failed": failed})
