"""The audit trail: who or what did what. It can be appended to, never changed."""

from collections.abc import Collection, Mapping

from psycopg2.extras import Json, RealDictCursor

from perennial.adapters.state.connection import Connection


class AuditTable(Connection):
    """Reads and writes of the table `audit`."""

    def has_audit(self, action: str, *, model: str, subject: str, detail: Mapping[str, object] | None = None) -> bool:
        """Whether the audit trail holds this action on this subject, with at least this detail."""
        sql = "SELECT 1 FROM audit WHERE model = %s AND action = %s AND subject = %s AND detail @> %s LIMIT 1"
        return bool(self._fetch(sql, (model, action, subject, Json(dict(detail or {})))))

    def read_last_action(self, actions: Collection[str], *, model: str, subject: str, detail: Mapping[str, object]) -> str | None:
        """Which of these actions the audit trail holds last on this subject, with at least this detail; None where none."""
        sql = """SELECT action FROM audit WHERE model = %s AND action = ANY(%s) AND subject = %s AND detail @> %s
                 ORDER BY audit_id DESC LIMIT 1"""
        rows = self._fetch(sql, (model, list(actions), subject, Json(dict(detail))))
        return str(rows[0]["action"]) if rows else None

    def write_audit(self, actor: str, action: str, *, model: str, subject: str, detail: Mapping[str, object]) -> None:
        """Append to the audit trail."""
        with self._transaction() as cursor:
            insert_audit(cursor, actor, action, model, subject, detail)

    def write_audit_once(self, actor: str, action: str, *, model: str, subject: str, detail: Mapping[str, object]) -> bool:
        """Append to the audit trail what it does not hold yet, word for word; whether it was written now."""
        with self._transaction() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"audit/{model}",))
            values = (actor, action, model, subject, Json(dict(detail)))
            cursor.execute(
                "SELECT 1 FROM audit WHERE (actor, action, model, subject, detail) = (%s, %s, %s, %s, %s) LIMIT 1", values
            )
            if cursor.fetchone():
                return False
            insert_audit(cursor, actor, action, model, subject, detail)
            return True


def insert_audit(cursor: RealDictCursor, actor: str, action: str, model: str, subject: str, detail: Mapping[str, object]) -> None:
    """Append to the audit trail within a transaction."""
    cursor.execute(
        "INSERT INTO audit (actor, action, model, subject, detail) VALUES (%s, %s, %s, %s, %s)",
        (actor, action, model, subject, Json(dict(detail))),
    )
