"""Modules of this folder as programs of their own, in processes that a test may kill."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

_TESTS = Path(__file__).parents[1]


def command(module: ModuleType | str, *arguments: object) -> list[str]:
    """Command line of a module; it runs in `environment()`."""
    name = module if isinstance(module, str) else module.__name__
    return [sys.executable, "-m", name, *map(str, arguments)]


def environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables, this process's own unless told others, with which another one can import `support`."""
    return {**(os.environ if base is None else base), "PYTHONPATH": str(_TESTS)}
