"""Programs in processes of their own: `perennial`, and modules of this folder, which a test may kill."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

_TESTS = Path(__file__).parents[1]


def perennial(variables: Mapping[str, str], *arguments: str, seconds: float = 600) -> subprocess.CompletedProcess[str]:
    """Run the command line with these variables and no others, and give what it said."""
    program = [str(Path(sys.executable).with_name("perennial")), *arguments]
    return subprocess.run(program, env=dict(variables), capture_output=True, text=True, timeout=seconds, check=False)


def command(module: ModuleType | str, *arguments: object) -> list[str]:
    """Command line of a module; it runs in `environment()`."""
    name = module if isinstance(module, str) else module.__name__
    return [sys.executable, "-m", name, *map(str, arguments)]


def environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables, this process's own unless told others, with which another one can import `support`."""
    return {**(os.environ if base is None else base), "PYTHONPATH": str(_TESTS)}
