"""The project's own history in git: which commit the code is, and an earlier commit's files."""

import os
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

from perennial.errors import PermanentError

UNKNOWN = "unknown"
DIRTY = "-dirty"

_SECONDS = 30
# What a training is made of: code, specs and suites; queries; the environment. A change elsewhere makes no other model.
MADE_OF = ("include", "sql", "requirements.txt")


def read_commit(project: Path) -> str:
    """The commit that code, specs, queries and lock are of, with `-dirty` where they differ from it; `unknown` without git."""
    commit = _git(project, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return UNKNOWN  # an installed copy without its history has no commit to name
    changed = _git(project, "status", "--porcelain", "--untracked-files=all", "--", *MADE_OF)
    return commit.decode().strip() + (DIRTY if changed is None or changed.strip() else "")


def has_commit(project: Path, commit: str) -> bool:
    """Whether the project's history holds a commit."""
    return _git(project, "cat-file", "-e", f"{commit}^{{commit}}") is not None


def read_file(project: Path, commit: str, path: str) -> bytes | None:
    """A file as it was in a commit; None where the commit has none of that path."""
    return _git(project, "show", f"{commit}:./{path}")


def export(project: Path, commit: str, folder: Path) -> None:
    """Write all files of a commit below a folder.

    Raises
    ------
    PermanentError
        When git cannot read the commit.
    """
    packed = _git(project, "archive", "--format=tar", commit)
    if packed is None:
        raise PermanentError(f"git cannot read commit {commit} in {project}", f"see: git -C {project} fsck")
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")


def _git(project: Path, *arguments: str) -> bytes | None:
    """What git prints; None where it fails or is not installed."""
    # A hook of another repository must not lead elsewhere.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(project), *arguments],
            env={**environment, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
