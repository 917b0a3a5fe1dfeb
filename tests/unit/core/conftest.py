"""Numerical libraries in one thread: threads that wait for each other take longer than these small problems."""

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with threadpool_limits(1), pytest.MonkeyPatch.context() as patch:
        # Else joblib asks a program how many cores there are.
        patch.setenv("LOKY_MAX_CPU_COUNT", "1")
        yield
