"""Wait for what a test expects, with a deadline."""

import time
from collections.abc import Callable
from typing import Any

from perennial.errors import UnavailableError


def wait_for(find: Callable[[], Any], *, what: str = "the wait", seconds: float = 60.0, pause_seconds: float = 0.05) -> Any:
    """Call until something true comes back, and return it; a service that is away meanwhile is asked again."""
    deadline, away = time.monotonic() + seconds, ""
    while time.monotonic() < deadline:
        try:
            if found := find():
                return found
        except UnavailableError as error:
            away = f"; {error.what}"
        time.sleep(pause_seconds)
    raise AssertionError(f"{what}: not within {seconds:.0f} s{away}")
