"""Who serves, and who did: the table `champion`."""

from collections.abc import Sequence
from datetime import datetime

import psycopg2
from psycopg2.extras import RealDictCursor

from perennial.adapters.state.audit import insert_audit
from perennial.adapters.state.connection import Connection
from perennial.adapters.state.releases import lock_releases, move_release_in, read_under_way_in, refused
from perennial.adapters.state.stages import end_open_stages_in, stop_release_in
from perennial.contracts import UNDER_WAY, Champion, Rollback
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

    def read_champion_at(self, model: str, at: datetime) -> Champion | None:
        """Who served at an instant; None where nobody did."""
        rows = self._fetch(
            """SELECT model, model_version, valid_from FROM champion
               WHERE model = %s AND valid_from <= %s AND (valid_to IS NULL OR valid_to > %s)""",
            (model, at, at),
        )
        return Champion(**rows[0]) if rows else None

    def read_champion_run(self, model: str) -> str:
        """Id of the Dag run that made the present champion; empty where there is none."""
        rows = self._fetch("SELECT dag_run_id FROM champion WHERE model = %s AND valid_to IS NULL", (model,))
        return rows[0]["dag_run_id"] if rows else ""

    def read_promoted(self, model: str, dag_run_ids: Sequence[str]) -> int | None:
        """The version that one of these Dag runs made the champion, whoever serves since; None where none did."""
        rows = self._fetch(
            """SELECT model_version FROM champion WHERE model = %s AND dag_run_id = ANY(%s) AND NOT by_rollback
               ORDER BY valid_from DESC LIMIT 1""",
            (model, list(dag_run_ids)),
        )
        return rows[0]["model_version"] if rows else None

    def read_predecessor(self, model: str) -> int | None:
        """The version that a rollback leads back to; None where there is none.

        It is the one that was replaced by the promotion which made the present champion one, whatever became of it since.
        Rollbacks to the present champion count for nothing here: the way back is not back and forth.
        """
        rows = self._fetch(
            """SELECT before.model_version FROM champion AS before WHERE before.model = %(model)s AND before.valid_from < (
                   SELECT max(tenure.valid_from) FROM champion AS tenure JOIN champion AS present USING (model, model_version)
                   WHERE present.model = %(model)s AND present.valid_to IS NULL AND NOT tenure.by_rollback)
               ORDER BY before.valid_from DESC LIMIT 1""",
            {"model": model},
        )
        return rows[0]["model_version"] if rows else None

    def check_promotion(self, model: str, model_version: int, *, dag_run_id: str) -> None:
        """Refuse a promotion that a person's rollback has overtaken, or whose release is not under way.

        Raises
        ------
        ReleaseError
            Unless the version serves already, or its release is under way and was not promoted by this Dag run before.
        """
        with self._transaction() as cursor:
            _check_promotion(cursor, model, model_version, dag_run_id=dag_run_id)

    def promote(self, model: str, model_version: int, *, dag_run_id: str, reason: str, actor: str) -> int | None:
        """Make a checked version the champion and retire the one before, in one transaction.

        Returns
        -------
        The version that served before; None for a first champion, or where this version serves already.

        Raises
        ------
        ReleaseError
            As `check_promotion`; and where the database's promotion guard refuses it, whatever else was checked.
        """
        with self._transaction() as cursor:
            lock_releases(cursor, model)
            _check_promotion(cursor, model, model_version, dag_run_id=dag_run_id)
            before = _read_champion(cursor, model)
            if before == model_version:
                return None
            if before is not None:
                move_release_in(cursor, model, before, "retired", {"reason": f"replaced by version {model_version}"})
            end_open_stages_in(cursor, model, model_version, reason="promoted")
            _replace_champion(cursor, model, model_version, dag_run_id=dag_run_id, reason=reason, by_rollback=False)
            insert_audit(cursor, actor, "promote", model, f"version {model_version}", {"before": before, "reason": reason})
        return before

    def roll_back(self, model: str, *, to: int, dag_run_id: str, reason: str, actor: str) -> Rollback:
        """Make a version that served before the champion again, and end the release on its way, in one transaction.

        Where it serves already, only the release on its way is ended.

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
            before = _read_champion(cursor, model)
            why = f"version {to} is to serve on" if before == to else f"version {before} was rolled back meanwhile"
            if stopped := read_under_way_in(cursor, model, but=to):
                stop_release_in(cursor, model, stopped.model_version, reason=f"{why}: {reason}", actor=actor)
            if before == to:
                return Rollback(stopped=stopped)
            if before is not None:  # else the model was retired
                move_release_in(cursor, model, before, "rolled_back", {"reason": reason})
            end_open_stages_in(cursor, model, to, reason=reason)
            _replace_champion(cursor, model, to, dag_run_id=dag_run_id, reason=reason, by_rollback=True)
            insert_audit(cursor, actor, "rollback", model, f"version {to}", {"before": before, "reason": reason})
        return Rollback(is_changed=True, before=before, stopped=stopped)


def _check_promotion(cursor: RealDictCursor, model: str, model_version: int, *, dag_run_id: str) -> None:
    """A rollback makes champions of who has served; a promotion, which Airflow may try again hours later, must not undo it."""
    cursor.execute(
        """SELECT state, reason,
                  EXISTS (SELECT 1 FROM champion AS tenure WHERE tenure.model = release.model
                          AND tenure.model_version = release.model_version AND tenure.dag_run_id = %s) AS is_retry,
                  (SELECT actor FROM audit WHERE audit.model = release.model AND action = 'rollback'
                   AND detail ->> 'before' = release.model_version::text ORDER BY audit_id DESC LIMIT 1) AS rolled_back_by
           FROM release WHERE model = %s AND model_version = %s""",
        (dag_run_id, model, model_version),
    )
    if (row := cursor.fetchone()) is None:
        raise ReleaseError(f"there is no release of {model} version {model_version}")
    state, reason = str(row["state"]), f": {row['reason']}" if row["reason"] else ""
    if state == "champion" or (state in UNDER_WAY and not row["is_retry"]):
        return
    again = f"to release it all the same, start another run of release__{model} with version {model_version}"
    if row["is_retry"] and row["rolled_back_by"]:
        raise ReleaseError(f"{model} version {model_version} was rolled back by {row['rolled_back_by']} meanwhile{reason}", again)
    raise ReleaseError(f"{model} version {model_version}: champion cannot follow {state}{reason}", again)


def _read_champion(cursor: RealDictCursor, model: str) -> int | None:
    cursor.execute("SELECT model_version FROM champion WHERE model = %s AND valid_to IS NULL", (model,))
    return row["model_version"] if (row := cursor.fetchone()) else None


def end_tenure_in(cursor: RealDictCursor, model: str) -> datetime | None:
    """End the tenure that is open, after its begin even where the clock was set back; returns when, None where none was."""
    cursor.execute(
        """UPDATE champion SET valid_to = greatest(clock_timestamp(), valid_from + interval '1 microsecond')
           WHERE model = %s AND valid_to IS NULL RETURNING valid_to""",
        (model,),
    )
    return row["valid_to"] if (row := cursor.fetchone()) else None


def _replace_champion(
    cursor: RealDictCursor, model: str, model_version: int, *, dag_run_id: str, reason: str, by_rollback: bool
) -> None:
    """End the open tenure and begin the next at that instant."""
    move_release_in(cursor, model, model_version, "champion", {"reason": reason})
    begins_at = end_tenure_in(cursor, model)
    try:
        cursor.execute(
            """INSERT INTO champion (model, model_version, valid_from, dag_run_id, reason, by_rollback)
               VALUES (%s, %s, coalesce(%s, clock_timestamp()), %s, %s, %s)""",
            (model, model_version, begins_at, dag_run_id, reason, by_rollback),
        )
    except psycopg2.errors.CheckViolation as error:
        raise refused(error) from error
