"""The files under the reports folder that may be served."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".gif": "image/gif",
    ".svg": "image/svg+xml",
    ".ico": "image/x-icon",
    ".ttf": "font/ttf",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A report as the list shows it. `name` is its path under the folder.

    Data Docs are at `data_docs/<model>/<run>/`, reports of monitoring at `monitoring/<model>/<window>/`, summaries of backfills
    at `backfills/<model>/`.
    """

    name: str
    written_at: datetime


def find_file(folder: Path, path: str) -> Path | None:
    """The file under `folder` that a path names.

    Returns
    -------
    None for what is outside, also through a symbolic link, for hidden files, folders and unknown kinds of files.
    """
    try:
        file = (folder / path).resolve()
        visible = not any(part.startswith(".") for part in file.relative_to(folder).parts)
        return file if visible and file.suffix in MEDIA_TYPES and file.is_file() else None
    except (OSError, ValueError, RuntimeError):  # outside of the folder, a null byte, a name too long, a loop of links
        return None


def find_pages(folder: Path) -> list[Page]:
    """All pages that can be served, the newest first."""
    pages = []
    for path in folder.rglob("*.html"):
        name = path.relative_to(folder).as_posix()
        if file := find_file(folder, name):
            with suppress(FileNotFoundError):  # retention may remove it at any time
                pages.append(Page(name=name, written_at=datetime.fromtimestamp(file.stat().st_mtime, tz=UTC)))
    return sorted(pages, key=lambda page: page.written_at, reverse=True)
