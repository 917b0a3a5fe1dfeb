"""The list of reports as a page."""

import html
from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePosixPath
from urllib.parse import quote

from perennial_airflow.web.report_files import Page

# What the kinds of reports are called, by the folder that they are in.
_KINDS = {"data_docs": "Validation", "monitoring": "Monitoring", "backfills": "Backfill", "replays": "Replay"}
_OTHER = "other"
_N_LISTED = 200


def render_list(pages: Sequence[Page], *, kind: str = "") -> str:
    """The newest reports, a line for each run, window or backfill, in the order of the pages.

    Parameters
    ----------
    pages
        All there are, the newest first.
    kind
        Show reports of one folder only; empty for all.
    """
    if not pages:
        return _PAGE.format(kinds="", body="<p>No report yet: the first retraining writes one.</p>")
    shown = [page for page in pages if kind in {"", _kind_of(page)}]
    runs: dict[str, list[Page]] = {}
    for page in shown[:_N_LISTED]:
        runs.setdefault(_run_of(page), []).append(page)
    rows = "".join(_render_run(run, of_run) for run, of_run in runs.items())
    table = f"<table><tr><th>Kind</th><th>Model</th><th>Run or window</th><th>Pages</th><th>Written</th></tr>{rows}</table>"
    more = f"<p>The newest {_N_LISTED} of {len(shown)} pages.</p>" if len(shown) > _N_LISTED else ""
    return _PAGE.format(kinds=_render_kinds(pages, kind), body=f"{table}{more}" if rows else "<p>No report of this kind.</p>")


def _kind_of(page: Page) -> str:
    folder = page.name.partition("/")[0]
    return folder if folder in _KINDS else _OTHER


def _run_of(page: Page) -> str:
    """What the pages of one run share: their folder; a backfill has one page only, which is its own."""
    return page.name.removesuffix(".html") if _kind_of(page) == "backfills" else page.name.rpartition("/")[0]


def _render_kinds(pages: Sequence[Page], kind: str) -> str:
    """Links that show one kind of report only, with how many pages there are."""
    names = {"": "All", **_KINDS, _OTHER: "Other"}
    counts = {name: sum(name in {"", _kind_of(page)} for page in pages) for name in names}
    links = [
        f"<b>{names[name]}&nbsp;{n}</b>" if name == kind else f'<a href="?kind={name}">{names[name]}&nbsp;{n}</a>'
        for name, n in counts.items()
        if n
    ]
    return f"<p>{' · '.join(links)}</p>"


def _render_run(run: str, pages: Sequence[Page]) -> str:
    """One line of the list; the pages stand in the order in which they were written."""
    kind = _kind_of(pages[0])
    model, _, name = (run if kind == _OTHER else run.partition("/")[2]).partition("/")
    links = [f'<a href="{quote(page.name)}">{html.escape(_name_page(page))}</a>' for page in reversed(pages)]
    cells = {
        "Kind": _KINDS.get(kind, ""),
        "Model": html.escape(model),
        "Run or window": html.escape(_name_window(name)),
        "Pages": " · ".join(links),
        "Written": f"{pages[0].written_at:%Y-%m-%d %H:%M} UTC",
    }
    row = "".join(f'<td data-label="{label}">{cell}</td>' for label, cell in cells.items())
    return f"<tr>{row}</tr>"


def _name_page(page: Page) -> str:
    return "summary" if _kind_of(page) == "backfills" else PurePosixPath(page.name).stem


def _name_window(name: str) -> str:
    """A window by its dates; what is no window by its name.

    Examples
    --------
    >>> _name_window("20130501T000000__20130601T000000"), _name_window("20130501T060000__20130501T070000")
    ('2013-05-01 to 2013-06-01', '2013-05-01 06:00 to 2013-05-01 07:00')
    """
    try:
        times = [datetime.strptime(f"{text}+0000", "%Y%m%dT%H%M%S%z") for text in name.split("__")]
    except ValueError:
        return name
    form = "%Y-%m-%d %H:%M" if any(time.hour or time.minute for time in times) else "%Y-%m-%d"
    return " to ".join(f"{time:{form}}" for time in times)


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
@media (max-width:40rem){{
table,tbody,tr,td{{display:block}}
tr:has(th){{display:none}}
tr{{padding:.5rem 0;border-bottom:1px solid #8884}}
td,td:last-child{{display:flex;gap:.5rem;padding:.1rem 0;border:0;white-space:normal}}
td::before{{content:attr(data-label);flex:0 0 7rem;opacity:.6}}
td:empty{{display:none}}
}}
</style></head><body><h1>Reports</h1>{kinds}{body}
<p><a href="../../" target="_blank">Open Airflow</a></p></body></html>
"""
