"""Great Expectations on small frames: what is found, how it is said, what is written."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from perennial.adapters.expectations import SuiteResult, check_suite, validate_frame
from perennial.config.settings import Settings
from perennial.config.suite_file import Expectation, Suite, read_suite
from perennial.errors import ConfigurationError

FRAME = pd.DataFrame(
    {
        "id": ["a", "b", "c", "d"],
        "at": [datetime(2013, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4)],
        "miles": [100, 200, 3000, 400],
        "carrier": ["AA", None, "UA", "zz"],
    }
)
PARAMETERS = {"as_of": datetime(2013, 1, 4, tzinfo=UTC)}


def validate(page: Path, *expectations: dict[str, object], frame: pd.DataFrame = FRAME) -> SuiteResult:
    suite = Suite(name="small", expectations=tuple(Expectation.model_validate(each) for each in expectations))
    return validate_frame(suite, frame, parameters=PARAMETERS, key=["id"], page=page)


@pytest.mark.parametrize(
    ("expectation", "expected", "observed", "keys"),
    [
        (
            {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "carrier"}},
            "carrier values must never be null",
            "1 of 4 values (25.00 %)",
            ("b",),
        ),
        (
            {"type": "expect_column_values_to_be_between", "kwargs": {"column": "miles", "max_value": 1000}},
            "miles values must be less than or equal to 1,000",
            "1 of 4 values (25.00 %): 3,000",
            ("c",),
        ),
        (
            {
                "type": "expect_column_values_to_be_between",
                "kwargs": {"column": "at", "max_value": {"$PARAMETER": "as_of"}, "strict_max": True},
            },
            "at values must be less than 2013-01-04 00:00 UTC",
            "1 of 4 values (25.00 %): 2013-01-04 00:00 UTC",
            ("d",),
        ),
        (
            {
                "type": "expect_column_values_to_be_in_set",
                "kwargs": {"column": "carrier", "value_set": ["AA", "UA"], "mostly": 0.9},
            },
            "carrier values must belong to this set: AA UA, at least 90 % of the time",
            "1 of 3 values (33.33 %): zz",
            ("d",),
        ),
        (
            {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "miles", "max_value": 500}},
            "miles mean must be less than or equal to 500",
            "925",
            (),
        ),
    ],
)
def test_a_failed_expectation_is_told_in_words(tmp_path, expectation, expected, observed, keys):
    result = validate(tmp_path / "page.html", {"type": "expect_column_to_exist", "kwargs": {"column": "id"}}, expectation)
    assert (result.n_rows, result.n_expectations, result.warnings) == (4, 2, ())
    (failed,) = result.failed
    assert (failed.expectation, failed.column) == (expectation["type"], expectation["kwargs"]["column"])
    assert (failed.expected, failed.observed, failed.sample_keys) == (expected, observed, keys)


def test_what_cannot_be_asked_is_no_fault_of_the_data(tmp_path):
    said = r"'small': expect_column_values_to_be_unique\(nope\) cannot be asked: The column \"nope\" in BatchData does not exist"
    with pytest.raises(ConfigurationError, match=said):
        validate(tmp_path / "page.html", {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "nope"}})


def test_columns_that_do_not_match_are_named(tmp_path):
    result = validate(
        tmp_path / "page.html",
        {"type": "expect_table_columns_to_match_set", "kwargs": {"column_set": ["id", "at", "miles", "airline"]}},
    )
    assert "missing airline" in result.failed[0].observed
    assert "unexpected carrier" in result.failed[0].observed


def test_columns_in_another_order_are_named_by_their_places(tmp_path):
    columns = ["id", "miles", "at", "carrier"]
    expectation = {"type": "expect_table_columns_to_match_ordered_list", "kwargs": {"column_list": columns}}
    (failed,) = validate(tmp_path / "page.html", expectation).failed
    assert failed.observed == "at in place of miles; miles in place of at"


def test_a_warning_does_not_count_as_failed(tmp_path):
    expectation = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "carrier"}, "severity": "warning"}
    result = validate(tmp_path / "page.html", expectation)
    assert result.failed == ()
    assert [each.column for each in result.warnings] == ["carrier"]


def test_no_more_samples_are_taken_than_fit_a_mail(tmp_path):
    frame = pd.DataFrame({"id": [str(number) for number in range(1000)], "miles": -1})
    expectation = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "miles", "min_value": 0}}
    (failed,) = validate(tmp_path / "page.html", expectation, frame=frame).failed
    assert failed.sample_keys == ("0", "1", "2", "3", "4")
    assert failed.observed == "1,000 of 1,000 values (100.00 %): -1"


def test_an_empty_frame_is_seen_as_such(tmp_path):
    result = validate(
        tmp_path / "page.html",
        {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}},
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}},
        frame=FRAME.head(0),
    )
    assert result.n_rows == 0
    assert [each.expectation for each in result.failed] == ["expect_table_row_count_to_be_between"]


def test_only_the_page_of_this_validation_is_written(tmp_path, capsys):
    page = tmp_path / "docs" / "run" / "clean.html"
    validate(page, {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "carrier"}})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [page]
    assert "values must never be null" in page.read_text()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("expectation", "message"),
    [
        ({"type": "expect_nothing"}, r"expectation 2 \(expect_nothing\): expect_nothing not found"),
        ({"type": "expect_column_values_to_be_unique", "kwargs": {"colum": "a"}}, "colum\n  extra fields not permitted"),
    ],
)
def test_an_expectation_that_there_is_not_is_refused(expectation, message):
    suite = Suite(name="s", expectations=(Expectation(type="expect_table_row_count_to_equal", kwargs={"value": 1}), expectation))
    with pytest.raises(ConfigurationError, match=message):
        check_suite(suite)


@pytest.mark.parametrize("point", ["raw", "clean", "features"])
def test_the_suites_of_the_example_are_taken(point):
    suite = read_suite(Settings.load({}).project, f"flight_delay/{point}.yaml")
    check_suite(suite)
    assert all(each.meta["why"] for each in suite.expectations)
