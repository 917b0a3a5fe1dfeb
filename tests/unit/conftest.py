"""Tests of this folder are pure, and the folder takes seconds for it: none opens a port or starts a process."""

import sys
import threading
from collections.abc import Generator

import pytest

_IMPURE = frozenset({"subprocess.Popen", "os.fork", "os.posix_spawn", "socket.bind"})
# Threads in which a test of this folder runs. A worker runs those of other folders too, and a hook stays for good.
_testing: set[int] = set()


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event in _IMPURE and threading.get_ident() in _testing and not _is_importing():
        raise AssertionError(f"a test of tests/unit is pure: no {event}{arguments[:1]}; see CONTRIBUTING.md for where it belongs")


def _is_importing() -> bool:
    """What a library asks of the machine when it is first imported is not the test's doing."""
    frame = sys._getframe()
    while frame and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None


sys.addaudithook(_refuse)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    _testing.add(threading.get_ident())
    try:
        return (yield)
    finally:
        _testing.clear()


# Not while fixtures end: with the last test of a worker, those of other folders do.
pytest_runtest_call = pytest_runtest_setup
