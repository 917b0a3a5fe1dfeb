import doctest
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from perennial_airflow.web import report_list
from perennial_airflow.web.report_files import find_pages
from perennial_airflow.web.report_list import render_list


def write(folder: Path, *names: str) -> None:
    """Files that were written a day after one another."""
    for day, name in enumerate(names, start=1):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
        os.utime(folder / name, (0, datetime(2013, 4, day, 6, tzinfo=UTC).timestamp()))


def read_rows(page: str) -> list[list[str]]:
    """The cells of each line, without the head."""
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in page.split("<tr>")[2:]]


def test_examples():
    assert doctest.testmod(report_list).failed == 0


def test_the_newest_come_first_and_names_are_escaped(tmp_path, monkeypatch):
    monkeypatch.setattr(report_list, "_N_LISTED", 2)
    write(tmp_path, "a&b<i>.html", "data_docs/m/run/raw.html", ".hidden.html", "x.exe")
    page = render_list(find_pages(tmp_path))
    first, second = read_rows(page)
    assert first[:3] == ["Validation", "m", "run"]
    assert second[3:] == ['<a href="a%26b%3Ci%3E.html">a&amp;b&lt;i&gt;</a>', "2013-04-01 06:00 UTC"]
    assert "of 2 pages" not in page
    write(tmp_path, "data_docs/m/run/clean.html")
    assert "The newest 2 of 3 pages." in render_list(find_pages(tmp_path))


def test_each_kind_says_what_it_is_of(tmp_path):
    write(
        tmp_path,
        "data_docs/m/scheduled__2013/raw.html",
        "data_docs/m/scheduled__2013/clean.html",
        "monitoring/m/20130501T000000__20130601T000000/report.html",
        "monitoring/m/99999999T000000__20130601T000000/report.html",
        "backfills/m/0003__2013-02-01__2013-12-01.html",
        "backfills/m/0004.html",
    )
    raw, clean = (f'<a href="data_docs/m/scheduled__2013/{name}.html">{name}</a>' for name in ("raw", "clean"))
    rows = read_rows(render_list(find_pages(tmp_path)))
    assert [row[:3] for row in rows] == [
        ["Backfill", "m", "0004"],
        ["Backfill", "m", "0003__2013-02-01__2013-12-01"],
        ["Monitoring", "m", "99999999T000000__20130601T000000"],
        ["Monitoring", "m", "2013-05-01 to 2013-06-01"],
        ["Validation", "m", "scheduled__2013"],
    ]
    assert rows[-1][3:] == [f"{raw} · {clean}", "2013-04-02 06:00 UTC"]


@pytest.mark.parametrize(
    ("kind", "n_rows", "said"),
    [
        ("", 3, "<b>All&nbsp;3</b>"),
        ("monitoring", 1, '<a href="?kind=">All&nbsp;3</a>'),
        ("other", 1, "<b>Other&nbsp;1</b>"),
        ("backfills", 0, "No report of this kind."),
        ("<script>", 0, "No report of this kind."),
    ],
)
def test_one_kind_can_be_shown_alone(tmp_path, kind, n_rows, said):
    write(tmp_path, "data_docs/m/run/raw.html", "monitoring/m/w/report.html", "loose.html")
    page = render_list(find_pages(tmp_path), kind=kind)
    assert len(read_rows(page)) == n_rows
    assert said in page
    assert "<script>" not in page


def test_without_reports_the_list_says_so(tmp_path):
    assert find_pages(tmp_path / "not there yet") == []
    assert "No report yet" in render_list([])
