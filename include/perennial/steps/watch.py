"""Watch a challenger beside the champion until it has shown enough, or gone over a limit.

A task that is killed and run again goes on watching the same window, as the tables say it. What the gateway does stays as it is
meanwhile. Anew begin: the count of restarts, the time not ready, what the bentos counted themselves, and the wait for traffic.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from perennial.adapters.state import StateStore
from perennial.adapters.state.observations import RequestCounts
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts import Measure, Stage, StageOutcome
from perennial.core.stage_judging import Thresholds, describe_replay, judge
from perennial.core.stage_observation import Seen, join
from perennial.steps.observe import Observer
from perennial.steps.own_counts import NOTHING
from perennial.steps.replay import NO_REPLAY, count_replayed, replay
from perennial.steps.stage_end import carry_out, end_stage, name_stage

_logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
# A look reads up to some thousand rows, on the machine that serves: at most every tenth moment is spent on looking.
_PERIOD_IN_LOOKS = 10
_SAY_SECONDS = 10.0
# The last answers are shipped within a second.
_SETTLE_SECONDS = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPlan:
    """How long a stage lasts. With `ends_early`, `n_wanted` requests end it before its time."""

    n_wanted: int
    lasts: timedelta
    ends_early: bool


def watch(spec: ModelSpec, state: StateStore, stage: Stage, *, plan: WatchPlan, port: int, settings: Settings) -> Stage:
    """Watch a stage to its end; one that has ended gets what carry_outs from it.

    Raises
    ------
    Breach
        When the challenger goes over a limit. Callers are with the champion again, and its bento is stopped.
    ReleaseError
        When the stage is ended from outside, or too few requests came.
    UnavailableError
        When Postgres or the gateway is away. Trying again goes on watching.
    """
    if stage.outcome != "running":
        return carry_out(spec, state, stage, settings=settings)
    try:
        return _Watch(spec, state, stage, plan=plan, port=port, settings=settings).run()
    except _EndedElsewhere as over:
        return over.stage


class _EndedElsewhere(Exception):
    """The stage has passed already, by another process of the same task."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.reason)
        self.stage = stage


