"""The data registry: an ordinary git repository with DVC in it, that plain `git log`, `dvc list` and `dvc get` understand.

Per model and interval it holds `<model>/<start>__<as_of>.parquet.dvc`, which leads to the rows by their MD5, and a `.json`
beside it that describes them. Who writes holds a lock that all processes share; a lock left in the folder is a dead writer's.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from perennial.adapters.snapshots.contents import mark_used
from perennial.adapters.snapshots.reading import (
    compute_digest,
    content_path,
    fetch,
    get_command,
    has_content,
    has_revision,
    read_description,
)
from perennial.adapters.snapshots.remote import check_remote, is_pushed, push, set_remote
from perennial.adapters.snapshots.repository import commit, git, write_file, writing
from perennial.errors import RetryableError

__all__ = [
    "Stored",
    "check_remote",
    "compute_digest",
    "content_path",
    "fetch",
    "get_command",
    "has_content",
    "has_revision",
    "is_pushed",
    "mark_used",
    "push",
    "read_description",
    "set_remote",
    "store",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Where the registry keeps a data set: its content's MD5 and the git revision that first held it."""

    digest: str
    revision: str


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
    with writing(registry):
        return _store(registry, name, source, metadata=metadata, message=message)


def _store(registry: Path, name: str, source: Path, *, metadata: Mapping[str, object], message: str) -> Stored:
    digest = compute_digest(source)
    target, described = registry / f"{name}.parquet", registry / f"{name}.json"
    pointer = registry / f"{name}.parquet.dvc"
    if _pointed_at(pointer) != digest or not has_content(registry, digest, n_bytes=source.stat().st_size):
        _copy(source, target)
        _dvc_add(registry, target)
    if _described(described) != digest:
        write_file(described, json.dumps({"digest": digest, **metadata}, indent=2, default=str) + "\n")
    commit(registry, [pointer, described, pointer.with_name(".gitignore")], message)
    return Stored(digest=digest, revision=git(registry, "log", "-1", "--format=%H", "--", str(pointer)).stdout.strip())


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


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, part)
    part.replace(target)
