"""What a release's stages measured: the table `release_stage`."""

from collections.abc import Sequence
from dataclasses import asdict

from psycopg2.extras import Json, RealDictCursor

from perennial.adapters.state.audit import insert_audit
from perennial.adapters.state.connection import Connection
from perennial.adapters.state.releases import move_release_in
from perennial.contracts import Measure, Stage, StageName, StageOutcome
from perennial.errors import ReleaseError

_COLUMNS = ", ".join(Stage.__dataclass_fields__)
_KEY = "model = %s AND model_version = %s AND dag_run_id = %s AND stage = %s AND step = %s"
_STATES: dict[StageName, str] = {"check": "checked", "shadow": "shadow", "canary": "canary"}


class StageTable(Connection):
    """Reads and writes of the table `release_stage`, with the moves of `release` that belong to them."""

    def start_stage(self, model: str, model_version: int, *, dag_run_id: str, stage: StageName, step: int, percent: int) -> Stage:
        """Open a stage and move its release there, in one transaction; one that is open or over already is returned as it is.

        Raises
        ------
        ReleaseError
            When the state machine does not allow the move, or another version is on its way.
        """
        key = (model, model_version, dag_run_id, stage, step)
        with self._transaction() as cursor:
            cursor.execute(
                """INSERT INTO release_stage (model, model_version, dag_run_id, stage, step, traffic_percent, champion_version)
                   VALUES (%s, %s, %s, %s, %s, %s,
                           (SELECT model_version FROM champion WHERE model = %s AND valid_to IS NULL))
                   ON CONFLICT DO NOTHING""",
                (*key, percent, model),
            )
            found = _read_stage(cursor, key)
            if found.outcome == "running":
                move_release_in(cursor, model, model_version, _STATES[stage], {"traffic_percent": percent})
        return found

    def end_stage(
        self, stage: Stage, *, outcome: StageOutcome, reason: str, n_requests: int, measures: Sequence[Measure], state: str = ""
    ) -> Stage:
        """Close an open stage and, where `state` is given, move its release there, in one transaction with its audit.

        Returns
        -------
        The stage as recorded; one that was closed before keeps its outcome.
        """
        key = (stage.model, stage.model_version, stage.dag_run_id, stage.stage, stage.step)
        with self._transaction() as cursor:
            cursor.execute(
                f"""UPDATE release_stage
                    SET outcome = %s, reason = %s, n_requests = %s, measures = %s, ended_at = clock_timestamp()
                    WHERE {_KEY} AND outcome = 'running'""",
                (outcome, reason, n_requests, Json([asdict(each) for each in measures]), *key),
            )
            if cursor.rowcount and state:
                move_release_in(cursor, stage.model, stage.model_version, state, {"reason": reason})
                subject, detail = f"version {stage.model_version}", {"stage": stage.stage, "step": stage.step, "reason": reason}
                insert_audit(cursor, f"release__{stage.model}", state, stage.model, subject, detail)
            return _read_stage(cursor, key)

    def stop_release(self, model: str, model_version: int, *, state: str, reason: str, actor: str) -> None:
        """Move a release to `rejected` or `rolled_back`, close its open stages and say so in the audit trail.

        Raises
        ------
        ReleaseError
            When the state machine does not allow the move.
        """
        with self._transaction() as cursor:
            move_release_in(cursor, model, model_version, state, {"reason": reason})
            cursor.execute(
                """UPDATE release_stage SET outcome = 'ended', reason = %s, ended_at = clock_timestamp()
                   WHERE model = %s AND model_version = %s AND outcome = 'running'""",
                (reason, model, model_version),
            )
            insert_audit(cursor, actor, state, model, f"version {model_version}", {"reason": reason})

    def read_stages(self, model: str, model_version: int) -> list[Stage]:
        """All stages of a version, the earliest first."""
        sql = f"SELECT {_COLUMNS} FROM release_stage WHERE model = %s AND model_version = %s ORDER BY started_at, step"
        return [_to_stage(row) for row in self._fetch(sql, (model, model_version))]


def _read_stage(cursor: RealDictCursor, key: tuple[object, ...]) -> Stage:
    cursor.execute(f"SELECT {_COLUMNS} FROM release_stage WHERE {_KEY}", key)
    if (row := cursor.fetchone()) is None:
        raise ReleaseError(f"there is no stage {key[3]} of {key[0]} version {key[1]} in {key[2]}")
    return _to_stage(row)


def _to_stage(row: object) -> Stage:
    columns = dict(row)  # type: ignore[call-overload]
    return Stage(**{**columns, "measures": tuple(Measure(**each) for each in columns["measures"])})
