"""The folder that a run of the tests leaves nothing in but what a failure needs."""

import os
from pathlib import Path

from support.run_folder import make_run_folder

# More than Linux gives to any process.
NO_PID = 2**22 + 1


def test_what_runs_left_that_are_gone_is_removed(tmp_path: Path):
    """Their folders are kept until then, as those who look for a failure need them."""
    kept = [tmp_path / name for name in (f"pn-tests-{os.getppid()}-a", "pn-tests-older", "pn-other")]
    left = tmp_path / f"pn-tests-{NO_PID}-a"
    for folder in (*kept, left):
        (folder / "below").mkdir(parents=True)
    made = make_run_folder(tmp_path)
    assert made.name.startswith(f"pn-tests-{os.getpid()}-")
    assert set(tmp_path.iterdir()) == {*kept, made}
