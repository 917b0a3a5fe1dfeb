"""Folders and files that come and go: how large they are, when they were last written, and removing them whole."""

import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from perennial.errors import StackError

log = logging.getLogger(__name__)

# What is about to be removed has this name for a moment. Whatever has it longer was left by somebody who died.
_LEAVING = ".leaving-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a folder or file holds: bytes, each file once however many names it has, and when any of it was last written."""

    n_bytes: int
    written_at: datetime


def measure(path: Path) -> Content:
    """Measure a folder or a file. What is not there, or goes meanwhile, holds nothing and is as old as time itself."""
    sizes: dict[tuple[int, int], int] = {}
    written_at = 0.0
    for each in _walk(path):
        try:
            stat = each.lstat()
        except FileNotFoundError:
            continue
        if each.is_file() and not each.is_symlink():
            sizes[stat.st_dev, stat.st_ino] = stat.st_size
        written_at = max(written_at, stat.st_mtime)
    return Content(n_bytes=sum(sizes.values()), written_at=datetime.fromtimestamp(written_at, UTC))


def _walk(path: Path) -> Iterator[Path]:
    yield path
    for folder, names, files in os.walk(path):
        yield from (Path(folder) / name for name in (*names, *files))


def list_groups(root: Path, *, depth: int) -> list[str]:
    """Folders at a depth below `root`, and files and folders without any that lie above it, by their path from `root`.

    Symbolic links are left out, and so is what is being removed.
    """
    found: list[str] = []

    def visit(folder: Path, left: int) -> None:
        for each in sorted(folder.iterdir()) if folder.is_dir() else ():
            if each.is_symlink() or each.name.startswith(_LEAVING):
                continue
            if left > 1 and each.is_dir() and any(each.iterdir()):
                visit(each, left - 1)
            else:
                found.append(each.relative_to(root).as_posix())

    visit(root, depth)
    return found


def remove(path: Path) -> None:
    """Remove a folder or a file so that from one moment on it is gone as a whole; one that is gone stays so.

    Raises
    ------
    StackError
        When the file system does not let it go: it is somebody else's, or read-only.
    """
    try:
        _remove(path, path.with_name(f"{_LEAVING}{path.name}"))
    except OSError as error:
        raise StackError(f"cannot remove {path}: {error}", "see whose it is, and remove it by hand") from error


def _remove(path: Path, leaving: Path) -> None:
    try:
        path.rename(leaving)
    except FileNotFoundError:
        return
    except OSError:
        # What an earlier attempt left has this name, and is not empty.
        _delete(leaving)
        path.rename(leaving)
    _delete(leaving)


def remove_leftovers(root: Path) -> None:
    """Complete removals below a folder that were begun by somebody who died."""
    for leaving in list(root.rglob(f"{_LEAVING}*")):
        try:
            _delete(leaving)
        except OSError as error:
            log.warning("%s stays, it cannot be removed: %s", leaving, error)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
