"""The service that takes the bentos' journals over into Postgres, and waits with them on disk while Postgres is away."""

import contextlib
import json
import logging
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.adapters import journal
from perennial.config.settings import Settings
from perennial.errors import PerennialError, UnavailableError

if TYPE_CHECKING:
    from perennial.steps.ship_predictions import Shipped, Shipper

_logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.25
_MAX_BACKOFF_SECONDS = 2.0
_BEAT_SECONDS = 1.0
_REPORT_SECONDS = 60.0
# Longer than connecting may take.
_MAX_BEAT_AGE_SECONDS = 15.0
# Postgres may restart, or a shipper hand over to the next one, without anybody being told that something is wrong.
_MAX_WAIT_SECONDS = 30.0


def prepare(settings: Settings) -> None:
    """Take the sign of life of an earlier process away."""
    _heartbeat_path(settings).unlink(missing_ok=True)


def check(settings: Settings, _: float) -> str:
    """What is wrong in words: no sign of life, or predictions that wait for too long."""
    try:
        beat = json.loads(_heartbeat_path(settings).read_text())
    except (OSError, ValueError):
        # Not there, or the machine died as it was written.
        return "no sign of life yet"
    if (age := time.time() - beat["at"]) > _MAX_BEAT_AGE_SECONDS:
        return f"no sign of life for {age:.0f} s"
    if (waited := beat["waits_seconds"]) > _MAX_WAIT_SECONDS:
        return f"for {waited:.0f} s predictions wait on disk ({_megabytes(beat['waiting_bytes'])}): {beat['reason']}"
    return ""


class Progress:
    """What the service says of itself: in its log, an outage once and what was shipped once a minute; in a file, each second.

    `shipper` is the one at work, or the last one, which knows what is in the database already.
    """

    def __init__(self, settings: Settings) -> None:
        self.shipper: Shipper | None = None
        self.n_failures = 0
        self._settings = settings
        self._failing_since = self._beaten_at = 0.0
        self._reason = ""
        self._reported_at = time.monotonic()
        self._total: Shipped | None = None
        self._n_drained = 0

    def fail(self, error: Exception) -> None:
        """Something is away: say it the first time, and that it lasts."""
        self.n_failures += 1
        if self.n_failures == 1:
            self._failing_since, self._n_drained = time.monotonic(), 0
            self._reason = " ".join(str(error).split())
            _logger.warning("predictions wait on disk: %s", self._reason)
        self._beat()

    def add(self, shipped: "Shipped") -> None:
        """A round is through."""
        self._total = self._total + shipped if self._total else shipped
        if self.n_failures:
            self._n_drained += shipped.n_requests
            if not shipped.is_behind:
                seconds = time.monotonic() - self._failing_since
                _logger.info("predictions flow again after %.1f s: %d requests that had waited are in", seconds, self._n_drained)
                self.n_failures = 0
        now = time.monotonic()
        if now - self._beaten_at >= _BEAT_SECONDS:
            self._beat()
        if now - self._reported_at >= _REPORT_SECONDS:
            self.report()

    def report(self) -> None:
        """Say what was shipped since the last report, if there was anything."""
        now = time.monotonic()
        if (total := self._total) and (total.n_requests or total.n_rejected):
            what = "%d requests with %d rows shipped in %.0f s, %d lines set aside, %s wait on disk"
            waiting = _megabytes(self._waiting_bytes())
            _logger.info(what, total.n_requests, total.n_rows, now - self._reported_at, total.n_rejected, waiting)
        self._total, self._reported_at = None, now

    def _beat(self) -> None:
        self._beaten_at = time.monotonic()
        # A full disk must not end who makes room on it. Without a beat the service is not healthy, which is true.
        with contextlib.suppress(OSError):
            self._write_beat()

    def _write_beat(self) -> None:
        waits = self._beaten_at - self._failing_since if self.n_failures else 0.0
        beat = {"at": time.time(), "waits_seconds": waits, "reason": self._reason, "waiting_bytes": self._waiting_bytes()}
        path = _heartbeat_path(self._settings)
        journal.make_folder(path.parent)
        written = path.with_suffix(".new")
        written.write_text(json.dumps(beat))
        written.replace(path)

    def _waiting_bytes(self) -> int:
        if self.shipper:
            return self.shipper.waiting_bytes()
        return sum(map(journal.size_of, journal.list_segments(self._settings.paths.predictions)))


def serve(settings: Settings, stop: threading.Event) -> None:
    """Ship until `stop` is set; a batch that was begun is completed first."""
    progress = Progress(settings)
    while not stop.is_set():
        try:
            _ship(settings, stop, progress)
        except (PerennialError, OSError) as error:  # a refused login too: somebody will mend it, and predictions can wait
            progress.fail(error)
            stop.wait(min(_MAX_BACKOFF_SECONDS, _POLL_SECONDS * progress.n_failures))


def _ship(settings: Settings, stop: threading.Event, progress: Progress) -> None:
    """Ship over one connection as long as it lasts.

    Raises
    ------
    UnavailableError
        When Postgres is away, or somebody else ships.
    """
    from perennial.adapters.state.predictions import PredictionStore
    from perennial.steps.ship_predictions import Shipper

    with PredictionStore(settings.state_url) as store:
        if not store.take_over():
            raise UnavailableError("another process ships them")
        progress.shipper = shipper = Shipper(store, settings.paths.predictions)
        while not stop.is_set():
            started = time.monotonic()
            shipped = shipper.ship_round(datetime.now(UTC))
            progress.add(shipped)
            if not shipped.is_behind:
                stop.wait(max(0.0, _POLL_SECONDS - (time.monotonic() - started)))
        progress.report()


def main() -> None:
    """`python -m perennial.stack.prediction_log`: ship until TERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    settings = Settings.load()
    prepare(settings)
    serve(settings, stop)


def _heartbeat_path(settings: Settings) -> Path:
    return settings.paths.predictions / "heartbeat.json"


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1024**2:.1f} MB"


if __name__ == "__main__":
    main()
