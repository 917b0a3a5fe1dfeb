"""Who serves, and who did: the table `champion`."""

from perennial.adapters.state.audit import insert_audit
from perennial.adapters.state.connection import Connection
from perennial.adapters.state.releases import move_release_in
from perennial.contracts import Champion


class ChampionTable(Connection):
    """Reads and writes of the table `champion`."""

    def read_champion(self, model: str) -> Champion | None:
        """Who serves now; None where nobody ever did."""
        rows = self._fetch(
            "SELECT model, model_version, valid_from FROM champion WHERE model = %s AND valid_to IS NULL", (model,)
        )
        return Champion(**rows[0]) if rows else None

    def promote(self, model: str, model_version: int, *, dag_run_id: str, reason: str, actor: str) -> int | None:
        """Make a checked version the champion and retire the one before, in one transaction.

        Returns
        -------
        The version that served before; None for a first champion, or where this version serves already.

        Raises
        ------
        ReleaseError
            When the version's release state does not allow it.
        """
        with self._transaction() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"champion/{model}",))
            cursor.execute("SELECT model_version FROM champion WHERE model = %s AND valid_to IS NULL", (model,))
            row = cursor.fetchone()
            before = row["model_version"] if row else None
            if before == model_version:
                return None
            if before is not None:
                cursor.execute("UPDATE champion SET valid_to = clock_timestamp() WHERE model = %s AND valid_to IS NULL", (model,))
                move_release_in(cursor, model, before, "retired")
            move_release_in(cursor, model, model_version, "champion")
            cursor.execute(
                "INSERT INTO champion (model, model_version, dag_run_id, reason) VALUES (%s, %s, %s, %s)",
                (model, model_version, dag_run_id, reason),
            )
            insert_audit(cursor, actor, "promote", model, f"version {model_version}", {"before": before, "reason": reason})
        return before
