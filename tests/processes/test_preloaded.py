import os
import subprocess
import sys

import pytest

from perennial.stack import keeper
from perennial_airflow.preloaded import PRELOADED, preload


# What tasks load takes a quarter of a minute, and changes with libraries only.
@pytest.mark.parametrize(
    "modules", [pytest.param(PRELOADED, id="for tasks", marks=pytest.mark.soak), pytest.param(keeper.PRELOADED, id="for bentos")]
)
def test_all_that_is_to_be_loaded_can_be_loaded_and_starts_no_thread(modules: tuple[str, ...]):
    """A thread that exists when a process forks is missing in the child, with the locks it held.

    Arrow's allocator jemalloc has one, and mends itself in the child of a fork.
    """
    code = f"""
import os
from pathlib import Path
from perennial_airflow.preloaded import preload
missing = preload({modules!r})
others = [task for task in Path("/proc/self/task").iterdir() if task.name != str(os.getpid())]
print(*((task / "comm").read_text().strip() for task in others), *missing)
"""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **threads}, capture_output=True, text=True, check=False
    )
    assert set(done.stdout.split()) <= {"jemalloc_bg_thd"}, done.stdout + done.stderr
    assert done.returncode == 0, done.stderr


def test_a_module_that_is_not_there_is_left_out(caplog):
    assert preload(("json", "no_such_module")) == ["no_such_module"]
    assert "Cannot load no_such_module in advance" in caplog.text
