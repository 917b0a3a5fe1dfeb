"""What a release's stages measured: the table `release_stage`."""

from collections.abc import Sequence
from dataclasses import asdict

from psycopg2.extras import Json, RealDictCursor

from perennial.adapters.state.audit import insert_audit
from perennial.adapters.state.connection import Connection
from perennial.adapters.state.releases import lock_releases, move_release_in
from perennial.contracts import STATES_WHEN_STOPPED, Measure, Stage, StageName, StageOutcome
from perennial.errors import ReleaseError

_COLUMNS = ", ".join(Stage.__dataclass_fields__)
_KEY = "model = %s AND model_version = %s AND dag_run_id = %s AND stage = %s AND step = %s"
# The state that a release has while a stage runs; a check has none of its own, what passed it is `checked`.
_STATES: dict[StageName, str] = {"shadow": "shadow", "canary": "canary"}


class StageTable(Connection):
    """Reads and writes of the table `release_stage`, with the moves of `release` that belong to them."""

    def start_stage(self, model: str, model_version: int, *, dag_run_id: str, stage: StageName, step: int, percent: int) -> Stage:
        """Open a stage and move its release there, in one transaction; one that is open or over already is returned as it is.

        A check leaves its release as it is; it becomes `checked` by `end_stage`.

        Raises
        ------
        ReleaseError
            When the state machine does not allow the move, or another version is on its way.
        """
        key = (model, model_version, dag_run_id, stage, step)
        with self._transaction() as cursor:
            lock_releases(cursor, model)
            cursor.execute(
                """INSERT INTO release_stage (model, model_version, dag_run_id, stage, step, traffic_percent, champion_version)
                   VALUES (%s, %s, %s, %s, %s, %s,
                           (SELECT model_version FROM champion WHERE model = %s AND valid_to IS NULL))
                   ON CONFLICT DO NOTHING""",
                (*key, percent, model),
            )
            found = _read_stage(cursor, key)
            if found.outcome == "running" and stage in _STATES:
                move_release_in(cursor, model, model_version, _STATES[stage], {"traffic_percent": found.traffic_percent})
        return found

    def end_stage(
        self, stage: Stage, *, outcome: StageOutcome, reason: str, n_requests: int, measures: Sequence[Measure], state: str = ""
    ) -> Stage:
        """Close an open stage and, where `state` is given, move its release there, in one transaction with its audit.

        A shadow that passed gets no more copies.

        Returns
        -------
        The stage as recorded; one that was closed before keeps its outcome.
        """
        model, number = stage.model, stage.model_version
        key = (model, number, stage.dag_run_id, stage.stage, stage.step)
        with self._transaction() as cursor:
            lock_releases(cursor, model)
            cursor.execute(
                f"""UPDATE release_stage
                    SET outcome = %s, reason = %s, n_requests = %s, measures = %s, ended_at = clock_timestamp()
                    WHERE {_KEY} AND outcome = 'running'""",
                (outcome, reason, n_requests, Json([asdict(each) for each in measures]), *key),
            )
            if cursor.rowcount:
                if state or (stage.stage, outcome) == ("shadow", "passed"):
                    move_release_in(cursor, model, number, state or "shadow", {"reason": reason, "traffic_percent": 0})
                detail = {"stage": stage.stage, "step": stage.step, "reason": reason, "dag_run_id": stage.dag_run_id}
                action = state or f"{stage.stage} {outcome}"
                insert_audit(cursor, f"release__{model}", action, model, f"version {number}", detail)
            return _read_stage(cursor, key)

    def stop_release(self, model: str, model_version: int, *, reason: str, actor: str) -> str:
        """End a release that is on its way, close its open stages and say so in the audit trail, in one transaction.

        Returns
        -------
        The state it has now: `rolled_back` from its canary, `rejected` from before. One that is not on its way keeps its own.
        """
        with self._transaction() as cursor:
            lock_releases(cursor, model)
            return stop_release_in(cursor, model, model_version, reason=reason, actor=actor)

    def read_stage(self, stage: Stage) -> Stage:
        """What is recorded of a stage now."""
        with self._transaction() as cursor:
            return _read_stage(cursor, (stage.model, stage.model_version, stage.dag_run_id, stage.stage, stage.step))

    def read_stages(self, model: str, model_version: int) -> list[Stage]:
        """All stages of a version, the earliest first."""
        sql = f"SELECT {_COLUMNS} FROM release_stage WHERE model = %s AND model_version = %s ORDER BY started_at, step"
        return [_to_stage(row) for row in self._fetch(sql, (model, model_version))]


def stop_release_in(cursor: RealDictCursor, model: str, model_version: int, *, reason: str, actor: str) -> str:
    """End one release within a transaction that holds the lock; returns its state."""
    cursor.execute("SELECT state FROM release WHERE model = %s AND model_version = %s", (model, model_version))
    if (row := cursor.fetchone()) is None:
        raise ReleaseError(f"there is no release of {model} version {model_version}")
    state = str(row["state"])
    if (stopped := STATES_WHEN_STOPPED.get(state)) is None:
        return state
    move_release_in(cursor, model, model_version, stopped, {"reason": reason})
    end_open_stages_in(cursor, model, model_version, reason=reason)
    insert_audit(cursor, actor, stopped, model, f"version {model_version}", {"reason": reason})
    return stopped


def end_open_stages_in(cursor: RealDictCursor, model: str, model_version: int, *, reason: str) -> None:
    cursor.execute(
        """UPDATE release_stage SET outcome = 'ended', reason = %s, ended_at = clock_timestamp()
           WHERE model = %s AND model_version = %s AND outcome = 'running'""",
        (reason, model, model_version),
    )


def _read_stage(cursor: RealDictCursor, key: tuple[object, ...]) -> Stage:
    cursor.execute(f"SELECT {_COLUMNS} FROM release_stage WHERE {_KEY}", key)
    if (row := cursor.fetchone()) is None:
        raise ReleaseError(f"there is no stage {key[3]} of {key[0]} version {key[1]} in {key[2]}")
    return _to_stage(row)


def _to_stage(row: object) -> Stage:
    columns = dict(row)  # type: ignore[call-overload]
    return Stage(**{**columns, "measures": tuple(Measure(**each) for each in columns["measures"])})
