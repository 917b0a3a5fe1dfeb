"""The contents that the data registry holds, each once, whatever names and revisions lead to it; git's history is not touched."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from perennial.adapters.snapshots.reading import content_path


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedContent:
    """One content by its MD5. `n_bytes` is what the disk gets back when it goes."""

    digest: str
    n_bytes: int
    written_at: datetime


def list_contents(registry: Path) -> list[CachedContent]:
    """Everything that the registry has of data; also what only a working file is left of."""
    links = _find_links(registry)
    cached = content_path(registry, "").glob("[0-9a-f][0-9a-f]/*")
    found = {path.parent.name + path.name: path for path in cached if path.is_file()}
    return [_describe(digest, found.get(digest), links.get(digest, [])) for digest in sorted({*found, *links})]


def remove_content(registry: Path, digest: str) -> None:
    """Remove a content: the files that people see first, then what they are links to. Pointers and descriptions stay in git."""
    for link in _find_links(registry).get(digest, []):
        link.unlink(missing_ok=True)
    content_path(registry, digest).unlink(missing_ok=True)


def mark_used(registry: Path, digest: str) -> None:
    """A content that is taken again is as young as a new one: nobody removes it as old before its version is on record."""
    os.utime(content_path(registry, digest))


def _find_links(registry: Path) -> dict[str, list[Path]]:
    """Working files by the content that their pointers name."""
    found: dict[str, list[Path]] = {}
    for pointer in registry.glob("*/*.dvc"):
        target = pointer.with_suffix("")
        if target.is_file() and (digest := _read_digest(pointer)):
            found.setdefault(digest, []).append(target)
    return found


def _read_digest(pointer: Path) -> str:
    try:
        return str(yaml.load(pointer.read_text(), Loader=yaml.CSafeLoader)["outs"][0]["md5"])
    except (OSError, yaml.YAMLError, LookupError, TypeError):
        # Half-written by somebody who died; the next writer mends it.
        return ""


def _describe(digest: str, cached: Path | None, links: list[Path]) -> CachedContent:
    stats = {(stat.st_dev, stat.st_ino): stat for stat in _stats([*([cached] if cached else []), *links])}
    written_at = max((stat.st_mtime for stat in stats.values()), default=0.0)
    n_bytes = sum(stat.st_size for stat in stats.values())
    return CachedContent(digest=digest, n_bytes=n_bytes, written_at=datetime.fromtimestamp(written_at, UTC))


def _stats(paths: list[Path]) -> Iterator[os.stat_result]:
    for path in paths:
        try:
            yield path.stat()
        except FileNotFoundError:
            continue
