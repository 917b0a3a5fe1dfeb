"""What became of a model's versions, read together: the tables `champion`, `decision`, `release`, `release_stage` and `audit`."""

from dataclasses import dataclass
from datetime import datetime

from perennial.adapters.state.connection import Connection
from perennial.adapters.state.training import to_decision
from perennial.contracts import Decision, Measure

_DECISION_COLUMNS = ", ".join(f"decision.{name}" for name in Decision.__dataclass_fields__)
# The action of the audit row that a failed task leaves; its subject is the Dag run, its actor the Dag.
TASK_FAILED = "task failed"
# Rows that one transaction wrote carry instants this close together, also where the clock was set meanwhile.
_TOGETHER = "interval '1 minute'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenure:
    """One stretch of time in which a version served: `[valid_from, valid_to)`, without an end for the present champion.

    `dag_run_id` and `actor` are of the promotion or rollback that began it, `retrain_run_id` and `mlflow_run_id` of the
    training. The actor is empty where the audit trail names none.
    """

    model_version: int
    valid_from: datetime
    valid_to: datetime | None
    dag_run_id: str
    actor: str
    reason: str
    by_rollback: bool
    retrain_run_id: str
    mlflow_run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDecision:
    """A decision, when it was made, what caused its run (empty: not recorded) and which version came of it."""

    decision: Decision
    decided_at: datetime
    cause: str
    model_version: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A release that was ended on its way, by whom and why; stage and measures where one of its stages was open."""

    model_version: int
    at: datetime
    state: str
    actor: str
    reason: str
    stage: str
    step: int | None
    measures: tuple[Measure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictLine:
    """What monitoring said of one window of a version, in short. Windows are of the data's time."""

    model_version: int
    window_start: datetime
    window_end: datetime
    outcome: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What was recorded last of a retraining: its decision's outcome, or `failed` with the task and why."""

    model: str
    dag_run_id: str
    outcome: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionCount:
    """Rows that a version predicted, of one kind, and when the first and the last of them."""

    kind: str
    n_rows: int
    first_at: datetime
    last_at: datetime


