"""Who serves, and who did: the table `champion`."""

from psycopg2.extras import RealDictCursor

from perennial.adapters.state.audit import insert_audit
from perennial.adapters.state.connection import Connection
from perennial.adapters.state.releases import lock_releases, move_release_in
from perennial.adapters.state.stages import end_open_stages_in, stop_release_in
from perennial.contracts import Champion
from perennial.errors import ReleaseError


class ChampionTable(Connection):
    """Reads and writes of the table `champion`."""

    def read_champion(self, model: str) -> Champion | None:
        """Who serves now; None where nobody ever did."""
        rows = self._fetch(
            "SELECT model, model_version, valid_from FROM champion WHERE model = %s AND valid_to IS NULL", (model,)
        )
        return Champion(**rows[0]) if rows else None

    def read_champions(self, model: str) -> list[Champion]:
        """All who serve or served, the latest first."""
        sql = "SELECT model, model_version, valid_from FROM champion WHERE model = %s ORDER BY valid_from DESC"
        return [Champion(**row) for row in self._fetch(sql, (model,))]

    def read_champion_run(self, model: str) -> str:
        """Id of the Dag run that made the present champion; empty where there is none."""
        rows = self._fetch("SELECT dag_run_id FROM champion WHERE model = %s AND valid_to IS NULL", (model,))
        return rows[0]["dag_run_id"] if rows else ""

    def read_predecessor(self, model: str) -> int | None:
        """The version that a rollback leads back to: the last that served before the present one first did, and is `retired`.

        One that was rolled back itself is none. None where there is no such version.
        """
        rows = self._fetch(
            """SELECT before.model_version FROM champion AS before JOIN release USING (model, model_version)
               WHERE model = %(model)s AND state = 'retired' AND before.valid_from < (
                   SELECT min(tenure.valid_from) FROM champion AS tenure JOIN champion AS present USING (model, model_version)
                   WHERE present.model = %(model)s AND present.valid_to IS NULL)
               ORDER BY before.valid_from DESC LIMIT 1""",
            {"model": model},
        )
        return rows[0]["model_version"] if rows else None

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
            lock_releases(cursor, model)
            before = _close_champion(cursor, model, unless=model_version)
            if before == model_version:
                return None
            if before is not None:
                move_release_in(cursor, model, before, "retired")
            end_open_stages_in(cursor, model, model_version, reason="promoted")
            _open_champion(cursor, model, model_version, dag_run_id=dag_run_id, reason=reason)
            insert_audit(cursor, actor, "promote", model, f"version {model_version}", {"before": before, "reason": reason})
        return before

    def roll_back(self, model: str, *, to: int, dag_run_id: str, reason: str, actor: str) -> int | None:
        """Make a version that served before the champion again, and end the releases on their way, in one transaction.

        Returns
        -------
        The version that was rolled back; None where `to` serves already.

        Raises
        ------
        ReleaseError
            When `to` never served, or its release state does not allow it.
        """
        with self._transaction() as cursor:
            lock_releases(cursor, model)
            cursor.execute("SELECT 1 FROM champion WHERE model = %s AND model_version = %s", (model, to))
            if cursor.fetchone() is None:
                raise ReleaseError(f"{model} version {to} never served, so it cannot be brought back")
            before = _close_champion(cursor, model, unless=to)
            if before in (to, None):
                return None
            move_release_in(cursor, model, before, "rolled_back", {"reason": reason})
            for version in _read_under_way(cursor, model, but=to):
                why = f"version {before} was rolled back meanwhile: {reason}"
                stop_release_in(cursor, model, version, reason=why, actor=actor)
            end_open_stages_in(cursor, model, to, reason=reason)
            _open_champion(cursor, model, to, dag_run_id=dag_run_id, reason=reason)
            insert_audit(cursor, actor, "rollback", model, f"version {to}", {"before": before, "reason": reason})
        return before


def _close_champion(cursor: RealDictCursor, model: str, *, unless: int) -> int | None:
    """Close the open row, unless it is this version's; returns whose it is."""
    cursor.execute("SELECT model_version FROM champion WHERE model = %s AND valid_to IS NULL", (model,))
    before = row["model_version"] if (row := cursor.fetchone()) else None
    if before != unless:
        cursor.execute("UPDATE champion SET valid_to = clock_timestamp() WHERE model = %s AND valid_to IS NULL", (model,))
    return before


def _open_champion(cursor: RealDictCursor, model: str, model_version: int, *, dag_run_id: str, reason: str) -> None:
    move_release_in(cursor, model, model_version, "champion")
    cursor.execute(
        "INSERT INTO champion (model, model_version, dag_run_id, reason) VALUES (%s, %s, %s, %s)",
        (model, model_version, dag_run_id, reason),
    )


def _read_under_way(cursor: RealDictCursor, model: str, *, but: int) -> list[int]:
    cursor.execute(
        """SELECT model_version FROM release
           WHERE model = %s AND model_version <> %s AND state IN ('checked', 'shadow', 'canary')""",
        (model, but),
    )
    return [row["model_version"] for row in cursor.fetchall()]
