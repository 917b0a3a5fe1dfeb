"""Logs as one JSON object per line. No value of a row and no caller's address is ever written: they may be personal data."""

import atexit
import logging
import sys
import threading
import time
import traceback
from collections import deque
from datetime import UTC, datetime
from typing import Any

import orjson

_FLUSH_SECONDS = 0.2


def configure_logging() -> None:
    """Send everything that any library logs to the standard output, as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON; of an exception its type and where it was raised, never its text."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {"level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        if record.exc_info and record.exc_info[1]:
            line |= describe_error(record.exc_info[1])
        return _encode(line)


def describe_error(error: BaseException) -> dict[str, object]:
    """Type of an error and the lines of code it came through; its text may quote the data."""
    frames = traceback.extract_tb(error.__traceback__)
    return {"error": type(error).__name__, "stack": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]}


class _Lines:
    """Lines on their way to the standard output: a thread writes them a few times per second, and the rest at exit."""

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self._are_waiting = threading.Event()
        self._writing = threading.Lock()
        self._is_started = False

    def add(self, line: str) -> None:
        self._waiting.append(line)
        if not self._is_started:
            self._is_started = True
            atexit.register(self.flush)
            threading.Thread(target=self._run, name="log", daemon=True).start()
        if not self._are_waiting.is_set():
            self._are_waiting.set()

    def flush(self) -> None:
        with self._writing:
            self._are_waiting.clear()
            sys.stdout.write("".join([self._waiting.popleft() for _ in range(len(self._waiting))]))
            sys.stdout.flush()

    def _run(self) -> None:
        while True:
            self._are_waiting.wait()
            time.sleep(_FLUSH_SECONDS)
            self.flush()


_lines = _Lines()


def write_log(event: str, **fields: object) -> None:
    """Write one line about an event soon, without the detour over `logging`: this runs for every request."""
    _lines.add(_encode({"level": "info", "event": event, **fields}) + "\n")


def _encode(line: dict[str, Any]) -> str:
    return orjson.dumps({"time": datetime.now(UTC), **line}, default=str).decode()
