"""What every talk with MLflow has in common: how patient it is, which failures pass, and how tags of ours are named."""

import os
from collections.abc import Mapping

from perennial.errors import UnavailableError

_PREFIX = "perennial."
_SERVER_ERROR = 500
_AWAY = frozenset({"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "IO_ERROR", "DEADLINE_EXCEEDED"})
# Four retries last half a minute: long enough for a killed server to come back, short enough to fail in a task's time.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def set_defaults() -> None:
    """Set what MLflow reads from the environment, where nobody said otherwise. Call it before MLflow is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def find_outage(error: Exception) -> UnavailableError | None:
    """The outage that an exception of MLflow's, or of its HTTP client's, stands for; None where MLflow answered and refused."""
    if isinstance(error, OSError):
        status = getattr(getattr(error, "response", None), "status_code", None)
        is_away = type(error).__module__.startswith("requests") and (status is None or status >= _SERVER_ERROR)
        return UnavailableError(f"MLflow does not answer: {error}", "see: perennial status") if is_away else None
    if getattr(error, "error_code", "INTERNAL_ERROR") in _AWAY:
        return UnavailableError(f"MLflow does not answer: {error}", "see: perennial status")
    return None


def to_prefixed(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags of ours as they are written in MLflow."""
    return {tag_name(name): value for name, value in tags.items()}


def from_prefixed(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags of ours among MLflow's, without our prefix."""
    return {name.removeprefix(_PREFIX): value for name, value in tags.items() if name.startswith(_PREFIX)}


def tag_name(name: str) -> str:
    """A tag of ours as MLflow knows it."""
    return f"{_PREFIX}{name}"
