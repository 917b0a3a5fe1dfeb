import doctest
from datetime import UTC, datetime

import pytest
from jinja2 import UndefinedError

from perennial.adapters import templates


def test_examples():
    result = doctest.testmod(templates)
    assert (result.failed, result.attempted > 0) == (0, True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.70249, "0.702"),
        (-0.0042, "−0.004"),
        (7.44, "7.4"),
        (1234567.8, "1,234,568"),
        (50.0, "50"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_numbers(value, text):
    assert templates.format_number(value) == text


def test_an_undefined_difference_is_a_dash():
    assert (templates.format_signed(float("nan")), templates.format_ratio(None), templates.format_count(None)) == ("–", "–", "–")


def test_seconds_do_not_make_a_midnight():
    assert templates.format_instant(datetime(2013, 4, 1, 0, 0, 7, tzinfo=UTC)) == "2013-04-01 00:00 UTC"


def test_a_cell_stays_one_cell():
    assert templates.escape_cell("a|b\n| c <script>") == "a\\|b \\| c &lt;script>"


def test_a_missing_value_is_an_error():
    with pytest.raises(UndefinedError):
        templates.render("failure.txt", {})
