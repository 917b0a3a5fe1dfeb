"""Pages of reports: a list of them, and the files, which others wrote and which must not be trusted."""

import html
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, HTTPException, status
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from perennial.config.settings import Settings

router = APIRouter()

# A report is HTML around values from a warehouse: it may show itself, and neither run a script, send a form, load from
# elsewhere nor be framed by another site.
_POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'; "
    "sandbox allow-same-origin allow-popups allow-popups-to-escape-sandbox"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-cache",
}
_MEDIA_TYPES = {
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
_DATA_DOCS = "data_docs/"
_N_LISTED = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A report as the list shows it. `name` is its path under the folder: Data Docs are at data_docs/<model>/<run>."""

    name: str
    written_at: datetime

    @property
    def folder(self) -> str:
        """What the pages of one run share."""
        return self.name.rpartition("/")[0]


@cache
def reports_folder() -> Path:
    """Folder of all reports."""
    return Settings.load().paths.reports.resolve()


Folder = Annotated[Path, Depends(reports_folder)]


@router.get("/", include_in_schema=False)
def read_root() -> Response:
    """The reports are all there is, for now."""
    return RedirectResponse("reports/")


@router.get("/reports/")
def list_reports(folder: Folder) -> Response:
    """List the newest reports."""
    pages = find_pages(folder)
    return HTMLResponse(render_list(pages[:_N_LISTED], n_pages=len(pages)), headers=_HEADERS)


@router.get("/reports/{path:path}")
def read_report(path: str, folder: Folder) -> Response:
    """Serve one file of the reports folder; anything else is not found, whether it exists or not."""
    file = find_file(folder, path)
    if file is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "there is no such report")
    if path.startswith(_DATA_DOCS) and file.suffix == ".html":
        return HTMLResponse(dress(file.read_text(errors="replace"), back="../" * path.count("/")), headers=_HEADERS)
    return FileResponse(file, media_type=_MEDIA_TYPES[file.suffix], headers=_HEADERS)


def dress(page: str, *, back: str) -> str:
    """A page of Data Docs with our style sheet in place of those from elsewhere, which the policy forbids, and a way back."""
    head, end, rest = page.partition("</head>")
    before, body, content = rest.partition("<body>")
    link = f'<p style="margin:0;padding:.5rem 1.25rem"><a href="{back}">← All reports</a></p>' if body else ""
    return f"{head}<style>{_read_style()}</style>{end}{before}{body}{link}{content}"


@cache
def _read_style() -> str:
    return (Path(__file__).parent / "data_docs.css").read_text()


def find_file(folder: Path, path: str) -> Path | None:
    """The file under `folder` that a path names.

    Returns
    -------
    None for what is outside, also through a symbolic link, for hidden files, folders and unknown kinds of files.
    """
    try:
        file = (folder / path).resolve()
        visible = not any(part.startswith(".") for part in file.relative_to(folder).parts)
        return file if visible and file.suffix in _MEDIA_TYPES and file.is_file() else None
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


def render_list(pages: list[Page], *, n_pages: int) -> str:
    """The list of reports as a page: a line for each run of a model, in the order of the pages."""
    if not pages:
        return _PAGE.format(body="<p>No report yet: the first retraining writes one.</p>")
    runs: dict[str, list[Page]] = {}
    for page in pages:
        runs.setdefault(page.folder, []).append(page)
    rows = "".join(_render_run(folder, of_run) for folder, of_run in runs.items())
    more = f"<p>The newest {len(pages)} of {n_pages} pages.</p>" if n_pages > len(pages) else ""
    return _PAGE.format(body=f"<table><tr><th>Model</th><th>Run</th><th>Pages</th><th>Written</th></tr>{rows}</table>{more}")


def _render_run(folder: str, pages: list[Page]) -> str:
    """One line of the list; the pages stand in the order in which they were written."""
    model, _, run = folder.removeprefix(_DATA_DOCS).partition("/")
    links = [f'<a href="{quote(page.name)}">{html.escape(Path(page.name).stem)}</a>' for page in reversed(pages)]
    return (
        f"<tr><td>{html.escape(model)}</td><td>{html.escape(run)}</td><td>{' · '.join(links)}</td>"
        f"<td>{pages[0].written_at:%Y-%m-%d %H:%M} UTC</td></tr>"
    )


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Reports</title><style>
:root{{color-scheme:light dark}}
body{{font:14px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem}}
h1{{font-size:1.3rem}}
table{{border-collapse:collapse;width:100%}}
th,td{{text-align:left;padding:.45rem .6rem .45rem 0;border-bottom:1px solid #8884;vertical-align:top}}
td{{overflow-wrap:anywhere}}
td:last-child{{white-space:nowrap;opacity:.75}}
a{{color:#0b6bcb}}
@media (prefers-color-scheme:dark){{a{{color:#6cb6ff}}}}
</style></head><body><h1>Reports</h1>{body}
<p><a href="../../" target="_blank">Open Airflow</a></p></body></html>
"""
