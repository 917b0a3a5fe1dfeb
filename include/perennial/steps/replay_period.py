"""Replay a period: its real rows through the gateway in the order of event time, and what monitoring makes of each step."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perennial.adapters.airflow_api import AirflowApi
from perennial.adapters.state import StateStore
from perennial.adapters.state.replays import Replayed
from perennial.config.settings import Settings
from perennial.config.spec import ModelSpec
from perennial.contracts.replay import Interval, Replay, ReplayMonth, ReplayStep, Sent
from perennial.errors import ConfigurationError
from perennial.steps.keys import apply_keys, create_key, revoke_key
from perennial.steps.replay_runs import Aftermath, StepRuns
from perennial.steps.replay_scores import score_months
from perennial.steps.replay_sending import RowRequest, Sender
from perennial.steps.rows import has_identified_rows, read_identified_rows

if TYPE_CHECKING:
    from perennial.core.replay_period import Every

# What is being done, rows done, rows in all; 0 of 0 where it is not about rows.
Progress = Callable[[str, int, int], None]

_CALLER = "perennial-replay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to replay: `rate` is rows a second, None as fast as they are answered."""

    interval: Interval
    every: "Every"
    rate: float | None = None


class PeriodReplay:
    """One replay. `run_steps` and then `finish`; both take up what an earlier try left, and repeat nothing of it."""

    def __init__(self, spec: ModelSpec, plan: Plan, *, settings: Settings, api: AirflowApi, progress: Progress) -> None:
        from perennial.core.replay_period import REQUEST_PREFIX

        self._spec = spec
        self._plan = plan
        self._settings = settings
        self._api = api
        self._progress = progress
        self._prefix = REQUEST_PREFIX
        self._frozen_version = self._check()

    @property
    def frozen_version(self) -> int:
        """The champion as the replay began: of one that was broken off, who answered its first row."""
        return self._frozen_version

    def run_steps(self) -> Iterator[ReplayStep]:
        """Send and monitor step after step; each is yielded once all that it set off has ended."""
        from perennial.core.replay_period import cut_period

        interval = self._plan.interval
        with _caller_headers(self._settings) as headers:
            sender = Sender(self._spec.model, settings=self._settings, headers=headers, rate=self._plan.rate)
            for step in cut_period(interval.start, interval.end, self._plan.every, zone=self._spec.zone):
                yield self._run_step(step, sender)

    def finish(self, steps: Sequence[ReplayStep]) -> Replay:
        """Score the months of the steps that were run."""
        from perennial.core.replay_period import cut_period

        interval = self._plan.interval
        months = score_months(
            self._spec,
            self._replayed(interval),
            cut_period(interval.start, interval.end, "month", zone=self._spec.zone),
            steps,
            frozen_version=self._frozen_version,
            settings=self._settings,
            tell=self._tell,
        )
        scored: tuple[ReplayMonth, ...] = tuple(months)
        return Replay(
            model=self._spec.model,
            interval=interval,
            every=self._plan.every,
            metric=self._spec.metric,
            timezone=self._spec.schedule.timezone,
            frozen_version=self._frozen_version,
            steps=tuple(steps),
            months=scored,
        )

    def _run_step(self, interval: Interval, sender: Sender) -> ReplayStep:
        self._progress(f"rows of {interval.start:%Y-%m-%d}", 0, 0)
        requests, done = self._read_requests(interval), 0
        n_rows = sum(len(request.rows) for request in requests)

        def count(n: int) -> None:
            nonlocal done
            done += n
            self._progress(f"rows of {interval.start:%Y-%m-%d}", done, n_rows)

        sent = sender.send(requests, self._replayed(interval), count=count)
        runs = StepRuns(self._spec.model, api=self._api, settings=self._settings, tell=self._tell)
        return _step(interval, sent=sent, after=runs.follow(interval))

    def _read_requests(self, interval: Interval) -> list[RowRequest]:
        """The same rows always go into the same requests, whatever order the source gives rows of one instant in."""
        from perennial.core.replay_period import HOUR, cut_requests

        source = self._spec.source
        rows = read_identified_rows(self._spec, interval.start, interval.end, settings=self._settings)
        rows.sort(key=lambda row: (str(row[source.event_time]), [str(row.get(name)) for name in source.entity_key]))
        slices = cut_requests([str(row[source.event_time])[:HOUR] for row in rows])
        return [RowRequest(request_id=each.request_id, rows=rows[each.start : each.stop]) for each in slices]

    def _check(self) -> int:
        """Version to freeze; what would stop the replay half-way is said before anything is sent."""
        if self._spec.prediction_log.sample_ratio < 1:
            ratio = f"{self._spec.prediction_log.sample_ratio:g}"
            raise ConfigurationError(
                f"{self._spec.model} logs a share of {ratio} of its requests; a replay looks for all of its own in the log",
                "set prediction_log.sample_ratio to 1, and release a version with it",
            )
        dag_id = f"monitor__{self._spec.model}"
        if not self._api.has_dag(dag_id):
            raise ConfigurationError(f"Airflow has no Dag {dag_id}", "see: perennial check")
        with StateStore(self._settings.state_url) as state:
            champion = state.read_champion(self._spec.model)
            first = state.read_first_replayed_version(self._replayed(self._plan.interval))
        if champion is None:
            raise ConfigurationError(
                f"{self._spec.model} has no champion that could answer", "train and release one; the example's: perennial demo"
            )
        self._check_source()
        return first or champion.model_version

    def _check_source(self) -> None:
        """A period of which nothing is known would leave verdicts on windows without traffic, and a table of dashes."""
        start, end = self._plan.interval.start, self._plan.interval.end
        if not has_identified_rows(self._spec, start, end, settings=self._settings):
            raise ConfigurationError(
                f"{self._spec.source.query} has no row from {start:%Y-%m-%d} to {end:%Y-%m-%d}; nothing was sent",
                "choose a period of which the warehouse knows rows",
            )

    def _replayed(self, interval: Interval) -> Replayed:
        return Replayed(model=self._spec.model, start=interval.start, end=interval.end, prefix=self._prefix)

    def _tell(self, what: str) -> None:
        self._progress(what, 0, 0)


def _step(interval: Interval, *, sent: Sent, after: Aftermath) -> ReplayStep:
    """From records only: a replay that is taken up again tells the same of a step, whoever is champion by then."""
    request, decision = after.request, after.decision
    return ReplayStep(
        interval=interval,
        sent=sent,
        verdict=after.verdict.outcome,
        reasons=after.verdict.reasons,
        model_version=after.promoted or after.verdict.model_version or 0,
        request=request.outcome if request else "",
        request_reasons=tuple(check.reason for check in request.checks if not check.passed) if request else (),
        retraining=after.retraining,
        retraining_reasons=decision.reasons if decision else (),
        release=after.release,
    )


@contextmanager
def _caller_headers(settings: Settings) -> Iterator[Mapping[str, str]]:
    """What identifies the replay where the gateway asks for a key: one of its own, as long as it lasts."""
    if settings.api_keys == "off":
        yield {}
        return
    key = create_key(settings, _CALLER, actor=f"cli:{_CALLER}", replace=True)
    apply_keys(settings)
    try:
        yield {"authorization": f"Basic {base64.b64encode(f'{_CALLER}:{key}'.encode()).decode()}"}
    finally:
        revoke_key(settings, _CALLER, actor=f"cli:{_CALLER}")
        apply_keys(settings)
