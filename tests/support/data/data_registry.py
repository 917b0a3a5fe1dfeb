"""A data registry in a test's folder: filled by our code, looked at with plain git and DVC."""

import os
import subprocess
import sys
from pathlib import Path

from perennial.adapters import snapshots
from perennial.adapters.snapshots.repository import writing

NAME = "parcels/20130101T000000Z__20130201T000000Z"


def begin(registry: Path) -> Path:
    """Make an empty registry, which may be copied to any place."""
    with writing(registry):
        pass
    (registry / ".dvc" / "config.local").unlink()  # names the place; made again by the first writer
    return registry


def keep(registry: Path, content: bytes = b"rows", *, name: str = NAME) -> snapshots.Stored:
    source = registry.parent / "training_set.parquet"
    source.write_bytes(content)
    return snapshots.store(registry, name, source, metadata={"n_rows": 4}, message=f"keep {name}")


def run(folder: Path, *command: str) -> str:
    """Output of a program that knows nothing of us."""
    nobody = str(folder.parent / "nobody")
    environment = {"PATH": os.environ["PATH"], "HOME": nobody, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": nobody}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def dvc(folder: Path, *arguments: str) -> str:
    return run(folder, sys.executable, "-m", "dvc", *arguments)


def commits(registry: Path) -> int:
    return int(run(registry, "git", "rev-list", "--count", "HEAD"))


def contents(folder: Path) -> list[bytes]:
    """What lies in a cache or a remote."""
    return sorted(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def cached(registry: Path) -> list[bytes]:
    return contents(registry / ".dvc" / "cache")
