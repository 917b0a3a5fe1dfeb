"""How far each version is on its way to callers: the table `release`."""

from collections.abc import Mapping

import psycopg2
from psycopg2.extras import RealDictCursor

from perennial.adapters.state.audit import insert_audit
from perennial.adapters.state.connection import Connection
from perennial.contracts import UNDER_WAY, Force, Mode, RegisteredVersion, ReleaseRow
from perennial.errors import ReleaseError
from perennial.postgres import describe

_COLUMNS = ", ".join(ReleaseRow.__dataclass_fields__)
_UNCHANGED = {"reason": "", "bento_tag": "", "program": "", "port": None, "traffic_percent": None}


class ReleaseTable(Connection):
    """Reads and writes of the table `release`."""

    def write_release(
        self, version: RegisteredVersion, dag_run_id: str, *, mode: Mode = "live", force: Force | None = None
    ) -> list[int]:
        """Record a registered version as `registered`; the same one again changes nothing.

        In a backfill it takes the place of what the same Dag run registered before: one that waits is `rejected` then.

        Returns
        -------
        The versions that this one has superseded, now or before.

        Raises
        ------
        ReleaseError
            When another training has this version's number, or this Dag run another version.
        """
        values = (
            version.model, version.model_version, dag_run_id, version.snapshot_id, version.mlflow_run_id, version.training_end,
            version.judged_from, mode, force.by if force else "", force.reason if force else "",
        )  # fmt: skip
        with self._transaction() as cursor:
            if mode == "backfill":
                _supersede(cursor, version, dag_run_id)
            cursor.execute(
                """INSERT INTO release (model, model_version, dag_run_id, snapshot_id, mlflow_run_id, training_end,
                                        judged_from, mode, forced_by, forced_reason)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
                values,
            )
            cursor.execute(
                """SELECT model_version, dag_run_id, mlflow_run_id FROM release
                   WHERE model = %s AND (model_version = %s OR (dag_run_id = %s AND superseded_by IS NULL))
                       AND (model_version, mlflow_run_id) <> (%s, %s)""",
                (version.model, version.model_version, dag_run_id, version.model_version, version.mlflow_run_id),
            )
            if other := cursor.fetchone():
                raise ReleaseError(
                    f"{version.model} version {version.model_version} of MLflow run {version.mlflow_run_id} cannot be recorded: "
                    f"{other['dag_run_id']} recorded version {other['model_version']} of MLflow run {other['mlflow_run_id']}",
                    "the model registry and the table release disagree; was one of them restored or emptied alone?",
                )
            sql = "SELECT model_version FROM release WHERE model = %s AND superseded_by = %s ORDER BY model_version"
            cursor.execute(sql, (version.model, version.model_version))
            return [row["model_version"] for row in cursor.fetchall()]

    def force_release(self, model: str, model_version: int, force: Force) -> None:
        """Record a person's word for a version; the database itself writes it into the audit trail, once.

        Raises
        ------
        ReleaseError
            When there is no such release.
        """
        with self._transaction() as cursor:
            lock_releases(cursor, model)
            cursor.execute(
                "UPDATE release SET forced_by = %s, forced_reason = %s WHERE model = %s AND model_version = %s",
                (force.by, force.reason, model, model_version),
            )
            if cursor.rowcount == 0:
                raise ReleaseError(f"there is no release of {model} version {model_version}")

    def read_release(self, model: str, model_version: int) -> ReleaseRow | None:
        """One release, or none."""
        sql = f"SELECT {_COLUMNS} FROM release WHERE model = %s AND model_version = %s"
        rows = self._fetch(sql, (model, model_version))
        return ReleaseRow(**rows[0]) if rows else None

    def read_releases(self, model: str | None = None, *, state: str | None = None) -> list[ReleaseRow]:
        """Releases by model and state, the newest version first; None means any."""
        rows = self._fetch(
            f"""SELECT {_COLUMNS} FROM release
                WHERE (%(model)s IS NULL OR model = %(model)s) AND (%(state)s IS NULL OR state = %(state)s)
                ORDER BY model, model_version DESC""",
            {"model": model, "state": state},
        )
        return [ReleaseRow(**row) for row in rows]

    def move_release(
        self,
        model: str,
        model_version: int,
        *,
        state: str,
        reason: str = "",
        bento_tag: str = "",
        program: str = "",
        port: int | None = None,
    ) -> None:
        """Move one release to `state`; empty values leave what is recorded.

        Raises
        ------
        ReleaseError
            When the state machine does not allow the move, or there is no such release.
        """
        with self._transaction() as cursor:
            recorded = {"reason": reason, "bento_tag": bento_tag, "program": program, "port": port}
            move_release_in(cursor, model, model_version, state, recorded)

    def record_program(self, model: str, model_version: int, *, bento_tag: str, program: str, port: int) -> None:
        """Record where a version's bento runs. Its state is left alone: somebody may have moved it meanwhile."""
        with self._transaction() as cursor:
            cursor.execute(
                "UPDATE release SET bento_tag = %s, program = %s, port = %s WHERE model = %s AND model_version = %s",
                (bento_tag, program, port, model, model_version),
            )

    def reopen_release(self, model: str, model_version: int, *, dag_run_id: str) -> None:
        """Take up a stopped release again, in one transaction with its audit: it is `registered` once more.

        Stages that this Dag run recorded before are to be passed anew; their record stays, under an id that says until when.

        Raises
        ------
        ReleaseError
            When it was not stopped.
        """
        with self._transaction() as cursor:
            lock_releases(cursor, model)
            move_release_in(cursor, model, model_version, "registered", {"reason": f"taken up again by {dag_run_id}"})
            cursor.execute(
                """UPDATE release_stage
                   SET dag_run_id = dag_run_id || ' until ' || to_char(clock_timestamp(), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                   WHERE model = %s AND model_version = %s AND dag_run_id = %s""",
                (model, model_version, dag_run_id),
            )
            detail = {"dag_run_id": dag_run_id}
            insert_audit(cursor, f"release__{model}", "registered", model, f"version {model_version}", detail)


def _supersede(cursor: RealDictCursor, version: RegisteredVersion, dag_run_id: str) -> None:
    """Give way to a newer version of the same Dag run. One that was released on purpose stays where it is."""
    cursor.execute(
        """UPDATE release SET superseded_by = %(by)s,
               state = CASE state WHEN 'registered' THEN 'rejected' ELSE state END,
               reason = CASE state WHEN 'registered' THEN %(reason)s ELSE reason END
           WHERE model = %(model)s AND dag_run_id = %(dag_run_id)s AND superseded_by IS NULL AND model_version < %(by)s""",
        {
            "by": version.model_version,
            "reason": f"superseded by version {version.model_version}: its backfill did this interval over",
            "model": version.model,
            "dag_run_id": dag_run_id,
        },
    )


def lock_releases(cursor: RealDictCursor, model: str) -> None:
    """Let one transaction at a time change what serves a model or is on its way; the others wait until it ends."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"champion/{model}",))


def read_under_way_in(cursor: RealDictCursor, model: str, *, but: int) -> ReleaseRow | None:
    """The release of a model that is on its way, unless it is this version's. There is one at most, by constraint."""
    cursor.execute(
        f"SELECT {_COLUMNS} FROM release WHERE model = %s AND model_version <> %s AND state = ANY(%s)",
        (model, but, sorted(UNDER_WAY)),
    )
    return ReleaseRow(**row) if (row := cursor.fetchone()) else None


def refused(error: psycopg2.errors.CheckViolation) -> ReleaseError:
    """What the database's own guards say, and the next step they name."""
    return ReleaseError(describe(error), error.diag.message_hint or "")


def move_release_in(
    cursor: RealDictCursor, model: str, model_version: int, state: str, recorded: Mapping[str, object] | None = None
) -> None:
    values = {"model": model, "model_version": model_version, "state": state, **_UNCHANGED, **(recorded or {})}
    try:
        cursor.execute(
            """UPDATE release SET state = %(state)s, reason = coalesce(nullif(%(reason)s, ''), reason),
                   bento_tag = coalesce(nullif(%(bento_tag)s, ''), bento_tag),
                   program = coalesce(nullif(%(program)s, ''), program), port = coalesce(%(port)s, port),
                   traffic_percent = coalesce(%(traffic_percent)s, traffic_percent)
               WHERE model = %(model)s AND model_version = %(model_version)s""",
            values,
        )
    except psycopg2.errors.CheckViolation as error:
        raise refused(error) from error
    except psycopg2.errors.UniqueViolation as error:
        raise ReleaseError(
            f"another version of {model} is on its way to callers, so version {model_version} cannot become {state}",
            "one release of a model at a time: let the other one end, or start this one again through its Dag",
        ) from error
    if cursor.rowcount == 0:
        raise ReleaseError(f"there is no release of {model} version {model_version}")
