from pathlib import Path

import pytest

from perennial_airflow.web.report_files import find_file
from perennial_airflow.web.reports import dress, list_reports, read_report


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


def test_data_docs_get_our_style_once_and_a_way_back():
    page = dress("<html><head><title>x</title></head><body></head></body></html>", back="../../")
    assert page.startswith("<html><head><title>x</title><style>/* Great Expectations'")
    assert page.count("<style>") == 1
    assert '</style></head><body><p style="margin:0;padding:.5rem 1.25rem"><a href="../../">← All reports</a></p></head>' in page
    assert page.endswith("</p></head></body></html>")


@pytest.fixture
def written(folder) -> Path:
    for name in ("monitoring/m/w/report.html", "monitoring/m/w/numbers.json", "backfills/m/0003.html"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}" if name.endswith("json") else "<html><head></head><body></body></html>")
    (folder / "monitoring" / "m" / "w" / "raw.html").symlink_to(folder / "data_docs/a/raw.html")
    return folder


def test_a_page_of_monitoring_may_run_its_script_and_nothing_else(written):
    policy = read_report("monitoring/m/w/report.html", written).headers["Content-Security-Policy"]
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules["script-src"] == "'unsafe-inline'"
    assert rules["sandbox"] == "allow-scripts"
    assert {rules[name] for name in ("default-src", "connect-src", "form-action", "base-uri")} == {"'none'"}
    assert "http" not in policy
    assert "'self'" not in policy.replace("frame-ancestors 'self'", "")


@pytest.mark.parametrize(
    "path",
    [
        "data_docs/a/raw.html", "backfills/m/0003.html", "monitoring/m/w/numbers.json", "monitoring/m/w/raw.html",
        "monitoring/../data_docs/a/raw.html", "inside.html",
    ],
)  # fmt: skip
def test_every_other_page_runs_no_script(written, path):
    assert "script" not in read_report(path, written).headers["Content-Security-Policy"]


def test_the_list_can_be_of_one_kind(written):
    answer = list_reports(written, kind="monitoring")
    page = bytes(answer.body).decode()
    assert 'href="monitoring/m/w/report.html"' in page
    assert 'href="backfills/m/0003.html"' not in page
    assert "script" not in answer.headers["Content-Security-Policy"]
