"""Waiting for something with a deadline."""

import time
from collections.abc import Callable


def wait_until(is_done: Callable[[], bool], *, seconds: float, interval: float = 0.2) -> bool:
    """Ask until the answer is yes or the time is over; returns the last answer."""
    deadline = time.monotonic() + seconds
    while not (done := is_done()) and time.monotonic() < deadline:
        time.sleep(interval)
    return done