class _Watch:
    def __init__(
        self, spec: ModelSpec, state: StateStore, stage: Stage, *, plan: WatchPlan, port: int, settings: Settings
    ) -> None:
        self._spec, self._state, self._stage, self._plan = spec, state, stage, plan
        self._port, self._settings = port, settings
        self._since = state.read_clock()
        self._observer = Observer(settings, state, stage, port=port, since=self._since)
        self._thresholds = _thresholds(spec)
        self._said_at = 0.0

    def run(self) -> Stage:
        plan, release = self._plan, self._spec.release
        _logger.info("%s: beside version %s, %s", name_stage(self._stage), self._stage.champion_version, _describe(plan))
        seen = self._look_until(self._is_time_over)
        if _n(seen) < plan.n_wanted and release.quiet == "wait":
            at_most = release.quiet_at_most
            _logger.info("%d of %d requests came; waiting for more, until %s after the start", _n(seen), plan.n_wanted, at_most)
            seen = self._look_until(lambda n, elapsed: elapsed >= at_most or n >= plan.n_wanted)
        if _n(seen) >= plan.n_wanted:
            time.sleep(_SETTLE_SECONDS)
            return self._judge_finally(self._look())
        return self._end_quietly(seen)

    def _is_time_over(self, n: int, elapsed: timedelta) -> bool:
        """That nobody called says something only of the time that this watch has seen: the stack may have been down before."""
        plan = self._plan
        if n >= plan.n_wanted and (plan.ends_early or elapsed >= plan.lasts):
            return True
        return self._state.read_clock() - max(self._since, self._stage.started_at) >= plan.lasts

    def _end_quietly(self, seen: Seen) -> Stage:
        """Too few requests came: what the spec says then."""
        quiet, few = self._spec.release.quiet, f"too little traffic: {_n(seen)} of {self._plan.n_wanted} requests"
        if quiet == "wait":
            self._require_within_limits(seen, final=True)
            return self._end("ended", f"{few} within {self._spec.release.quiet_at_most}", seen)
        if quiet == "pass":
            return self._judge_finally(seen, note=f"{few}, and spec.release.quiet is `pass`")
        if n_before := self._count_replayed_before():
            return self._judge_finally(seen, note=f"{few}; {n_before} logged requests stood in for them in the shadow")
        return self._judge_finally(self._replay(), note=few)

    def _look_until(self, is_over: Callable[[int, timedelta], bool], *, replayed: Seen = NO_REPLAY) -> Seen:
        """Look again and again, at least until the log is complete; a limit that is clearly passed ends the stage at once."""
        while True:
            started = time.monotonic()
            seen = self._look_beside(replayed)
            elapsed = self._state.read_clock() - self._stage.started_at
            self._require_within_limits(seen)
            self._observer.require_log()
            if not self._observer.is_log_behind and is_over(_n(seen), elapsed):
                return seen
            took = time.monotonic() - started
            time.sleep(max(_LOOK_SECONDS, _PERIOD_IN_LOOKS * took) - took)

    def _look(self, *, replayed: RequestCounts = NOTHING) -> Seen:
        self._require_unchanged()
        return self._observer.look(now=self._state.read_clock(), replayed=replayed)

    def _require_unchanged(self) -> None:
        """Somebody may have ended the stage, or brought another champion."""
        recorded = self._state.read_stage(self._stage)
        if recorded.outcome != "running":
            raise _EndedElsewhere(carry_out(self._spec, self._state, recorded, settings=self._settings))
        champion = self._state.read_champion(self._stage.model)
        if champion is None or champion.model_version != self._stage.champion_version:
            now = f"version {champion.model_version} serves now" if champion else "nobody serves now"
            self._end("ended", f"{now}, not version {self._stage.champion_version}, beside which it was watched", None)

    def _require_within_limits(self, seen: Seen, *, final: bool = False) -> None:
        measures = judge(seen, self._thresholds, final=final)
        if _failed(measures):
            self._end("breached", _join_reasons(_failed(measures)), seen, measures)
        if time.monotonic() - self._said_at > _SAY_SECONDS:
            self._said_at = time.monotonic()
            elapsed = self._state.read_clock() - self._stage.started_at
            figures = "; ".join(each.reason for each in measures if each.value is not None)
            _logger.info("%d of %d requests after %.0f s: %s", _n(seen), self._plan.n_wanted, elapsed.total_seconds(), figures)

    def _replay(self) -> Seen:
        """Ask the challenger what the champion was asked last, and wait until the log says how long it took."""
        stage, wanted = self._stage, self._plan.n_wanted
        requests = self._state.read_latest_requests(stage.model, stage.champion_version or 0, limit=wanted)
        _logger.info("replaying %d logged requests of version %s", len(requests), stage.champion_version)
        replayed = NO_REPLAY
        for replayed in replay(requests, host=self._settings.serving_host, port=self._port):
            self._require_within_limits(self._look_beside(replayed))
        return self._look_until(lambda *_: True, replayed=replayed)

    def _look_beside(self, replayed: Seen) -> Seen:
        return join(self._look(replayed=count_replayed(replayed)), replayed)

    def _count_replayed_before(self) -> int:
        """How many logged requests were judged in the shadow of this release."""
        stages = self._state.read_stages(self._stage.model, self._stage.model_version)
        shadows = [each for each in stages if each.stage == "shadow" and each.dag_run_id == self._stage.dag_run_id]
        measures = [measure for stage in shadows if stage.outcome == "passed" for measure in stage.measures]
        return sum(int(each.value or 0) for each in measures if each.measure == "replayed")

    def _judge_finally(self, seen: Seen, *, note: str = "") -> Stage:
        measures = judge(seen, self._thresholds, final=True)
        if failed := _failed(measures):
            return self._end("breached", _join_reasons(failed), seen, measures)
        stood_in = _describe_replay(seen) if note and self._spec.release.quiet == "replay" else ""
        reason = "; ".join(part for part in (f"{_n(seen)} requests, and nothing is over its limit", note, stood_in) if part)
        return self._end("passed", reason, seen, measures)

    def _end(self, outcome: StageOutcome, reason: str, seen: Seen | None, measures: Sequence[Measure] = ()) -> Stage:
        """Record the end. Only a stage that passed returns."""
        for each in measures:
            level = logging.INFO if each.passed else logging.WARNING
            _logger.log(level, "%s %s: %s", "ok  " if each.passed else "OVER", each.measure, each.reason)
        return end_stage(
            self._spec,
            self._state,
            self._stage,
            outcome=outcome,
            reason=reason,
            n_requests=_n(seen) if seen else 0,
            measures=measures,
            settings=self._settings,
        )


def _thresholds(spec: ModelSpec) -> Thresholds:
    release, limits = spec.release, spec.release.limits
    return Thresholds(
        error_ratio=limits.error_ratio,
        latency_ratio=limits.latency_ratio,
        latency_floor_ms=limits.latency_floor_ms,
        disagreement_ratio=limits.disagreement_ratio,
        log_odds_shift=limits.log_odds_shift,
        memory_mb=release.memory_mb,
        ready_seconds=float(release.ready_seconds),
    )


def _n(seen: Seen) -> int:
    """Requests that count: what callers got wrong says nothing about a model."""
    return seen.challenger.n_answerable


def _failed(measures: Sequence[Measure]) -> list[Measure]:
    return [each for each in measures if not each.passed]


def _join_reasons(measures: Sequence[Measure]) -> str:
    return "; ".join(f"{each.measure}: {each.reason}" for each in measures)


def _describe(plan: WatchPlan) -> str:
    return f"{plan.n_wanted} requests wanted, for {plan.lasts}{' at most' if plan.ends_early else ''}"


def _describe_replay(seen: Seen) -> str:
    if not seen.n_replayed:
        return "no logged request of the champion could stand in for them"
    return describe_replay(seen).reason
