"""Writers that are killed outright, anywhere: the next one leaves the registry whole."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support import programs
from support.data import registry_kills
from support.data.data_registry import commits, keep, run
from support.waiting import wait_for

# Runs the real git, but a commit waits until it is let go, as on a busy disk.
_SLOW_GIT = """#!/bin/sh
case "$*" in *"commit --quiet"*) touch {waiting}; while [ ! -e {go} ]; do sleep 0.02; done;; esac
exec {git} "$@"
"""


@pytest.fixture
def registry(registry: Path) -> Path:
    keep(registry)
    return registry


@pytest.mark.parametrize(("every", "at_least"), [(4, 4), pytest.param(1, 11, marks=pytest.mark.soak)])
def test_whoever_is_killed_is_finished_by_the_next_writer(registry, tmp_path, every, at_least):
    folder = tmp_path / "kills"
    folder.mkdir()
    command = programs.command(registry_kills, registry, folder, every)
    done = subprocess.run(command, env=programs.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    copies = sorted(folder.glob("*/registry"))
    assert len(copies) == len(done.stdout.splitlines()) >= at_least
    for copy in copies:
        assert run(copy, "git", "fsck", "--strict", "--no-dangling") == ""
        assert run(copy, "git", "status", "--porcelain") == ""
        kept = sorted(path.read_bytes() for path in copy.glob(".dvc/cache/files/md5/??/[!.]*"))
        assert (commits(copy), kept) == (3, [b"more rows", b"rows"])


def test_the_git_of_a_killed_writer_is_waited_for(registry, tmp_path):
    """It outlives its parent, and holds locks which the next writer must not take for a dead one's."""
    waiting, go, tools = tmp_path / "waiting", tmp_path / "go", tmp_path / "tools"
    tools.mkdir()
    (tools / "git").write_text(_SLOW_GIT.format(waiting=waiting, go=go, git=shutil.which("git")))
    (tools / "git").chmod(0o755)
    writer = start_writer(registry, {"PATH": f"{tools}:{os.environ['PATH']}"})
    wait_for(waiting.exists)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    follower = start_writer(registry, {})
    with pytest.raises(subprocess.TimeoutExpired):
        follower.wait(timeout=3)
    go.touch()
    assert follower.wait(timeout=60) == 0
    assert run(registry, "git", "status", "--porcelain") == ""
    assert run(registry, "git", "fsck", "--strict", "--no-dangling") == ""
    assert commits(registry) == 3


def start_writer(registry: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    keeping = f"keep(Path({str(registry)!r}), b'more rows', name='parcels/second')"
    code = f"from pathlib import Path; from support.data.data_registry import keep; {keeping}"
    return subprocess.Popen([sys.executable, "-c", code], env=programs.environment() | environment)
