"""Wait for what a test expects, with a deadline."""

import time
from collections.abc import Callable
from typing import Any

from perennial.errors import UnavailableError

# Asked first after this long, then more and more rarely: what lasts is not asked so often that the asking slows it down.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.02, 0.8


def wait_for(find: Callable[[], Any], *, what: str = "the wait", seconds: float = 180.0) -> Any:
    """Call until something true comes back, and return it; a service that is away meanwhile is asked again."""
    deadline, pause, away = time.monotonic() + seconds, _FIRST_PAUSE_SECONDS, ""
    while time.monotonic() < deadline:
        try:
            if found := find():
                return found
        except UnavailableError as error:
            away = f"; {error.what}"
        time.sleep(pause)
        pause = min(1.4 * pause, _LONGEST_PAUSE_SECONDS)
    raise AssertionError(f"{what}: not within {seconds:.0f} s{away}")
