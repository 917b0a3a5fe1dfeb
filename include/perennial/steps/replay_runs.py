"""The Dag runs that a step of a replay sets off: the window's monitor, the retraining it was granted, its release."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from perennial.adapters.airflow_api import AirflowApi, DagRunState
from perennial.adapters.state import StateStore
from perennial.config.settings import Settings
from perennial.contracts import Decision
from perennial.contracts.monitoring import RetrainRequest, Verdict
from perennial.contracts.replay import Interval, ReleaseOutcome, RetrainingOutcome
from perennial.errors import StackError, UnavailableError
from perennial.steps.request_retraining import window_key

Tell = Callable[[str], None]

_POLL_SECONDS = 1.0
# A list of tasks costs Airflow several times what the state of a run does.
_TELL_SECONDS = 5.0
_SILENCE_SECONDS = 300.0
_START_SECONDS = 120.0
_RUN_SECONDS = 2 * 3600.0
_ENDED = ("success", "failed")
_WAITING = ("running", "deferred", "up_for_retry", "queued", "awaiting_input")


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """What a window's verdict set off. Empty outcomes mean that it did not come to that; `promoted` is the new champion."""

    verdict: Verdict
    request: RetrainRequest | None = None
    retraining: RetrainingOutcome = ""
    decision: Decision | None = None
    release: ReleaseOutcome = ""
    promoted: int | None = None


class StepRuns:
    """Starts a window's monitor and follows what it sets off to its end. `tell` hears what is being waited for."""

    def __init__(self, model: str, *, api: AirflowApi, settings: Settings, tell: Tell) -> None:
        self._model = model
        self._api = api
        self._settings = settings
        self._tell = tell

    def follow(self, interval: Interval) -> Aftermath:
        """Monitor a window, then wait for the retraining and the release that come of it.

        Dag run ids are deterministic: a run that is there already is waited for, not started again.

        Raises
        ------
        StackError
            When the monitor's run failed, or a run has not ended after two hours.
        UnavailableError
            When Airflow is silent for five minutes.
        """
        run = self._api.trigger(
            f"monitor__{self._model}",
            f"replay__{interval.start:%Y%m%dT%H%M}__{interval.end:%Y%m%dT%H%M}",
            {"start": interval.start.isoformat(), "end": interval.end.isoformat()},
        )
        if self._finish(run.dag_id, run.dag_run_id) != "success":
            raise StackError(f"{run.dag_id} run {run.dag_run_id} failed", f"clear its red task at {self._link(run)}, then again")
        with StateStore(self._settings.state_url) as state:
            verdict = state.read_verdict(self._model, start=interval.start, end=interval.end)
            request = state.find_request(self._model, window_key(interval.start, interval.end))
        if verdict is None:
            raise StackError(f"{run.dag_run_id} left no verdict", f"look at {self._link(run)}")
        if request is None or request.outcome != "granted":
            return Aftermath(verdict=verdict, request=request)
        return self._follow_retraining(verdict, request)

    def _follow_retraining(self, verdict: Verdict, request: RetrainRequest) -> Aftermath:
        dag_id = f"retrain__{self._model}"
        ended = self._finish(dag_id, request.dag_run_id)
        with StateStore(self._settings.state_url) as state:
            decision = state.read_decision(self._model, request.dag_run_id)
        if decision is None or ended != "success":
            return Aftermath(verdict=verdict, request=request, retraining="failed", decision=decision)
        after = Aftermath(verdict=verdict, request=request, retraining=decision.outcome, decision=decision)
        if decision.outcome != "accepted":
            return after
        promoted = self._follow_release(dag_id, request.dag_run_id)
        return replace(after, release="stopped" if promoted is None else "promoted", promoted=promoted)

    def _follow_release(self, dag_id: str, dag_run_id: str) -> int | None:
        """The version that the challenger of a retraining made champion, whoever serves since; None where it was stopped."""
        deadline = time.monotonic() + _START_SECONDS
        while not (triggered := self._api.find_triggered(dag_id, dag_run_id)):
            if time.monotonic() > deadline:
                raise StackError(f"the challenger of {dag_run_id} started no release", "look at Airflow's Assets page")
            time.sleep(_POLL_SECONDS)
        for run in triggered:
            self._finish(run.dag_id, run.dag_run_id)
        with StateStore(self._settings.state_url) as state:
            return state.read_promoted(self._model, [run.dag_run_id for run in triggered])

    def _finish(self, dag_id: str, dag_run_id: str) -> str:
        """Final state of a Dag run. Airflow may be away for a while: it comes back by itself."""
        heard_at, told_at = time.monotonic(), -_TELL_SECONDS
        deadline = heard_at + _RUN_SECONDS
        while time.monotonic() < deadline:
            try:
                run, heard_at = self._api.find_dag_run(dag_id, dag_run_id), time.monotonic()
                if run and run.state in _ENDED:
                    return run.state
                if heard_at >= told_at + _TELL_SECONDS:
                    self._tell(self._describe(dag_id, run))
                    told_at = heard_at
            except UnavailableError:
                if time.monotonic() > heard_at + _SILENCE_SECONDS:
                    raise
            time.sleep(_POLL_SECONDS)
        raise StackError(f"{dag_id} run {dag_run_id} has not ended after two hours", "look at it in Airflow's UI")

    def _describe(self, dag_id: str, run: DagRunState | None) -> str:
        tasks = self._api.read_tasks(dag_id, run.dag_run_id) if run else []
        active = [f"{each.task_id} {each.map_name}".rstrip() for each in tasks if each.state in _WAITING]
        return f"{dag_id}: {', '.join(active) or 'between tasks'}"

    def _link(self, run: DagRunState) -> str:
        return f"{self._settings.airflow_link}/dags/{run.dag_id}/runs/{run.dag_run_id}"
