"""Take what the bentos wrote into their journals over into the tables of the prediction log, each line exactly once."""

import itertools
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from perennial.adapters import journal
from perennial.adapters.state.predictions import LoggedRequest, PredictionStore
from perennial.errors import PredictionRefused

_logger = logging.getLogger(__name__)

# About 3,000 rows.
_BATCH_BYTES = 1024 * 1024
_KINDS = frozenset({"live", "shadow", "replay"})
# A NUL as JSON writes it: its backslash is not one that another backslash stands for. Replaced in the text and not in what was
# decoded: how deep a walk through that may go depends on Python's version, and decoding has a limit of its own.
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
# Postgres keeps no NUL in a text or in JSON: Unicode's mark of a character that cannot be shown stands in its place.
_REPLACEMENT = rb"\1\\ufffd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """What one round took over. `is_behind`: more waits already."""

    n_requests: int = 0
    n_rows: int = 0
    n_rejected: int = 0
    is_behind: bool = False

    def __add__(self, other: "Shipped") -> "Shipped":
        return Shipped(
            n_requests=self.n_requests + other.n_requests,
            n_rows=self.n_rows + other.n_rows,
            n_rejected=self.n_rejected + other.n_rejected,
            is_behind=self.is_behind or other.is_behind,
        )


@dataclass(frozen=True, slots=True)
class _Line:
    """A line, the position after it, and what it says; None where it cannot be read."""

    content: bytes
    end: int
    request: LoggedRequest | None


class Shipper:
    """Ships the journals under a folder through one connection that has taken over. After any error, make a new one.

    Parameters
    ----------
    root
        One folder per program under it, each with the program's journal.
    batch_bytes
        How much of a journal goes into one transaction.
    """

    def __init__(self, store: PredictionStore, root: Path, *, batch_bytes: int = _BATCH_BYTES) -> None:
        self._store = store
        self._root = root
        self._batch_bytes = batch_bytes
        self._positions = store.read_positions()
        store.forget_segments_but([_key(segment) for segment in journal.list_segments(root)])

    def ship_round(self, now: datetime) -> Shipped:
        """Take over what is there, at most one full batch per program, so that no program waits for another's backlog.

        Raises
        ------
        UnavailableError
            When the database went away; what is on disk stays there.
        """
        self._store.make_days(_days_ahead(now))
        folders = itertools.groupby(journal.list_segments(self._root), key=lambda segment: segment.parent)
        shipped = sum((self._ship_folder(segments) for _, segments in folders), Shipped())
        journal.delete_empty_folders(self._root)
        return shipped

    def waiting_bytes(self) -> int:
        """Size of what is on disk and not in the database."""
        waiting = 0
        for segment in journal.list_segments(self._root):
            waiting += max(0, journal.size_of(segment) - self._positions.get(_key(segment), 0))
        return waiting

    def _ship_folder(self, segments: Iterator[Path]) -> Shipped:
        total = Shipped()
        for segment in segments:
            total += self._ship_segment(segment)
            if total.is_behind:
                break
        return total

    def _ship_segment(self, segment: Path) -> Shipped:
        key = _key(segment)
        start = self._positions.get(key, 0)
        # In this order: what a finished segment holds when it is read is all of it.
        is_finished, size = journal.is_finished(segment), segment.stat().st_size
        lines, end = journal.read_from(segment, start, max_bytes=self._batch_bytes)
        if lines:
            return self._ship(segment, list(_parse_lines(lines, start, key=key)), start) + Shipped(is_behind=end < size)
        if is_finished:
            self._delete(segment, key, size - end)
        return Shipped()

    def _ship(self, segment: Path, lines: Sequence[_Line], start: int) -> Shipped:
        """Ship lines in one transaction; if the database refuses one, in halves, until that one is alone.

        Lines that cannot be kept are set aside after the commit: before it, each attempt would set them aside once more.
        """
        key, end = _key(segment), lines[-1].end
        readable = [line.request for line in lines if line.request]
        try:
            self._store.write_requests(readable, segment=key, start=start, end=end)
        except PredictionRefused as error:
            if len(lines) > 1:
                middle = len(lines) // 2
                return self._ship(segment, lines[:middle], start) + self._ship(segment, lines[middle:], lines[middle - 1].end)
            _logger.warning("%s: %d bytes at byte %d are set aside: %s", key, end - start, start, error)
            return self._ship(segment, [_Line(lines[0].content, end, None)], start)
        self._positions[key] = end
        _set_aside(segment, [line.content for line in lines if not line.request])
        n_rows = sum(len(request.rows) for request in readable)
        return Shipped(n_requests=len(readable), n_rows=n_rows, n_rejected=len(lines) - len(readable))

    def _delete(self, segment: Path, key: str, cut: int) -> None:
        """First the file, then its position: the other way round, a death in between would ship it once more."""
        if cut > 0:
            _logger.warning("%s ends with %d bytes of a line that its writer did not live to complete", key, cut)
        journal.delete_segment(segment)
        self._store.forget_segment(key)
        self._positions.pop(key, None)


def parse_line(line: bytes) -> LoggedRequest:
    """One line of a journal. Raises whatever it may, where it is not what a bento writes."""
    return _request_of(orjson.loads(_NUL.sub(_REPLACEMENT, line) if b"\\u0000" in line else line))


def _request_of(content: Mapping[str, Any]) -> LoggedRequest:
    predicted_at = _read_instant(content["at"])
    # The last year has days that end beyond what can be counted.
    if predicted_at.year == MAXYEAR or content["kind"] not in _KINDS:
        raise ValueError(f"at {content['at']}, kind {content['kind']}")
    rows = content.get("rows") or ()
    # JSON has no NaN: a model that predicts none says null.
    predictions = [float("nan") if each is None else float(each) for each in content.get("predictions") or ()]
    if rows and (not isinstance(rows, list) or len(predictions) != len(rows)):
        raise ValueError(f"{len(rows)} rows in a {type(rows).__name__} with {len(predictions)} predictions")
    entities, event_at = _identities_of(content, len(rows))
    return LoggedRequest(
        predicted_at=predicted_at,
        request_id=str(content["id"]),
        kind=content["kind"],
        model=str(content["model"]),
        model_version=int(content["version"]),
        status=int(content["status"]),
        milliseconds=float(content["ms"]),
        n_rows=int(content["n_rows"]),
        rows=rows,
        predictions=predictions if rows else (),
        entities=entities,
        event_at=event_at,
    )


def _identities_of(content: Mapping[str, Any], n_rows: int) -> tuple[list[str], list[datetime | None]]:
    """Of each row whom it is about and when; nothing in a line that does not say it, as none did once."""
    if "entities" not in content:
        return [], []
    entities = [str(entity) for entity in content["entities"]]
    event_at = [None if instant is None else _read_instant(instant) for instant in content["event_at"]]
    if not len(entities) == len(event_at) == n_rows:
        raise ValueError(f"{n_rows} rows with {len(entities)} entities and {len(event_at)} event times")
    return entities, event_at


def _read_instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text} has no offset")
    return instant.astimezone(UTC)


def _parse_lines(lines: Sequence[bytes], start: int, *, key: str) -> Iterator[_Line]:
    end = start
    for line in lines:
        begin, end = end, end + len(line) + 1
        try:
            yield _Line(line, end, parse_line(line))
        except Exception as error:
            # One line must not stop the others, whatever is wrong with it. What it holds, and an error may quote, is personal.
            what = "%s: %d bytes at byte %d cannot be read and are set aside: %s"
            _logger.warning(what, key, end - begin, begin, type(error).__name__)
            yield _Line(line, end, None)


def _set_aside(segment: Path, lines: Sequence[bytes]) -> None:
    if lines:
        path = segment.with_suffix(".rejected")
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
            file.writelines(line + b"\n" for line in lines)


def _key(segment: Path) -> str:
    return f"{segment.parent.name}/{segment.name}"


def _days_ahead(now: datetime) -> tuple[date, date]:
    today = now.astimezone(UTC).date()
    return today, today + timedelta(days=1)
