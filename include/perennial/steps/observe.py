"""What is seen of a challenger and the champion while a stage runs: in the prediction log, of the process, by the gateway."""

import logging
import time
from datetime import datetime, timedelta

from perennial.adapters.bentos import BentoClient
from perennial.adapters.state import StateStore
from perennial.adapters.state.observations import Kind
from perennial.config.settings import Settings
from perennial.contracts import Stage
from perennial.core.stage_observation import Pair, Seen, Side
from perennial.errors import UnavailableError

_logger = logging.getLogger(__name__)

_ASK_SECONDS = 2.0
# A gateway that starts anew is back sooner; one that is away for longer says nothing about the challenger.
_GATEWAY_AWAY_SECONDS = 10.0
# Requests may be on their way so long: the gateway waits for an answer, then the log is shipped.
_SETTLED_AFTER = timedelta(seconds=5)


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
        self._started_at: float | None = None
        self._n_restarts = 0
        self._ready_at = self._gateway_at = time.monotonic()
        self._longest_unready = 0.0

    def look(self, *, now: datetime) -> Seen:
        """Everything since the stage began.

        Raises
        ------
        UnavailableError
            When Postgres or the gateway is away.
        """
        self._ask_process()
        self._ask_readiness()
        expected, arrived = self._count_arrivals(until=now - _SETTLED_AFTER)
        challenger, champion = self._read_sides()
        return Seen(
            challenger=challenger,
            champion=champion,
            pairs=self._read_pairs(),
            n_expected=expected,
            n_arrived=arrived,
            memory_mb=self._memory_mb,
            n_restarts=self._n_restarts,
            unready_seconds=self._longest_unready,
        )

    @property
    def _kind(self) -> Kind:
        return "shadow" if self._stage.stage == "shadow" else "live"

    def _read_sides(self) -> tuple[Side, Side]:
        stage = self._stage
        challenger = self._read_side(stage.model_version, self._kind)
        return challenger, self._read_side(stage.champion_version or 0, "live")

    def _read_side(self, model_version: int, kind: Kind) -> Side:
        stage = self._stage
        counts = self._state.read_counts(stage.model, model_version, kind=kind, since=stage.started_at)
        predictions: list[float] = []
        n_sources = 0
        if stage.stage == "canary":
            predictions, n_sources = self._state.read_predictions(stage.model, model_version, kind=kind, since=stage.started_at)
        return Side(
            n_requests=counts.n_requests,
            n_failed=counts.n_failed,
            n_refused=counts.n_refused,
            latencies_ms=self._state.read_latencies(stage.model, model_version, kind=kind, since=stage.started_at),
            predictions=predictions,
            n_sources=n_sources,
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

    def _ask_process(self) -> None:
        with BentoClient(self._settings.serving_host, self._port, timeout_seconds=_ASK_SECONDS) as client:
            try:
                metrics = client.read_metrics()
            except UnavailableError:
                return
        started_at = metrics.get("process_start_time_seconds")
        if self._started_at is not None and started_at not in (None, self._started_at):
            self._n_restarts += 1
            _logger.warning("the challenger's process was started anew (%d so far)", self._n_restarts)
        self._started_at = started_at or self._started_at
        if held := metrics.get("process_resident_memory_bytes"):
            self._memory_mb = held / 1024**2

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
