"""What is seen of a challenger and the champion while a stage runs: in the prediction log, of the process, by the gateway."""

import logging
import time
from datetime import datetime, timedelta

from perennial.adapters.bentos import BentoClient
from perennial.adapters.state import StateStore
from perennial.adapters.state.observations import Kind, RequestCounts
from perennial.config.settings import Settings
from perennial.contracts import Stage
from perennial.core.stage_observation import Pair, Seen, Side
from perennial.errors import UnavailableError
from perennial.steps.own_counts import NOTHING, LogDelay, OwnCounts, count_beyond

_logger = logging.getLogger(__name__)

_ASK_SECONDS = 2.0
# A gateway that starts anew is back sooner; one that is away for longer says nothing about the challenger.
_GATEWAY_AWAY_SECONDS = 10.0
# Requests may be on their way so long: the gateway waits for an answer, then the log is shipped.
_SETTLED_AFTER = timedelta(seconds=5)
# The log is shipped within a second; after a restart of what ships it, within some.
_LOG_AT_MOST_SECONDS = 30.0


class Observer:
    """Looks at one stage again and again. Use one for as long as the stage is watched.

    Parameters
    ----------
    since
        When this watch began, by the database's clock: the gateway has led requests to the challenger from here on at least.
    """

    def __init__(self, settings: Settings, state: StateStore, stage: Stage, *, port: int, since: datetime) -> None:
        self._settings = settings
        self._state = state
        self._stage = stage
        self._port = port
        self._since = since
        self._memory_mb: float | None = None
        self._own, self._champions = OwnCounts(), OwnCounts()
        self._delay = LogDelay(_LOG_AT_MOST_SECONDS)
        self._ready_at = self._gateway_at = time.monotonic()
        self._longest_unready = 0.0

    def look(self, *, now: datetime, replayed: RequestCounts = NOTHING) -> Seen:
        """Everything since the stage began, but requests that were replayed: of those the latencies alone.

        What the bentos counted since the watch began and the log does not show yet is counted too.

        Raises
        ------
        UnavailableError
            When Postgres or the gateway is away.
        """
        self._ask_processes()
        self._ask_readiness()
        expected, arrived = self._count_arrivals(until=now - _SETTLED_AFTER)
        challenger, champion = self._read_sides(replayed)
        return Seen(
            challenger=challenger,
            champion=champion,
            pairs=self._read_pairs(),
            n_expected=expected,
            n_arrived=arrived,
            memory_mb=self._memory_mb,
            n_restarts=self._own.n_restarts,
            unready_seconds=self._longest_unready,
        )

    @property
    def is_log_behind(self) -> bool:
        """Whether the challenger answered clearly more than the prediction log shows so far."""
        return self._delay.is_behind

    def require_log(self) -> None:
        """Nothing can be judged, and nothing may pass, without the prediction log.

        Raises
        ------
        UnavailableError
            When the log has not shown for a while what the challenger answered. Trying again goes on watching.
        """
        if self._delay.is_overdue:
            dropped = f", and {self._own.n_dropped} rows could not be written" if self._own.n_dropped else ""
            raise UnavailableError(
                f"the prediction log is behind: {self._delay.n_missing} requests that version {self._stage.model_version} "
                f"answered are missing there after {_LOG_AT_MOST_SECONDS:.0f} s{dropped}",
                "see: perennial status",
            )

    @property
    def _kind(self) -> Kind:
        return "shadow" if self._stage.stage == "shadow" else "live"

    def _read_sides(self, replayed: RequestCounts) -> tuple[Side, Side]:
        stage, since = self._stage, self._since
        number, champion = stage.model_version, stage.champion_version or 0
        logged = self._state.read_counts(stage.model, number, since=since)
        self._delay.take(n_counted=self._own.requests.n_requests, n_logged=logged.n_requests)
        kinds: tuple[Kind, ...] = ("live", "shadow")
        ours = [self._state.read_counts(stage.model, number, kind=kind, since=since) for kind in kinds]
        theirs = self._state.read_counts(stage.model, champion, since=since)
        unlogged = count_beyond(self._own.requests, *ours, replayed)
        return (
            self._read_side(number, self._kind, "replay", unlogged=unlogged),
            self._read_side(champion, "live", unlogged=count_beyond(self._champions.requests, theirs)),
        )

    def _read_side(self, model_version: int, kind: Kind, *timed: Kind, unlogged: RequestCounts) -> Side:
        """`timed` are kinds whose latencies count too."""
        model, since = self._stage.model, self._stage.started_at
        counts = self._state.read_counts(model, model_version, kind=kind, since=since)
        predictions: list[float] = []
        n_sampled = 0
        if self._stage.stage == "canary":
            predictions, n_sampled = self._state.read_predictions(model, model_version, kind=kind, since=since)
        latencies = [self._state.read_latencies(model, model_version, kind=each, since=since) for each in (kind, *timed)]
        return Side(
            n_requests=counts.n_requests + unlogged.n_requests,
            n_failed=counts.n_failed + unlogged.n_failed,
            n_refused=counts.n_refused + unlogged.n_refused,
            latencies_ms=[each for some in latencies for each in some],
            predictions=predictions,
            n_sampled_requests=n_sampled,
        )

    def _read_pairs(self) -> list[Pair]:
        stage = self._stage
        if stage.stage != "shadow" or stage.champion_version is None:
            return []
        found = self._state.read_pairs(
            stage.model, challenger=stage.model_version, champion=stage.champion_version, since=stage.started_at
        )
        return [Pair(challenger=challenger, champion=champion, n=n) for challenger, champion, n in found]

    def _count_arrivals(self, *, until: datetime) -> tuple[int, int]:
        """How many requests should have reached the challenger, by its share of what the champion answered, and how many did."""
        stage = self._stage
        # `traffic` counts by second; in the first one the gateway may still have been about to take the routes.
        since = self._since + timedelta(seconds=1)
        if until <= since:
            return 0, 0
        window = {"since": since, "until": until}
        theirs = self._state.read_counts(stage.model, stage.champion_version or 0, kind="live", **window)
        ours = self._state.read_counts(stage.model, stage.model_version, kind=self._kind, **window)
        share = stage.traffic_percent / (100 if stage.stage == "shadow" else 100 - stage.traffic_percent)
        return round(theirs.n_requests * share), ours.n_requests

    def _ask_processes(self) -> None:
        n_restarts = self._own.n_restarts
        metrics = self._read_metrics(self._port)
        if metrics:
            self._own.take(metrics)
        if self._own.n_restarts > n_restarts:
            _logger.warning("the challenger's process was started anew (%d so far)", self._own.n_restarts)
        if held := metrics.get("process_resident_memory_bytes"):
            self._memory_mb = held / 1024**2
        champion = self._state.read_release(self._stage.model, self._stage.champion_version or 0)
        if champion and champion.port and (metrics := self._read_metrics(champion.port)):
            self._champions.take(metrics)

    def _read_metrics(self, port: int) -> dict[str, float]:
        """Empty where no answer comes."""
        with BentoClient(self._settings.serving_host, port, timeout_seconds=_ASK_SECONDS) as client:
            try:
                return client.read_metrics()
            except UnavailableError:
                return {}

    def _ask_readiness(self) -> None:
        path, now = f"/v1/models/{self._stage.model}/versions/{self._stage.model_version}/readyz", time.monotonic()
        with BentoClient(self._settings.gateway_host, self._settings.gateway_port, timeout_seconds=_ASK_SECONDS) as client:
            try:
                status = client.get(path).status
            except UnavailableError as error:
                if now - self._gateway_at > _GATEWAY_AWAY_SECONDS:
                    raise UnavailableError(f"the gateway is away: {error.what}", "see: perennial status") from error
                # Nobody knows, so it is not the challenger's fault.
                self._ready_at = now
                return
        self._gateway_at = now
        self._longest_unready = max(self._longest_unready, now - self._ready_at if status != 200 else 0.0)
        if status == 200:
            self._ready_at = now
