"""Suites as files: what is read, and what is refused with what words."""

from pathlib import Path

import pytest

from perennial.config.suite_file import Expectation, read_suite
from perennial.errors import ConfigurationError


def write(project: Path, text: str) -> Path:
    folder = project / "include" / "expectations" / "m"
    folder.mkdir(parents=True)
    (folder / "raw.yaml").write_text(text)
    return project


def test_a_suite_is_read(tmp_path):
    text = "name: s\nexpectations:\n  - {type: expect_x, kwargs: {column: a}, severity: warning, meta: {why: because}}\n"
    suite = read_suite(write(tmp_path, text), "m/raw.yaml")
    assert suite.name == "s"
    assert suite.expectations == (
        Expectation(type="expect_x", kwargs={"column": "a"}, severity="warning", meta={"why": "because"}),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: s\nexpectations:\n  - {typ: expect_x}\n", r"expectations.expectation 1.type: Field required"),
        ("name: s\nexpectations:\n  - {type: a}\n  - {type: b, severity: bad}\n", r"expectation 2.severity: Input should be"),
        ("name: s\nexpectations: []\n", "expectations: Tuple should have at least 1 item"),
        ("name: s\nexpectations: [\n", "is not YAML"),
        ("- a\n", "file: Input should be"),
    ],
)
def test_what_is_no_suite_is_refused_by_place(tmp_path, text, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_suite(write(tmp_path, text), "m/raw.yaml")
    assert "m/raw.yaml" in caught.value.what


def test_a_missing_suite_names_those_there_are(tmp_path):
    with pytest.raises(ConfigurationError, match=r"files there: m/raw\.yaml"):
        read_suite(write(tmp_path, "name: s\n"), "m/row.yaml")


@pytest.mark.parametrize(
    ("kwargs", "columns"),
    [
        ({"column": "a"}, ("a",)),
        ({"column_A": "a", "column_B": "b"}, ("a", "b")),
        ({"column_list": ["a", "b"]}, ("a", "b")),
        ({}, ()),
    ],
)
def test_an_expectation_knows_its_columns(kwargs, columns):
    assert Expectation(type="x", kwargs=kwargs).columns == columns
