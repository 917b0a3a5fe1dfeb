"""The data registry: an ordinary git repository with DVC in it, that plain `git log`, `dvc list` and `dvc get` understand.

Per model and interval it holds `<model>/<start>__<as_of>.parquet.dvc`, which leads to the rows by their MD5, and a `.json`
beside it that describes them. Who writes holds a lock that all processes share; a lock left in the folder is a dead writer's.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import md5
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
_LINES_OF_ERROR = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Where the registry keeps a data set: its content's MD5 and the git revision that first held it."""

    digest: str
    revision: str


def compute_digest(path: Path) -> str:
    """MD5 of a file, which is DVC's address of it: `md5sum` prints the same."""
    digest = md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def content_path(registry: Path, digest: str) -> Path:
    """Where the cache holds this content, if it does. It is to be read only."""
    return registry / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]


def has_content(registry: Path, digest: str, *, n_bytes: int) -> bool:
    """Whether the cache holds this content, whole."""
    path = content_path(registry, digest)
    return path.is_file() and path.stat().st_size == n_bytes


def has_revision(registry: Path, revision: str) -> bool:
    """Whether the registry's history holds a revision."""
    return (registry / ".git").is_dir() and _git(
        registry, "cat-file", "-e", f"{revision}^{{commit}}", check=False
    ).returncode == 0


def store(registry: Path, name: str, source: Path, *, metadata: Mapping[str, object], message: str) -> Stored:
    """Keep a copy of `source` as `<name>.parquet` and commit it with its description.

    The same content under the same name again makes no second copy and no second commit. After a writer that died, the
    next call finishes what is missing.

    Parameters
    ----------
    name
        Path below the registry without a suffix: `<model>/<interval>`.
    metadata
        Plain values for the `.json` beside the data; written for new content only.

    Raises
    ------
    RetryableError
        When git or DVC fails; the message holds what they say.
    StackError
        When git is not installed.
    """
    ensure_registry(registry)
    digest = compute_digest(source)
    target, described = registry / f"{name}.parquet", registry / f"{name}.json"
    pointer = registry / f"{name}.parquet.dvc"
    if _pointed_at(pointer) != digest or not has_content(registry, digest, n_bytes=source.stat().st_size):
        _copy(source, target)
        _dvc_add(registry, target)
    if _described(described) != digest:
        _write(described, json.dumps({"digest": digest, **metadata}, indent=2, default=str) + "\n")
    _commit(registry, [pointer, described, pointer.with_name(".gitignore")], message)
    return Stored(digest=digest, revision=_git(registry, "log", "-1", "--format=%H", "--", str(pointer)).stdout.strip())


def ensure_registry(registry: Path) -> None:
    """Make the repository, or what of it is missing."""
    registry.mkdir(parents=True, exist_ok=True)
    if not (registry / ".git" / "HEAD").exists():
        _git(registry, "init", "--quiet", "--initial-branch=main")
    for lock in [*(registry / ".git").glob("*.lock"), *(registry / ".git" / "refs").rglob("*.lock")]:
        log.warning("Removing %s, which a writer left that died", lock)
        lock.unlink()
    for name, value in _IDENTITY.items():
        _git(registry, "config", name, value)
    # The ignore file comes last. Force is for an earlier attempt that died; it would empty a cache, so only where there is none.
    if not (registry / ".dvcignore").exists() and not (registry / ".dvc" / "cache").exists():
        command = [sys.executable, "-m", "dvc", "init", "--quiet", "--force"]
        _run(command, registry, {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(_scratch(registry))})
    if not (registry / ".dvc" / "config.local").exists():
        _write(registry / ".dvc" / "config", _DVC_CONFIG)
        # For this machine only, so it is not committed: DVC's scratch files stay inside, also those of its command line.
        _write(registry / ".dvc" / "config.local", f"[core]\n    site_cache_dir = {_scratch(registry)}\n")
    _commit(
        registry,
        [registry / ".dvc" / "config", registry / ".dvc" / ".gitignore", registry / ".dvcignore"],
        "Begin the data registry",
    )


def _dvc_add(registry: Path, target: Path) -> None:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)
    try:
        with Repo(str(registry)) as repo:
            repo.add(str(target))
    except (DvcException, OSError) as error:
        raise RetryableError(f"DVC cannot keep {target}: {error}", f"see: dvc status, in {registry}") from error


def _pointed_at(pointer: Path) -> str:
    """The content that a `.dvc` file leads to; empty where there is none. DVC would stumble over half a file, so it goes."""
    import yaml

    try:
        return str(yaml.load(pointer.read_text(), Loader=yaml.CSafeLoader)["outs"][0]["md5"])
    except FileNotFoundError:
        return ""
    except (yaml.YAMLError, LookupError, TypeError):
        log.warning("Removing %s, which a writer left half-written that died", pointer)
        pointer.unlink()
        return ""


def _described(path: Path) -> str:
    return str(json.loads(path.read_text())["digest"]) if path.exists() else ""


def _commit(registry: Path, paths: list[Path], message: str) -> None:
    """Commit these files; nothing where they are as in the last commit."""
    names = [str(path.relative_to(registry)) for path in paths]
    _git(registry, "add", "--", *names)
    if _git(registry, "status", "--porcelain", "--untracked-files=no", "--", *names).stdout:
        _git(registry, "commit", "--quiet", "--no-verify", "-m", message, "--", *names)


def _git(registry: Path, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    environment = {
        # Named outright: from a folder that is no repository git would look further up and find somebody else's.
        "GIT_DIR": str(registry / ".git"),
        "GIT_WORK_TREE": str(registry),
        # Nobody's own configuration: it may sign commits, run hooks or know no identity.
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    return _run(["git", *arguments], registry, environment, check=check)


def _run(
    command: list[str], folder: Path, environment: Mapping[str, str], *, check: bool = True
) -> "subprocess.CompletedProcess[str]":
    """Run a program in the registry, whatever repository the caller itself is in."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(command, cwd=folder, env={**inherited, **environment}, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise StackError(f"cannot run {command[0]}: it is not installed", "install git and start again") from error
    if check and done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-_LINES_OF_ERROR:])
        raise RetryableError(f"{' '.join(command[:4])} failed in {folder}: {said}", f"see: git status, in {folder}")
    return done


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, part)
    part.replace(target)


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.replace(path)


def _scratch(registry: Path) -> Path:
    return registry / ".dvc" / "tmp" / "site"
