"""Waiting for something with a deadline."""

import time
from collections.abc import Callable

_LONGEST_PAUSE_SECONDS = 1.0


def wait_until(is_done: Callable[[], bool], *, seconds: float, interval: float = 0.2) -> bool:
    """Ask until the answer is yes or the time is over; returns the last answer.

    Pauses last a twentieth of the time waited so far, `interval` at least: asking must not slow down what is waited for,
    and a machine that is slow by itself is asked less often.
    """
    began = time.monotonic()
    while not (done := is_done()) and (waited := time.monotonic() - began) < seconds:
        time.sleep(max(interval, min(waited / 20, _LONGEST_PAUSE_SECONDS)))
    return done
