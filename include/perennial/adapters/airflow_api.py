"""Airflow's public REST API, for programs that start Dag runs and watch them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import httpx

from perennial.errors import ConfigurationError, UnavailableError

_RUN_TYPES_BUT_BACKFILL = ["manual", "scheduled", "operator_triggered", "asset_triggered", "asset_materialization"]
# The most that Airflow gives in one answer.
_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class DagRunState:
    """A Dag run as the API sees it: `state` is queued, running, success or failed."""

    dag_id: str
    dag_run_id: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DagInterval:
    """A Dag run of one data interval: `run_type` is scheduled, backfill, manual, …; `state` as in `DagRunState`."""

    dag_run_id: str
    run_type: str
    state: str
    logical_date: datetime
    as_of: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """A backfill as a person started it; it covers the logical dates from `start` to `end`, both included."""

    backfill_id: int
    start: datetime
    end: datetime
    reprocess: str
    created_at: datetime
    completed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """One task instance; `state` is None before it is scheduled, `map_name` is empty for an unmapped task.

    `process_id` is that of the latest try, on the machine of its worker; None before the first one.
    """

    task_id: str
    map_name: str
    state: str | None
    seconds: float | None
    started_at: datetime | None
    ended_at: datetime | None
    process_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanAnswer:
    """What a task that waits for a person was told. The user is None where the deadline answered."""

    options: tuple[str, ...]
    inputs: Mapping[str, object]
    answered_at: datetime
    user_id: str | None
    user_name: str | None


class _NotThere(ConfigurationError):
    """What was asked for does not exist in Airflow."""


class AirflowApi:
    """A logged-in session with Airflow's API.

    Raises
    ------
    UnavailableError
        From any method, when Airflow does not answer.
    ConfigurationError
        When Airflow refuses the login or the request.
    """

    def __init__(self, url: str, *, user: str, password: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30)
        token = self._call("POST", "/auth/token", json={"username": user, "password": password})["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def close(self) -> None:
        """End the session."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            response = self._client.request(method, path, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnavailableError(
                f"Airflow does not answer at {self._client.base_url}: {error}", "see: perennial status"
            ) from error
        if response.status_code >= 500:
            raise UnavailableError(f"Airflow answered {response.status_code} to {method} {path}", "see: perennial status")
        if response.is_error:
            kind = _NotThere if response.status_code == httpx.codes.NOT_FOUND else ConfigurationError
            raise kind(f"Airflow refused {method} {path}: {response.status_code} {response.text[:500]}")
        try:
            body: dict[str, Any] = response.json()
        except ValueError as error:  # whoever answers there is not Airflow
            raise ConfigurationError(
                f"{self._client.base_url} does not answer as Airflow does", "see: perennial status"
            ) from error
        return body

    def has_dag(self, dag_id: str) -> bool:
        """Whether Airflow has parsed this Dag yet."""
        found = self._call("GET", "/api/v2/dags", params={"dag_id_pattern": dag_id, "exclude_stale": True})
        return any(dag["dag_id"] == dag_id for dag in found["dags"])

    def read_import_errors(self) -> list[str]:
        """What Airflow could not parse, as `file: last line of the trace`."""
        errors = self._call("GET", "/api/v2/importErrors")["import_errors"]
        return [f"{error['filename']}: {error['stack_trace'].strip().splitlines()[-1]}" for error in errors]

    def find_dag_runs(self, dag_id: str) -> list[DagRunState]:
        """The latest 50 runs of a Dag, the newest first."""
        query = {"order_by": "-run_after", "limit": 50}
        return [_dag_run(run) for run in self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns", params=query)["dag_runs"]]

    def find_dag_run(self, dag_id: str, dag_run_id: str) -> DagRunState | None:
        """State of one Dag run; None where there is none of that id."""
        try:
            return self.read_dag_run(dag_id, dag_run_id)
        except _NotThere:
            return None

    def find_unfinished_runs(self, dag_id: str) -> list[DagRunState]:
        """Runs of a Dag that wait or run, without those of backfills, the newest first."""
        query = {"state": ["queued", "running"], "run_type": _RUN_TYPES_BUT_BACKFILL, "order_by": "-run_after", "limit": 50}
        return [_dag_run(run) for run in self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns", params=query)["dag_runs"]]

    def trigger(self, dag_id: str, dag_run_id: str, params: Mapping[str, object]) -> DagRunState:
        """Start a Dag run with params, unless one of that id exists.

        Raises
        ------
        UnavailableError
            When Airflow does not know the Dag: it parses a changed spec within a minute, and a broken one not at all.
        """
        if found := self.find_dag_run(dag_id, dag_run_id):
            return found
        body = {"dag_run_id": dag_run_id, "logical_date": None, "conf": dict(params)}
        try:
            return _dag_run(self._call("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body))
        except _NotThere as error:
            where = f"Airflow does not know {dag_id}, or not yet: it takes a minute to read a spec that was changed"
            raise UnavailableError(where, "see whether the spec is right (perennial check), then the same again") from error

    def read_dag_run(self, dag_id: str, dag_run_id: str) -> DagRunState:
        """State of one Dag run."""
        return _dag_run(self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}"))

    def read_note(self, dag_id: str, dag_run_id: str) -> str:
        """The note beside a Dag run; empty where it has none."""
        return self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}")["note"] or ""

    def write_note(self, dag_id: str, dag_run_id: str, note: str) -> None:
        """Put a note of up to 1,000 characters beside a Dag run, in place of what stood there."""
        self._call("PATCH", f"/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", params={"update_mask": "note"}, json={"note": note})

    def read_backfills(self, dag_id: str) -> list[Backfill]:
        """Backfills of a Dag, the newest first; Airflow lets one at a time run."""
        query = {"dag_id": dag_id, "order_by": "-id", "limit": _PAGE}
        return [_backfill(each) for each in self._call("GET", "/api/v2/backfills", params=query)["backfills"]]

    def read_intervals(self, dag_id: str, start: datetime, end: datetime) -> list[DagInterval]:
        """Dag runs whose logical date lies in `[start, end]`, the earliest first."""
        query: dict[str, Any] = {"logical_date_gte": start.isoformat(), "logical_date_lte": end.isoformat()}
        runs: list[Mapping[str, Any]] = []
        while not runs or len(runs) % _PAGE == 0:
            page = {**query, "order_by": "logical_date", "limit": _PAGE, "offset": len(runs)}
            found = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns", params=page)["dag_runs"]
            if not found:
                break
            runs += found
        return [_interval(run) for run in runs]

    def find_triggered(self, source_dag_id: str, source_dag_run_id: str) -> list[DagRunState]:
        """Dag runs that the Asset events of one Dag run started."""
        query = {"source_dag_id": source_dag_id, "source_run_id": source_dag_run_id}
        events = self._call("GET", "/api/v2/assets/events", params=query)["asset_events"]
        created = [run for event in events for run in event["created_dagruns"]]
        return [DagRunState(dag_id=run["dag_id"], dag_run_id=run["run_id"], state=run["state"]) for run in created]

    def read_tasks(self, dag_id: str, dag_run_id: str) -> list[TaskState]:
        """Task instances of a run, in the order they started."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances"
        found = self._call("GET", path, params={"limit": 100, "order_by": "start_date"})["task_instances"]
        return [
            TaskState(
                task_id=each["task_id"],
                map_name=each.get("rendered_map_index") or "",
                state=each["state"],
                seconds=each["duration"],
                started_at=_instant(each["start_date"]),
                ended_at=_instant(each["end_date"]),
                process_id=each["pid"],
            )
            for each in found
        ]

    def find_answer(self, dag_id: str, dag_run_id: str, task_id: str) -> HumanAnswer | None:
        """The answer that a task of a run was given; None before."""
        query = {"task_id": task_id, "response_received": True}
        found = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/hitlDetails", params=query)["hitl_details"]
        return _answer(found[0]) if found else None


def _answer(body: Mapping[str, Any]) -> HumanAnswer:
    user = body["responded_by_user"] or {}
    return HumanAnswer(
        options=tuple(body["chosen_options"]),
        inputs=body["params_input"] or {},
        answered_at=datetime.fromisoformat(body["responded_at"]),
        user_id=user.get("id"),
        user_name=user.get("name"),
    )


def _backfill(body: Mapping[str, Any]) -> Backfill:
    return Backfill(
        backfill_id=body["id"],
        start=datetime.fromisoformat(body["from_date"]),
        end=datetime.fromisoformat(body["to_date"]),
        reprocess=body["reprocess_behavior"],
        created_at=datetime.fromisoformat(body["created_at"]),
        completed_at=_instant(body["completed_at"]),
    )


def _interval(body: Mapping[str, Any]) -> DagInterval:
    return DagInterval(
        dag_run_id=body["dag_run_id"],
        run_type=body["run_type"],
        state=body["state"],
        logical_date=datetime.fromisoformat(body["logical_date"]),
        as_of=datetime.fromisoformat(body["data_interval_end"]),
    )


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _dag_run(body: Mapping[str, Any]) -> DagRunState:
    return DagRunState(dag_id=body["dag_id"], dag_run_id=body["dag_run_id"], state=body["state"])