class HistoryTable(Connection):
    """Reads across the tables of the business state."""

    def read_tenures(self, model: str) -> list[Tenure]:
        """Who served when, the earliest first."""
        rows = self._fetch(
            f"""SELECT tenure.model_version, tenure.valid_from, tenure.valid_to, tenure.dag_run_id, tenure.reason,
                       tenure.by_rollback, release.dag_run_id AS retrain_run_id, release.mlflow_run_id,
                       coalesce(cause.actor, '') AS actor
                FROM champion AS tenure JOIN release USING (model, model_version)
                LEFT JOIN LATERAL (
                    SELECT actor FROM audit
                    WHERE audit.model = tenure.model AND subject = 'version ' || tenure.model_version
                        AND action = CASE WHEN tenure.by_rollback THEN 'rollback' ELSE 'promote' END
                        AND at BETWEEN tenure.valid_from - {_TOGETHER} AND tenure.valid_from + {_TOGETHER}
                    ORDER BY abs(extract(epoch FROM at - tenure.valid_from)) LIMIT 1) AS cause ON true
                WHERE tenure.model = %s ORDER BY tenure.valid_from""",
            (model,),
        )
        return [Tenure(**row) for row in rows]

    def read_decisions(self, model: str, *, dag_run_id: str | None = None) -> list[RecordedDecision]:
        """All decisions about a model, or that of one Dag run, the earliest first."""
        rows = self._fetch(
            f"""SELECT {_DECISION_COLUMNS}, decision.decided_at, release.model_version, coalesce(start.actor, '') AS cause
                FROM decision LEFT JOIN release ON release.model = decision.model AND release.dag_run_id = decision.dag_run_id
                    AND release.superseded_by IS NULL
                LEFT JOIN LATERAL (
                    SELECT actor FROM audit
                    WHERE audit.model = decision.model AND action = 'retrain' AND subject = decision.dag_run_id
                    ORDER BY audit_id LIMIT 1) AS start ON true
                WHERE decision.model = %(model)s AND (%(run)s IS NULL OR decision.dag_run_id = %(run)s)
                ORDER BY decision.decided_at""",
            {"model": model, "run": dag_run_id},
        )
        return [_to_recorded(dict(row)) for row in rows]

    def read_run_results(self, model: str | None = None) -> list[RunResult]:
        """What became of each retraining that decided or failed, the earliest first; None means of any model."""
        rows = self._fetch(
            """SELECT * FROM (
                   SELECT DISTINCT ON (model, dag_run_id) * FROM (
                       SELECT model, dag_run_id, outcome, '' AS reason, decided_at AS at FROM decision
                       UNION ALL
                       SELECT model, dag_run_id, outcome, '', created_at
                       FROM release JOIN decision USING (model, dag_run_id)
                       UNION ALL
                       SELECT model, subject, 'failed', concat(detail ->> 'task_id', ': ', detail ->> 'what'), at
                       FROM audit WHERE action = %(failed)s AND actor LIKE 'retrain%%') AS recorded
                   WHERE %(model)s::text IS NULL OR model = %(model)s
                   ORDER BY model, dag_run_id, at DESC) AS last
               ORDER BY at""",
            {"model": model, "failed": TASK_FAILED},
        )
        return [RunResult(**row) for row in rows]

    def read_stops(self, model: str) -> list[Stop]:
        """Releases that were rejected, or rolled back from their canary, the earliest first, also those tried again since."""
        rows = self._fetch(
            f"""SELECT substring(audit.subject FROM '[0-9]+')::int AS model_version, audit.at, audit.action AS state, audit.actor,
                       coalesce(audit.detail ->> 'reason', '') AS reason, coalesce(open.stage, '') AS stage, open.step,
                       coalesce(open.measures, '[]') AS measures
                FROM audit LEFT JOIN LATERAL (
                    SELECT stage, step, measures FROM release_stage
                    WHERE release_stage.model = audit.model AND audit.subject = 'version ' || model_version
                        AND outcome IN ('breached', 'ended')
                        AND ended_at BETWEEN audit.at - {_TOGETHER} AND audit.at + {_TOGETHER}
                    ORDER BY abs(extract(epoch FROM ended_at - audit.at)) LIMIT 1) AS open ON true
                WHERE audit.model = %s AND audit.action IN ('rejected', 'rolled_back') ORDER BY audit.audit_id""",
            (model,),
        )
        return [Stop(**{**row, "measures": tuple(Measure(**each) for each in row["measures"])}) for row in rows]

    def read_verdict_lines(self, model: str) -> list[VerdictLine]:
        """What monitoring said of each window that a version answered in, the earliest first."""
        rows = self._fetch(
            """SELECT model_version, window_start, window_end, outcome, reasons FROM verdict
               WHERE model = %s AND model_version IS NOT NULL ORDER BY window_end, window_start""",
            (model,),
        )
        return [VerdictLine(**{**row, "reasons": tuple(row["reasons"])}) for row in rows]

    def count_predictions(self, model: str, model_version: int) -> list[PredictionCount]:
        """How many rows a version has predicted so far, by kind; none of a kind: no entry."""
        rows = self._fetch(
            """SELECT kind, count(*) AS n_rows, min(predicted_at) AS first_at, max(predicted_at) AS last_at
               FROM prediction WHERE model = %s AND model_version = %s GROUP BY kind ORDER BY kind""",
            (model, model_version),
        )
        return [PredictionCount(**row) for row in rows]


def _to_recorded(row: dict[str, object]) -> RecordedDecision:
    beside = {name: row.pop(name) for name in ("decided_at", "model_version", "cause")}
    return RecordedDecision(decision=to_decision(row), **beside)  # type: ignore[arg-type]
