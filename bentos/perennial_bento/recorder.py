"""The prediction log's side of a bento: one line per request to `/predict`, in a journal on disk before the answer is sent."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Protocol

import orjson

from perennial.adapters.journal import Journal
from perennial.core.frames import Rows
from perennial.core.identity import Identities
from perennial_bento.requests import Call


class Counters(Protocol):
    """What is counted of the log."""

    def count_logged(self, n_rows: int) -> None: ...

    def count_dropped(self, n_rows: int, *, reason: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line for the journal, and how many rows it holds."""

    content: bytes
    n_rows: int


class Recorder:
    """Writes lines for the calls that are to be logged: those the gateway led here, and replayed ones.

    Parameters
    ----------
    journal
        None: nothing is logged.
    sample_ratio
        Share of the requests whose rows are kept. Chosen by request id, so that every version keeps the same ones.
    """

    def __init__(self, journal: Journal | None, *, model: str, version: int, sample_ratio: float) -> None:
        self._journal = journal
        self._model = {"model": model, "version": version}
        self._below = sample_ratio * 2**32
        self.counters: Counters | None = None

    def line(
        self,
        call: Call,
        *,
        status: int,
        rows: Rows = (),
        probabilities: Sequence[float] = (),
        identities: Identities | None = None,
        n_refused: int = 0,
    ) -> Line | None:
        """The line about one request; None where it is not to be logged. Of refused rows only their number is told."""
        if self._journal is None or not call.kind:
            return None
        content: dict[str, object] = {
            "at": datetime.now(UTC),
            "id": call.request_id,
            "kind": call.kind,
            **self._model,
            "status": status,
            "ms": round((perf_counter() - call.started) * 1000, 3),
            "n_rows": len(rows) or n_refused,
        }
        is_kept = bool(rows) and zlib.crc32(call.request_id.encode()) < self._below
        if is_kept:
            content |= {"rows": rows, "predictions": probabilities}
            if identities:
                content |= {"entities": identities.entities, "event_at": identities.event_at}
        return Line(content=orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE), n_rows=len(rows) if is_kept else 0)

    def write(self, lines: Sequence[Line | None]) -> None:
        """Append lines with one write. Where the journal refuses them they are counted, and the callers are served on."""
        there = [line for line in lines if line]
        if self._journal is None or not there:
            return
        n_rows = sum(line.n_rows for line in there)
        is_logged = self._journal.append(b"".join([line.content for line in there]))
        if self.counters is None:
            return
        if is_logged:
            self.counters.count_logged(n_rows)
        else:
            self.counters.count_dropped(n_rows, reason="spool_full" if self._journal.is_full else "disk")
