"""What the registry holds: whether it is there, its description, and the rows themselves by plain `dvc get`."""

import json
import shlex
from collections.abc import Mapping
from hashlib import md5
from pathlib import Path

from perennial.adapters.snapshots.remote import REMOTE, read_remote_url
from perennial.adapters.snapshots.repository import dvc, git
from perennial.errors import DataFault


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
    return (registry / ".git").is_dir() and git(registry, "cat-file", "-e", f"{revision}^{{commit}}", check=False).returncode == 0


def read_description(registry: Path, name: str, revision: str) -> Mapping[str, object]:
    """What was written beside a data set, as it was at a revision; empty where there is none."""
    if not has_revision(registry, revision):
        return {}
    shown = git(registry, "show", f"{revision}:{name}.json", check=False)
    described: Mapping[str, object] = json.loads(shown.stdout) if shown.returncode == 0 else {}
    return described


def fetch(registry: Path, name: str, revision: str, *, digest: str, target: Path) -> None:
    """Get a data set as anybody would, by `dvc get`: from the cache, or from the remote where there is one.

    Raises
    ------
    DataFault
        When neither has it, or what came has another digest.
    """
    arguments = (*_arguments(registry, name, revision), "--out", str(target))
    done = dvc(registry, *arguments, check=False)
    if done.returncode != 0 and read_remote_url(registry):
        # A revision from before there was a remote names none.
        done = dvc(registry, *arguments, "--remote", REMOTE, check=False)
    if done.returncode != 0:
        said = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), done.stderr.strip())
        raise DataFault(f"dvc get cannot find {name}.parquet of revision {revision[:12]}: {said.removeprefix('ERROR: ')}")
    if (found := compute_digest(target)) != digest:
        raise DataFault(f"{name}.parquet of revision {revision[:12]} has the MD5 {found}, recorded is {digest}")


def get_command(registry: Path, name: str, revision: str, *, program: str = "dvc", from_remote: bool = False) -> str:
    """The line that a person types for the same; from the remote where the cache no longer has it."""
    return shlex.join([program, *_arguments(registry, name, revision), *(("--remote", REMOTE) if from_remote else ())])


def _arguments(registry: Path, name: str, revision: str) -> tuple[str, ...]:
    return ("get", str(registry), f"{name}.parquet", "--rev", revision)
