"""Wishes to retrain and what became of them: the table `retrain_request`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from psycopg2.extras import Json, RealDictCursor

from perennial.adapters.state.audit import insert_audit
from perennial.adapters.state.connection import Connection
from perennial.contracts import GateResult
from perennial.contracts.monitoring import RequestOutcome, RetrainRequest
from perennial.errors import PermanentError

_COLUMNS = ", ".join(RetrainRequest.__dataclass_fields__)
_OPEN = "outcome = 'granted' AND ended_at IS NULL"
ONE_AT_A_TIME = "one_at_a_time"


class RequestTable(Connection):
    """Reads and writes of the table `retrain_request`. Of a model, one granted request at a time is open."""

    def write_request(self, wish: RetrainRequest) -> RetrainRequest:
        """Record a wish, undecided.

        Returns
        -------
        The request as recorded: of a wish that was recorded before, what became of it.
        """
        with self._transaction() as cursor:
            cursor.execute(
                """INSERT INTO retrain_request (model, request_key, source, actor, as_of, reason, evidence)
                   VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (model, request_key) DO NOTHING""",
                (
                    wish.model, wish.request_key, wish.source, wish.actor, wish.as_of, wish.reason, Json(dict(wish.evidence)),
                ),
            )  # fmt: skip
            cursor.execute(
                f"SELECT {_COLUMNS} FROM retrain_request WHERE model = %s AND request_key = %s", (wish.model, wish.request_key)
            )
            return _request(cursor.fetchone() or {})

    def decide_request(
        self, request_id: int, *, outcome: RequestOutcome, checks: Sequence[GateResult], dag_run_id: str
    ) -> RetrainRequest:
        """Record what became of a request, in one transaction with its audit; `dag_run_id` is the retraining's, if granted.

        Returns
        -------
        The request as recorded. One that was decided before keeps its outcome; one that may not be granted because another
        of its model is open is declined, for that reason.
        """
        with self._transaction() as cursor:
            request = _lock_request(cursor, request_id)
            if request.outcome != "pending":
                return request
            if outcome == "granted" and (running := _read_open(cursor, request.model)):
                outcome, checks = "declined", (*checks, _occupied(running))
            cursor.execute(
                f"""UPDATE retrain_request SET outcome = %s, checks = %s, dag_run_id = %s, decided_at = clock_timestamp()
                    WHERE request_id = %s RETURNING {_COLUMNS}""",
                (outcome, Json([asdict(check) for check in checks]), dag_run_id if outcome == "granted" else "", request_id),
            )
            decided = _request(cursor.fetchone() or {})
            _audit(cursor, decided, decided.actor, decided.outcome, {"reason": decided.reason, "dag_run_id": decided.dag_run_id})
        return decided

    def end_request(self, request_id: int, *, actor: str, why: str) -> bool:
        """Close a granted request, in one transaction with its audit; whether it was open."""
        with self._transaction() as cursor:
            request = _lock_request(cursor, request_id)
            if request.outcome != "granted" or request.ended_at is not None:
                return False
            cursor.execute("UPDATE retrain_request SET ended_at = clock_timestamp() WHERE request_id = %s", (request_id,))
            _audit(cursor, request, actor, "ended", {"why": why, "dag_run_id": request.dag_run_id})
        return True

    def reopen_request(self, request_id: int, *, actor: str) -> bool:
        """Open a granted request again, whose Dag run was started anew; False where another of its model is open."""
        with self._transaction() as cursor:
            request = _lock_request(cursor, request_id)
            if request.outcome != "granted":
                return False
            if request.ended_at is None:
                return True
            if _read_open(cursor, request.model):
                return False
            cursor.execute("UPDATE retrain_request SET ended_at = NULL WHERE request_id = %s", (request_id,))
            _audit(cursor, request, actor, "reopened", {"dag_run_id": request.dag_run_id})
        return True

    def read_request(self, request_id: int) -> RetrainRequest | None:
        """One request by its id, or none."""
        rows = self._fetch(f"SELECT {_COLUMNS} FROM retrain_request WHERE request_id = %s", (request_id,))
        return _request(rows[0]) if rows else None

    def find_request(self, model: str, request_key: str) -> RetrainRequest | None:
        """One request by the key of the wish, or none."""
        rows = self._fetch(f"SELECT {_COLUMNS} FROM retrain_request WHERE model = %s AND request_key = %s", (model, request_key))
        return _request(rows[0]) if rows else None

    def find_request_of_run(self, model: str, dag_run_id: str) -> RetrainRequest | None:
        """The granted request that a retraining was started by, or none."""
        rows = self._fetch(
            f"SELECT {_COLUMNS} FROM retrain_request WHERE model = %s AND dag_run_id = %s ORDER BY request_id DESC LIMIT 1",
            (model, dag_run_id),
        )
        return _request(rows[0]) if rows else None

    def read_open_request(self, model: str) -> RetrainRequest | None:
        """The granted request whose retraining has not ended; there is one at most, by constraint."""
        rows = self._fetch(f"SELECT {_COLUMNS} FROM retrain_request WHERE model = %s AND {_OPEN}", (model,))
        return _request(rows[0]) if rows else None

    def read_requests(
        self, model: str | None = None, *, outcome: RequestOutcome | None = None, limit: int = 50
    ) -> tuple[RetrainRequest, ...]:
        """Requests by model and outcome, the latest `as_of` first; None means any."""
        rows = self._fetch(
            f"""SELECT {_COLUMNS} FROM retrain_request
                WHERE (%(model)s::text IS NULL OR model = %(model)s) AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
                ORDER BY as_of DESC, request_id DESC LIMIT %(limit)s""",
            {"model": model, "outcome": outcome, "limit": limit},
        )
        return tuple(_request(row) for row in rows)


def _lock_request(cursor: RealDictCursor, request_id: int) -> RetrainRequest:
    """The request, while no other transaction may grant, end or reopen one of its model."""
    cursor.execute("SELECT model FROM retrain_request WHERE request_id = %s", (request_id,))
    if (found := cursor.fetchone()) is None:
        raise PermanentError(f"there is no retrain request {request_id}", "see: perennial requests")
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"retrain/{found['model']}",))
    cursor.execute(f"SELECT {_COLUMNS} FROM retrain_request WHERE request_id = %s", (request_id,))
    return _request(cursor.fetchone() or {})


def _read_open(cursor: RealDictCursor, model: str) -> RetrainRequest | None:
    cursor.execute(f"SELECT {_COLUMNS} FROM retrain_request WHERE model = %s AND {_OPEN}", (model,))
    return _request(row) if (row := cursor.fetchone()) else None


def _occupied(running: RetrainRequest) -> GateResult:
    reason = f"the retraining {running.dag_run_id} of request {running.request_id} has not ended"
    return GateResult(gate=ONE_AT_A_TIME, passed=False, reason=reason)


def _audit(cursor: RealDictCursor, request: RetrainRequest, actor: str, what: str, detail: Mapping[str, object]) -> None:
    insert_audit(cursor, actor, f"retraining {what}", request.model, f"request {request.request_id}", detail)


def _request(row: Mapping[str, Any]) -> RetrainRequest:
    return RetrainRequest(**{**row, "checks": tuple(GateResult(**check) for check in row["checks"])})
