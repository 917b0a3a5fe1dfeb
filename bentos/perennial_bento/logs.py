"""Logs as one JSON object per line. No value of a row and no caller's address is ever written: they may be personal data.

So nothing is written that a library says of what it was given. Only a few loggers are known to speak of the process alone.
"""

import atexit
import logging
import sys
import threading
import time
import traceback
import warnings
from collections import deque
from datetime import UTC, datetime
from typing import Any

import orjson

_FLUSH_SECONDS = 0.2
# About 3 MB: some seconds under full load while nobody takes the lines.
_MOST_WAITING = 10_000
_KNOWN = frozenset({"uvicorn", "bentoml", "perennial", "perennial_bento"})


def configure_logging() -> None:
    """Send everything that any library logs to the standard output, as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # What cannot be written would be told on the standard error, with all its values.
    logging.raiseExceptions = False
    warnings.showwarning = _show_warning  # type: ignore[assignment]


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON; of an exception its type and where it was raised, never its text.

    The message is that of a known logger only. Of others there is the place in the code.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {"level": record.levelname.lower(), "logger": record.name}
        if record.name.partition(".")[0] in _KNOWN:
            line["message"] = record.getMessage()
        else:
            line["place"] = f"{record.pathname}:{record.lineno}"
        if record.exc_info and record.exc_info[1]:
            line |= describe_error(record.exc_info[1])
        return _encode(line)


def describe_error(error: BaseException) -> dict[str, object]:
    """Type of an error and the lines of code it came through; its text may quote the data."""
    frames = traceback.extract_tb(error.__traceback__)
    return {"error": type(error).__name__, "stack": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]}


def _show_warning(
    _message: Warning | str, category: type[Warning], filename: str, lineno: int, _file: object = None, _line: str | None = None
) -> None:
    write_log("warning", level="warning", category=category.__name__, place=f"{filename}:{lineno}")


class _Lines:
    """Lines on their way to the standard output: a thread writes them a few times per second, and the rest at exit.

    Where the output refuses them, or nobody takes them, the oldest are dropped and counted; the next line that gets through says
    how many.
    """

    def __init__(self) -> None:
        self._waiting: deque[str] = deque(maxlen=_MOST_WAITING)
        self._n_dropped = 0
        self._are_waiting = threading.Event()
        self._writing = threading.Lock()
        self._is_started = False

    def add(self, line: str) -> None:
        if len(self._waiting) == _MOST_WAITING:
            self._n_dropped += 1
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
            lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
            n_dropped = self._n_dropped
            told = [_encode({"level": "warning", "event": "log_lines_dropped", "n_lines": n_dropped}) + "\n"] if n_dropped else []
            try:
                sys.stdout.write("".join([*told, *lines]))
                sys.stdout.flush()
            except (OSError, ValueError):
                # The disk is full, the pipe broken, the file closed.
                self._n_dropped += len(lines)
            else:
                self._n_dropped -= n_dropped

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
