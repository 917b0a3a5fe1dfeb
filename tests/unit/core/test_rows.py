"""Faults in the rows of a request."""

import difflib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.core.frames import features_frame
from perennial.core.rows import count_unseen, find_faults

FEATURES = {
    "carrier": ("category", False),
    "engine": ("category", True),
    "miles": ("integer", False),
    "seats": ("integer", True),
    "wind": ("float", False),
    "gust": ("float", True),
    "is_holiday": ("boolean", False),
}
ROW = {"carrier": "UA", "engine": None, "miles": 5, "seats": None, "wind": 1.5, "gust": None, "is_holiday": True}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
ALMOST_ROWS = st.fixed_dictionaries({name: JSON | st.just(ROW[name]) for name in ROW})


@pytest.mark.parametrize("row", [ROW, ROW | {"wind": 3}, ROW | {"miles": 5.0}, ROW | {"seats": 2**53 - 1}, ROW | {"carrier": ""}])
def test_a_sound_row_has_no_faults(row):
    assert find_faults([row, ROW], FEATURES) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400])
def test_a_number_must_be_one_that_json_and_floats_can_hold(value):
    (fault,) = find_faults([{**ROW, "wind": value}], FEATURES)
    assert fault.field == "wind"
    assert fault.expected.startswith("a number")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("wind", 1e300, "a number from -3.4e38 to 3.4e38"),
        ("gust", -1e39, "a number from -3.4e38 to 3.4e38 or null"),
        ("miles", 10**400, "a whole number from -9007199254740991 to 9007199254740991"),
        ("seats", 1e20, "a whole number from -9007199254740991 to 9007199254740991 or null"),
    ],
)
def test_a_number_that_no_model_can_take_is_refused_with_the_range(field, value, expected):
    (fault,) = find_faults([{**ROW, field: value}], FEATURES)
    assert (fault.field, fault.expected) == (field, expected)


def test_the_order_of_fields_does_not_matter():
    assert find_faults([dict(reversed(ROW.items()))], FEATURES) == []


def test_faults_are_bounded_however_long_names_and_values_are():
    rows = [{**ROW, "x" * 10_000: 1, "carrier": ["y" * 10_000]}, *[{str(n): 1 for n in range(1000)}] * 20]
    faults = find_faults(rows, FEATURES, max_bad_rows=3, max_faults=50)
    assert len(faults) == 50
    assert max(len(fault.found) + len(fault.field) + len(fault.expected) for fault in faults) < 300


class Watched(dict):
    """A row that counts how many of its fields were looked at."""

    n_seen = 0

    def __iter__(self):
        for name in super().__iter__():
            self.n_seen += 1
            yield name


def test_no_more_is_looked_at_than_is_named(monkeypatch):
    asked = []
    monkeypatch.setattr(difflib, "get_close_matches", lambda name, *_, **__: asked.append(name) or [])
    row = Watched(ROW | {f"field {number}": 1 for number in range(5000)})
    faults = find_faults([row] * 20, FEATURES)
    assert len(faults) == 100
    assert row.n_seen <= 100 + len(ROW) + 1
    assert len(asked) == 10


def test_names_are_suggested_for_the_first_unknown_fields_only():
    faults = find_faults([{**ROW, **{f"milles{number}": 1 for number in range(8)}}] * 2, FEATURES)
    assert [fault.expected.endswith("near: miles") for fault in faults] == [True] * 10 + [False] * 6
    assert {fault.expected for fault in faults[10:]} == {"one of carrier, engine, miles, seats, wind, gust, is_holiday"}


def test_a_row_that_is_no_object_is_named():
    (fault,) = find_faults([ROW, [1, 2]], FEATURES)
    assert (fault.row, fault.field, fault.found) == (1, "", "a list")


@given(st.lists(ALMOST_ROWS, min_size=1, max_size=4))
def test_rows_without_a_fault_always_become_a_frame(rows):
    if not find_faults(rows, FEATURES):
        assert len(features_frame(rows, FEATURES)) == len(rows)


@given(st.lists(ALMOST_ROWS, min_size=1, max_size=4))
def test_looking_at_rows_together_or_alone_finds_the_same(rows):
    together = {fault.row for fault in find_faults(rows, FEATURES)}
    assert together == {number for number, row in enumerate(rows) if find_faults([row], FEATURES)}


@given(st.lists(JSON, max_size=4))
def test_anything_that_json_can_say_is_judged_without_an_error(rows):
    for fault in find_faults(rows, FEATURES):
        assert json.dumps([fault.field, fault.expected, fault.found])


def test_unseen_values_are_counted_and_missing_ones_are_not():
    rows = [{"carrier": "UA"}, {"carrier": "XX"}, {"carrier": "YY"}, {"carrier": None}]
    assert count_unseen(rows, {"carrier": frozenset({"UA"})}) == {"carrier": 2}
    assert count_unseen(rows[:1], {"carrier": frozenset({"UA"})}) == {}
