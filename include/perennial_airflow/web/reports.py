"""Pages of reports: a list of them, and the files, which others wrote and which must not be trusted."""

from functools import cache
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, status
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from perennial.config.settings import Settings
from perennial_airflow.web.report_files import MEDIA_TYPES, find_file, find_pages
from perennial_airflow.web.report_list import render_list

router = APIRouter()

# A report is HTML around values from a warehouse: it may show itself, and neither run a script, send a form, load from
# elsewhere nor be framed by another site.
_POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'; "
    "sandbox allow-same-origin allow-popups allow-popups-to-escape-sandbox"
)
# Evidently's pages draw themselves by a script that they hold. It runs in an origin of its own, where it has no cookie and no
# way into Airflow, and loads nothing from anywhere.
_SCRIPTED_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
    "connect-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'self'; sandbox allow-scripts"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-cache",
}
_SCRIPTED_HEADERS = _HEADERS | {"Content-Security-Policy": _SCRIPTED_POLICY}
_DATA_DOCS, _MONITORING = "data_docs", "monitoring"


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
def list_reports(folder: Folder, kind: str = "") -> Response:
    """List the newest reports, of all kinds or of one."""
    return HTMLResponse(render_list(find_pages(folder), kind=kind), headers=_HEADERS)


@router.get("/reports/{path:path}")
def read_report(path: str, folder: Folder) -> Response:
    """Serve one file of the reports folder; anything else is not found, whether it exists or not."""
    file = find_file(folder, path)
    if file is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "there is no such report")
    # Where the file really is, not what the address says, decides what a page may do.
    kind = file.relative_to(folder).parts[0] if file.suffix == ".html" else ""
    if kind == _DATA_DOCS:
        return HTMLResponse(dress(file.read_text(errors="replace"), back="../" * path.count("/")), headers=_HEADERS)
    headers = _SCRIPTED_HEADERS if kind == _MONITORING else _HEADERS
    return FileResponse(file, media_type=MEDIA_TYPES[file.suffix], headers=headers)


def dress(page: str, *, back: str) -> str:
    """A page of Data Docs with our style sheet in place of those from elsewhere, which the policy forbids, and a way back."""
    head, end, rest = page.partition("</head>")
    before, body, content = rest.partition("<body>")
    link = f'<p style="margin:0;padding:.5rem 1.25rem"><a href="{back}">← All reports</a></p>' if body else ""
    return f"{head}<style>{_read_style()}</style>{end}{before}{body}{link}{content}"


@cache
def _read_style() -> str:
    return (Path(__file__).parent / "data_docs.css").read_text()
