"""Waiting until Envoy has taken what the files say."""

import contextlib
import http.client
import time
from collections.abc import Callable

from perennial.adapters.gateway.routes import CONFIG_HEADER, CONFIG_PATH
from perennial.config.settings import Settings
from perennial.errors import UnavailableError

WITHIN_SECONDS = 15.0
_PROBE_SECONDS = 0.1
# Envoy's workers take a change each for itself, some milliseconds apart: one connection's answer speaks for one worker. So
# many connections, open at the same time, are spread over all of them (see the balancing of the listener).
_PROBES = 16


def wait_until_taken(settings: Settings, digest: str) -> None:
    """Wait until Envoy answers with the routes of this digest.

    Raises
    ------
    UnavailableError
        When it does not within `WITHIN_SECONDS`; the files stay, and Envoy takes them as soon as it runs.
    """
    found = _poll(settings, CONFIG_PATH, lambda answer: answer.getheader(CONFIG_HEADER) == digest)
    if found:
        where = f"{settings.gateway_url} has not taken the new routes within {WITHIN_SECONDS:g} s: {found}"
        raise UnavailableError(where, "see: perennial status")


def wait_until_reachable(settings: Settings, model: str, model_version: int) -> None:
    """Wait until a version answers ready through the gateway, on its own path.

    Raises
    ------
    UnavailableError
        When it does not within `WITHIN_SECONDS`.
    """
    path = f"/v1/models/{model}/versions/{model_version}/readyz"
    found = _poll(settings, path, lambda answer: answer.status == http.client.OK)
    if found:
        where = f"{settings.gateway_url}{path} was not ready within {WITHIN_SECONDS:g} s: {found}"
        raise UnavailableError(where, "see: perennial status")


def _poll(settings: Settings, path: str, is_done: Callable[[http.client.HTTPResponse], bool]) -> str:
    """Ask until every worker's answer is right; returns what was wrong with the last one, or nothing."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while fault := _ask_workers(settings, path, is_done):
        if time.monotonic() > deadline:
            return fault
        time.sleep(_PROBE_SECONDS)
    return ""


def _ask_workers(settings: Settings, path: str, is_done: Callable[[http.client.HTTPResponse], bool]) -> str:
    """Ask once over each of many connections, which stay open meanwhile; returns the first fault found, or nothing."""
    with contextlib.ExitStack() as stack:
        for _ in range(_PROBES):
            connection = http.client.HTTPConnection(settings.gateway_host, settings.gateway_port, timeout=3)
            stack.callback(connection.close)
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                return str(error) or type(error).__name__
            if not is_done(answer):
                return f"it answers {answer.status}"
    return ""
