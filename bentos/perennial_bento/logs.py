"""Logs as one JSON object per line. No value of a row and no caller's address is ever written: they may be personal data."""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import orjson


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


def write_log(event: str, **fields: object) -> None:
    """Write one line about an event, without the detour over `logging`: this runs for every request."""
    sys.stdout.write(_encode({"level": "info", "event": event, **fields}) + "\n")
    sys.stdout.flush()


def _encode(line: dict[str, Any]) -> str:
    return orjson.dumps({"time": datetime.now(UTC), **line}, default=str).decode()
