"""The business state in our own Postgres database. Tables and their constraints are in `sql/migrations`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import psycopg2
from psycopg2.extras import Json, RealDictCursor

from perennial.contracts import Champion, Decision, GateResult, RegisteredVersion, ReleaseRow, Snapshot, Validation
from perennial.errors import PermanentError, ReleaseError, UnavailableError

if TYPE_CHECKING:
    from psycopg2.extensions import connection

# Instants come back in the session's time zone: whatever the server's is, they are to be UTC.
_CONNECTION: dict[str, Any] = {"connect_timeout": 10, "application_name": "perennial", "options": "-c timezone=UTC"}
_RELEASE_COLUMNS = ", ".join(ReleaseRow.__dataclass_fields__)
_UNCHANGED = {"reason": "", "bento_tag": "", "program": "", "port": None}
_DECISION_COLUMNS = ", ".join(Decision.__dataclass_fields__)
_SNAPSHOT_COLUMNS = "snapshot_id, model, as_of, window_start AS start, holdout_start, n_rows, digest, sql_digest, dvc_revision"


class StateStore:
    """Reads and writes of the business state; every method is one transaction. Use as a context manager.

    Raises
    ------
    UnavailableError
        From any method, when Postgres does not answer.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: connection | None = None

    def __enter__(self) -> Self:
        try:
            self._connection = psycopg2.connect(self._url, **_CONNECTION)
        except psycopg2.OperationalError as error:
            raise UnavailableError(f"the state database does not answer: {error}".strip(), "see: perennial status") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[RealDictCursor]:
        if self._connection is None:
            raise PermanentError("StateStore is used outside its `with` block")
        try:
            with self._connection as open_connection, open_connection.cursor(cursor_factory=RealDictCursor) as cursor:
                yield cursor
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            raise UnavailableError(f"the state database went away: {error}".strip(), "see: perennial status") from error

    def _fetch(self, sql: str, values: tuple[object, ...] | Mapping[str, object]) -> Sequence[Mapping[str, Any]]:
        with self._transaction() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall()

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock that all processes share; waits for it. Postgres frees it when the holder dies."""
        with self._transaction() as cursor:
            cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (name,))
        try:
            yield
        finally:
            with self._transaction() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (name,))

    # snapshots

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

    def read_snapshot_row_counts(self, model: str, before: datetime, *, window: timedelta, limit: int = 10) -> list[int]:
        """Rows that the raw suite saw for the latest snapshots of windows as long, with `as_of` before `before`; newest first."""
        rows = self._fetch(
            """SELECT coalesce((SELECT (each ->> 'n_rows')::bigint FROM jsonb_array_elements(validation) AS each
                                WHERE each ->> 'point' = 'raw' LIMIT 1), n_rows) AS n_rows
               FROM (SELECT DISTINCT ON (as_of) * FROM snapshot
                     WHERE model = %s AND as_of < %s AND as_of - window_start = %s
                     ORDER BY as_of DESC, created_at DESC LIMIT %s) AS latest
               ORDER BY as_of DESC""",
            (model, before, window, limit),
        )
        return [row["n_rows"] for row in rows]

    # decisions

    def write_decision(self, decision: Decision) -> None:
        """Record the outcome of the gates; one row per model and Dag run, the last word stays."""
        values = (
            decision.model, decision.dag_run_id, decision.snapshot_id, decision.outcome, decision.candidate,
            decision.mlflow_run_id, decision.champion_version, Json([asdict(gate) for gate in decision.gates]),
            Json(dict(decision.challenger_metrics)), Json(dict(decision.champion_metrics)), Json(dict(decision.slices)),
            decision.forced_reason,
        )  # fmt: skip
        with self._transaction() as cursor:
            cursor.execute(
                """INSERT INTO decision (model, dag_run_id, snapshot_id, outcome, candidate, mlflow_run_id, champion_version,
                                         gates, challenger_metrics, champion_metrics, slices, forced_reason)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
                   ON CONFLICT (model, dag_run_id) DO UPDATE SET
                       snapshot_id = EXCLUDED.snapshot_id, outcome = EXCLUDED.outcome, candidate = EXCLUDED.candidate,
                       mlflow_run_id = EXCLUDED.mlflow_run_id, champion_version = EXCLUDED.champion_version,
                       gates = EXCLUDED.gates, challenger_metrics = EXCLUDED.challenger_metrics,
                       champion_metrics = EXCLUDED.champion_metrics, slices = EXCLUDED.slices,
                       forced_reason = EXCLUDED.forced_reason, decided_at = now()""",
                values,
            )

    def read_decision(self, model: str, dag_run_id: str) -> Decision | None:
        """The recorded decision of a Dag run, or none."""
        sql = f"SELECT {_DECISION_COLUMNS} FROM decision WHERE model = %s AND dag_run_id = %s"
        rows = self._fetch(sql, (model, dag_run_id))
        return Decision(**{**rows[0], "gates": tuple(GateResult(**gate) for gate in rows[0]["gates"])}) if rows else None

    # releases

    def write_release(self, version: RegisteredVersion, dag_run_id: str) -> None:
        """Record a registered version as `registered`; the same one again changes nothing.

        Raises
        ------
        ReleaseError
            When another training has this version's number, or this Dag run another version.
        """
        values = (
            version.model, version.model_version, dag_run_id, version.snapshot_id, version.mlflow_run_id, version.training_end,
        )  # fmt: skip
        with self._transaction() as cursor:
            cursor.execute(
                """INSERT INTO release (model, model_version, dag_run_id, snapshot_id, mlflow_run_id, training_end)
                   VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
                values,
            )
            cursor.execute(
                """SELECT model_version, dag_run_id, mlflow_run_id FROM release
                   WHERE model = %s AND (model_version = %s OR dag_run_id = %s)
                       AND (model_version, mlflow_run_id) <> (%s, %s)""",
                (version.model, version.model_version, dag_run_id, version.model_version, version.mlflow_run_id),
            )
            if other := cursor.fetchone():
                raise ReleaseError(
                    f"{version.model} version {version.model_version} of MLflow run {version.mlflow_run_id} cannot be recorded: "
                    f"{other['dag_run_id']} recorded version {other['model_version']} of MLflow run {other['mlflow_run_id']}",
                    "the model registry and the table release disagree; was one of them restored or emptied alone?",
                )

    def read_release(self, model: str, model_version: int) -> ReleaseRow | None:
        """One release, or none."""
        sql = f"SELECT {_RELEASE_COLUMNS} FROM release WHERE model = %s AND model_version = %s"
        rows = self._fetch(sql, (model, model_version))
        return ReleaseRow(**rows[0]) if rows else None

    def read_releases(self, model: str | None = None, *, state: str | None = None) -> list[ReleaseRow]:
        """Releases by model and state, the newest version first; None means any."""
        rows = self._fetch(
            f"""SELECT {_RELEASE_COLUMNS} FROM release
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
            _move_release(cursor, model, model_version, state, recorded)

    def reject(self, model: str, model_version: int, *, reason: str, actor: str) -> None:
        """Move one release to `rejected` and say so in the audit trail, in one transaction. Raises as `move_release` does."""
        with self._transaction() as cursor:
            _move_release(cursor, model, model_version, "rejected", {"reason": reason})
            _insert_audit(cursor, actor, "reject", model, f"version {model_version}", {"reason": reason})

    # champions

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
                _move_release(cursor, model, before, "retired")
            _move_release(cursor, model, model_version, "champion")
            cursor.execute(
                "INSERT INTO champion (model, model_version, dag_run_id, reason) VALUES (%s, %s, %s, %s)",
                (model, model_version, dag_run_id, reason),
            )
            _insert_audit(cursor, actor, "promote", model, f"version {model_version}", {"before": before, "reason": reason})
        return before

    # audit

    def has_audit(self, action: str, *, model: str, subject: str) -> bool:
        """Whether the audit trail holds this action on this subject."""
        sql = "SELECT 1 FROM audit WHERE model = %s AND action = %s AND subject = %s LIMIT 1"
        return bool(self._fetch(sql, (model, action, subject)))

    def write_audit(self, actor: str, action: str, *, model: str, subject: str, detail: Mapping[str, object]) -> None:
        """Append to the audit trail."""
        with self._transaction() as cursor:
            _insert_audit(cursor, actor, action, model, subject, detail)


def _move_release(
    cursor: RealDictCursor, model: str, model_version: int, state: str, recorded: Mapping[str, object] | None = None
) -> None:
    values = {"model": model, "model_version": model_version, "state": state, **_UNCHANGED, **(recorded or {})}
    try:
        cursor.execute(
            """UPDATE release SET state = %(state)s, reason = coalesce(nullif(%(reason)s, ''), reason),
                   bento_tag = coalesce(nullif(%(bento_tag)s, ''), bento_tag),
                   program = coalesce(nullif(%(program)s, ''), program), port = coalesce(%(port)s, port)
               WHERE model = %(model)s AND model_version = %(model_version)s""",
            values,
        )
    except psycopg2.errors.CheckViolation as error:
        raise ReleaseError(str(error).splitlines()[0]) from error
    if cursor.rowcount == 0:
        raise ReleaseError(f"there is no release of {model} version {model_version}")


def _insert_audit(
    cursor: RealDictCursor, actor: str, action: str, model: str, subject: str, detail: Mapping[str, object]
) -> None:
    cursor.execute(
        "INSERT INTO audit (actor, action, model, subject, detail) VALUES (%s, %s, %s, %s, %s)",
        (actor, action, model, subject, Json(dict(detail))),
    )
