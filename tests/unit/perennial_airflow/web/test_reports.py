import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from perennial_airflow.web.reports import dress, find_file, find_pages, render_list


@pytest.fixture
def folder(tmp_path) -> Path:
    reports = tmp_path / "reports"
    for name in ("data_docs/a/raw.html", "data_docs/.hidden/raw.html", ".git.html", "a&b<i>.html", "x.exe", "plain.txt"):
        (reports / name).parent.mkdir(parents=True, exist_ok=True)
        (reports / name).write_text(name)
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "reports-of-others").mkdir()
    (tmp_path / "reports-of-others" / "b.html").write_text("theirs")
    (reports / "link.txt").symlink_to(tmp_path / "secret.txt")
    (reports / "linked").symlink_to(tmp_path)
    (reports / "loop.html").symlink_to(reports / "loop.html")
    (reports / "inside.html").symlink_to(reports / "data_docs/a/raw.html")
    return reports


@pytest.mark.parametrize("path", ["data_docs/a/raw.html", "plain.txt", "data_docs/../plain.txt", "inside.html", "a&b<i>.html"])
def test_files_of_the_folder_are_found(folder, path):
    assert find_file(folder, path) == (folder / path).resolve()


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt", "data_docs/../../secret.txt", "link.txt", "linked/secret.txt", "../reports-of-others/b.html",
        "data_docs/.hidden/raw.html", ".git.html", "x.exe", "data_docs", "", ".", "missing.html", "loop.html", "plain.txt\0.html",
        "x" * 5000 + ".html",
    ],
)  # fmt: skip
def test_everything_else_is_not_found(folder, path):
    assert find_file(folder, path) is None


def test_an_absolute_path_is_not_found(folder):
    assert find_file(folder, str(folder.parent / "secret.txt")) is None


def test_pages_are_listed_newest_first_and_escaped(folder):
    os.utime(folder / "a&b<i>.html", (0, datetime(2013, 4, 1, 6, tzinfo=UTC).timestamp()))
    pages = find_pages(folder)
    assert {page.name for page in pages} == {"data_docs/a/raw.html", "a&b<i>.html", "inside.html"}
    assert pages[-1].name == "a&b<i>.html"
    html = render_list(pages[:2], n_pages=3)
    assert "The newest 2 of 3 pages." in html
    html = render_list(pages, n_pages=3)
    assert '<a href="a%26b%3Ci%3E.html">a&amp;b&lt;i&gt;</a>' in html


def test_the_pages_of_a_run_stand_in_one_line_in_the_order_of_the_run(tmp_path):
    names = ["data_docs/m/run-1/raw.html", "data_docs/m/run-2/raw.html", "data_docs/m/run-2/clean.html"]
    for day, name in enumerate(names, start=1):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, datetime(2013, 4, day, 6, tzinfo=UTC).timestamp()))
    _, newer, older = render_list(find_pages(tmp_path), n_pages=3).split("<tr><td>")
    links = '<a href="data_docs/m/run-2/raw.html">raw</a> · <a href="data_docs/m/run-2/clean.html">clean</a>'
    assert newer == f"m</td><td>run-2</td><td>{links}</td><td>2013-04-03 06:00 UTC</td></tr>"
    assert older.startswith("m</td><td>run-1</td>")


def test_without_reports_the_list_says_so(tmp_path):
    assert find_pages(tmp_path / "not there yet") == []
    assert "No report yet" in render_list([], n_pages=0)


def test_data_docs_get_our_style_once_and_a_way_back():
    page = dress("<html><head><title>x</title></head><body></head></body></html>", back="../../")
    assert page.startswith("<html><head><title>x</title><style>/* Great Expectations'")
    assert page.count("<style>") == 1
    assert '</style></head><body><p style="margin:0;padding:.5rem 1.25rem"><a href="../../">← All reports</a></p></head>' in page
    assert page.endswith("</p></head></body></html>")
