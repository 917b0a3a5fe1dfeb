"""The registry as a repository: made, locked, mended after a dead writer, committed to; with git's and DVC's own programs."""

import fcntl
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from perennial.errors import RetryableError, StackError

log = logging.getLogger(__name__)

_IDENTITY = {"user.name": "Perennial", "user.email": "perennial@localhost"}
# One copy on disk where the file system allows it: what lies in the folder is a link into the cache.
_DVC_CONFIG = """[core]
    analytics = false
    check_update = false
    autostage = true
[cache]
    type = "reflink,hardlink,copy"
"""
# Halves of files: ours, and DVC's. Whoever is killed leaves them.
_EXCLUDED = "*.part\n*.tmp\n"
_LINES_OF_ERROR = 5

Done = subprocess.CompletedProcess[str]


@contextmanager
def writing(registry: Path) -> Iterator[None]:
    """Be the only writer, in a repository that is whole; whoever writes does it in here.

    The lock in the state database, which callers hold, is free as soon as its holder is killed. The git or DVC which that one
    had started may still be at work then; it has this lock from its parent, and is waited for.
    """
    folder = registry / ".git"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "perennial-writer").open("a") as file:
        os.set_inheritable(file.fileno(), True)
        fcntl.flock(file, fcntl.LOCK_EX)
        _ensure(registry)
        yield


def commit(registry: Path, paths: list[Path], message: str) -> None:
    """Commit these files; nothing where they are as in the last commit."""
    names = [str(path.relative_to(registry)) for path in paths]
    git(registry, "add", "--", *names)
    if git(registry, "status", "--porcelain", "--untracked-files=no", "--", *names).stdout:
        git(registry, "commit", "--quiet", "--no-verify", "-m", message, "--", *names)


def git(registry: Path, *arguments: str, check: bool = True) -> Done:
    """Run git in the registry.

    Raises
    ------
    RetryableError
        When it fails and `check` is set; the message holds what it says.
    StackError
        When it is not installed.
    """
    environment = {
        # Named outright: from a folder that is no repository git would look further up and find somebody else's.
        "GIT_DIR": str(registry / ".git"),
        "GIT_WORK_TREE": str(registry),
        # Nobody's own configuration: it may sign commits, run hooks or know no identity.
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    return _run(["git", *arguments], registry, environment, check=check)


def dvc(registry: Path, *arguments: str, check: bool = True) -> Done:
    """Run DVC's command line in the registry; raises as `git`."""
    environment = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(_scratch(registry))}
    return _run([sys.executable, "-m", "dvc", *arguments], registry, environment, check=check)


def write_file(path: Path, text: str) -> None:
    """Write a file so that it is whole or not there."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.replace(path)


def _ensure(registry: Path) -> None:
    """Make the repository, or what of it is missing, and take away what a dead writer's tools locked."""
    if not (registry / ".git" / "HEAD").exists():
        git(registry, "init", "--quiet", "--initial-branch=main")
    (registry / ".git" / "info").mkdir(exist_ok=True)
    write_file(registry / ".git" / "info" / "exclude", _EXCLUDED)
    _remove_locks(registry)
    for name, value in _IDENTITY.items():
        git(registry, "config", name, value)
    # The ignore file comes last. Force is for an earlier attempt that died; it would empty a cache, so only where there is none.
    if not (registry / ".dvcignore").exists() and not (registry / ".dvc" / "cache").exists():
        dvc(registry, "init", "--quiet", "--force")
    if not (registry / ".dvc" / "config.local").exists():
        write_file(registry / ".dvc" / "config", _DVC_CONFIG)
        # For this machine only, so it is not committed: DVC's scratch files stay inside, also those of its command line.
        write_file(registry / ".dvc" / "config.local", f"[core]\n    site_cache_dir = {_scratch(registry)}\n")
    commit(
        registry,
        [registry / ".dvc" / "config", registry / ".dvc" / ".gitignore", registry / ".dvcignore"],
        "Begin the data registry",
    )


def _remove_locks(registry: Path) -> None:
    """Nobody else writes now, so a lock was left by a writer that died.

    DVC's names the processes that hold it: cut off in the middle it is nonsense, and after a restart the numbers are others'.
    """
    left = [*(registry / ".git").glob("*.lock"), *(registry / ".git" / "refs").rglob("*.lock")]
    for lock in [*left, registry / ".dvc" / "tmp" / "rwlock"]:
        if lock.exists():
            log.debug("Removing %s, which a writer left that died", lock)
            lock.unlink()


def _run(command: list[str], folder: Path, environment: Mapping[str, str], *, check: bool) -> Done:
    """Run a program in the registry, whatever repository the caller itself is in."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        # Files are closed for it by default in Python, but for the lock of `writing`.
        done = subprocess.run(
            command, cwd=folder, env={**inherited, **environment}, capture_output=True, text=True, check=False, close_fds=False
        )
    except FileNotFoundError as error:
        raise StackError(f"cannot run {command[0]}: it is not installed", "install git and start again") from error
    if check and done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-_LINES_OF_ERROR:])
        raise RetryableError(f"{' '.join(command[:4])} failed in {folder}: {said}", f"see: git status, in {folder}")
    return done


def _scratch(registry: Path) -> Path:
    return registry / ".dvc" / "tmp" / "site"
