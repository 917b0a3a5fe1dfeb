"""Models that were taken out of service: the table `retirement`."""

from psycopg2.extras import RealDictCursor

from perennial.adapters.state.audit import insert_audit
from perennial.adapters.state.champions import end_tenure_in
from perennial.adapters.state.connection import Connection
from perennial.adapters.state.releases import lock_releases, move_release_in, read_under_way_in
from perennial.adapters.state.stages import stop_release_in
from perennial.contracts import STATES_WHEN_STOPPED, ReleaseRow, Retirement

_COLUMNS = "model, retired_at, actor, reason"
_OPEN = f"SELECT {_COLUMNS} FROM retirement WHERE ended_at IS NULL"


class RetirementTable(Connection):
    """Reads and writes of the table `retirement`."""

    def read_retirements(self) -> list[Retirement]:
        """Models that are retired now."""
        return [Retirement(**row) for row in self._fetch(f"{_OPEN} ORDER BY model", ())]

    def read_all_retirements(self, model: str) -> list[Retirement]:
        """Those that are over too, the earliest first."""
        sql = f"SELECT {_COLUMNS} FROM retirement WHERE model = %s ORDER BY retired_at"
        return [Retirement(**row) for row in self._fetch(sql, (model,))]

    def read_retirement(self, model: str) -> Retirement | None:
        """The retirement of a model that lasts; None where it is in service."""
        rows = self._fetch(f"{_OPEN} AND model = %s", (model,))
        return Retirement(**rows[0]) if rows else None

    def read_retirement_since(self, model: str, dag_run_id: str) -> Retirement | None:
        """The retirement that lasts, unless the retraining of this Dag run began after it."""
        rows = self._fetch(
            f"""{_OPEN} AND model = %s AND NOT EXISTS (
                    SELECT 1 FROM audit
                    WHERE audit.model = retirement.model AND action = 'retrain' AND subject = %s AND at > retired_at)""",
            (model, dag_run_id),
        )
        return Retirement(**rows[0]) if rows else None

    def retire(self, model: str, *, reason: str, actor: str) -> tuple[Retirement, ReleaseRow | None]:
        """End the champion's tenure and every release that waits or is under way, in one transaction.

        Returns
        -------
        The retirement that lasts, and the release under way that it ended, as it was before. A model that is retired already
        stays so: the first reason holds.
        """
        with self._transaction() as cursor:
            lock_releases(cursor, model)
            cursor.execute(f"{_OPEN} AND model = %s", (model,))
            if before := cursor.fetchall():
                return Retirement(**before[0]), None
            stopped = read_under_way_in(cursor, model, but=0)
            served = _end_service(cursor, model, reason=f"the model was retired: {reason}", actor=actor)
            cursor.execute(
                f"INSERT INTO retirement (model, actor, reason) VALUES (%s, %s, %s) RETURNING {_COLUMNS}",
                (model, actor, reason),
            )
            (begun,) = cursor.fetchall()
            insert_audit(cursor, actor, "retire", model, model, {"before": served, "reason": reason})
        return Retirement(**begun), stopped


def _end_service(cursor: RealDictCursor, model: str, *, reason: str, actor: str) -> int | None:
    """Leave a model without a champion and without a release that could become one; returns who served."""
    cursor.execute("SELECT model_version FROM release WHERE model = %s AND state = ANY(%s)", (model, sorted(STATES_WHEN_STOPPED)))
    for release in cursor.fetchall():
        stop_release_in(cursor, model, release["model_version"], reason=reason, actor=actor)
    cursor.execute("SELECT model_version FROM champion WHERE model = %s AND valid_to IS NULL", (model,))
    if (row := cursor.fetchone()) is None:
        return None
    before: int = row["model_version"]
    move_release_in(cursor, model, before, "retired", {"reason": reason})
    end_tenure_in(cursor, model)
    return before
