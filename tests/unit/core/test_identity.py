"""Whom a row is about and when."""

import datetime
import json
from decimal import Decimal
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.core.identity import IdentityColumns, entity_text, entity_texts, key_value, read_instant, take_identities
from perennial.core.rows import find_faults

FEATURES = {"miles": ("float", False)}
COLUMNS = IdentityColumns(key=("flight", "leg"), event_time="at")
AT = "2026-04-01T12:00:00Z"
OFFSETS = st.integers(-1439, 1439).map(lambda n: datetime.timezone(datetime.timedelta(minutes=n)))
KEY_VALUES = st.integers(-(2**53), 2**53) | st.text(max_size=5) | st.booleans()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([336776], "[336776]"),
        (["336776"], '["336776"]'),
        ([7, "UA"], '[7, "UA"]'),
        ([np.int64(7), np.str_("UA")], '[7, "UA"]'),
        ([7.0], "[7]"),
        ([np.float64(7)], "[7]"),
        ([Decimal("7.00")], "[7]"),
        ([0.5], "[0.5]"),
        ([True, np.bool_(False)], "[true, false]"),
        (['Zürich "ZRH"\\\n'], '["Zürich \\"ZRH\\"\\\\\\n"]'),
        (["a\0b"], '["a\ufffdb"]'),
        ([datetime.date(2026, 4, 1)], '["2026-04-01"]'),
        ([UUID(int=7)], '["00000000-0000-0000-0000-000000000007"]'),
        ([""], '[""]'),
        ([7, None], ""),
        ([float("nan")], ""),
        ([pd.NA], ""),
        ([pd.NaT], ""),
        ([], ""),
    ],
)
def test_an_entity_has_one_text(values, text):
    assert entity_text(values) == text
    if values and text:
        assert json.loads(text)


@given(st.lists(st.tuples(KEY_VALUES, KEY_VALUES), max_size=5))
def test_a_frames_texts_are_those_of_its_rows(rows):
    frame = pd.DataFrame(rows, columns=["a", "b"], index=range(10, 10 + len(rows)))
    texts = entity_texts(frame, ["b", "a"])
    assert texts.tolist() == [entity_text([b, a]) for a, b in frame.itertuples(index=False)]
    assert texts.index.equals(frame.index)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "Int64", "float64", object, "int64[pyarrow]"])
def test_whole_numbers_are_one_whatever_their_column(dtype):
    frame = pd.DataFrame({"flight": pd.Series([1, 2], dtype=dtype)})
    assert entity_texts(frame, ["flight"]).tolist() == ["[1]", "[2]"]


@pytest.mark.parametrize("dtype", ["str", object, "string[python]"])
def test_a_frames_texts_are_json_whatever_their_letters(dtype):
    values = ["UA", 'a "b"', "c\\d", "e\tf", "g\0h", "é", "", None]
    texts = entity_texts(pd.DataFrame({"carrier": pd.Series(values, dtype=dtype)}), ["carrier"])
    assert texts.tolist() == [r'["UA"]', r'["a \"b\""]', r'["c\\d"]', r'["e\tf"]', '["g\ufffdh"]', '["é"]', '[""]', ""]
    assert entity_texts(pd.DataFrame({"carrier": pd.Series([], dtype=dtype)}), ["carrier"]).tolist() == []


def test_a_row_that_lacks_a_value_of_its_key_has_no_text():
    frame = pd.DataFrame({"flight": [1.0, None], "carrier": ["UA", None]})
    assert entity_texts(frame, ["flight"]).tolist() == ["[1]", ""]
    assert entity_texts(frame, ["flight", "carrier"]).tolist() == ['[1, "UA"]', ""]
    assert entity_texts(frame[:0], ["flight"]).tolist() == []


@given(KEY_VALUES)
def test_what_a_caller_sends_for_a_warehouse_value_has_the_same_text(value):
    sent = json.loads(json.dumps(key_value(value)))
    assert entity_text([sent]) == entity_text([value])


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-04-01T12:00:00Z", "2026-04-01T12:00:00+00:00"),
        ("2026-04-01T14:00:00.123456789+02:00", "2026-04-01T12:00:00.123456+00:00"),
        ("2026-04-01 12:00:00-00:00", "2026-04-01T12:00:00+00:00"),
        ("20260401T12Z", "2026-04-01T12:00:00+00:00"),
        ("1900-01-01T00:00:00Z", "1900-01-01T00:00:00+00:00"),
        ("2199-12-31T23:59:59.999999Z", "2199-12-31T23:59:59.999999+00:00"),
    ],
)
def test_an_instant_is_read_in_utc(text, instant):
    found = read_instant(text)
    assert found is not None and found.isoformat() == instant


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2026-04-01", "2026-04-01T12:00:00", "2026-02-30T12:00:00Z", "2016-12-31T23:59:60Z", "1e5", "\0",
        "1900-01-01T00:00:00+01:00", "2199-12-31T23:59:59-01:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
        "12026-04-01T12:00:00Z", "x" * 100_000,
    ],
)  # fmt: skip
def test_what_names_no_instant_or_one_too_far_away_is_none(text):
    assert read_instant(text) is None


@given(st.datetimes(timezones=OFFSETS))
def test_an_instant_that_is_read_is_near_enough_for_everybody(instant):
    if found := read_instant(instant.isoformat()):
        assert found == instant
        assert pd.Timestamp(found).as_unit("ns") == found


@given(st.text(max_size=30))
def test_any_text_is_an_instant_or_none(text):
    read_instant(text)


@pytest.mark.parametrize("identity", [{}, {"flight": "UA", "leg": 1}, {"at": AT}, {"flight": 5.0, "leg": False, "at": AT}])
def test_a_row_may_say_whom_it_is_about_and_when(identity):
    assert find_faults([{"miles": 5.0, **identity}, {"miles": 5.0}], FEATURES, identity=COLUMNS) == []


@pytest.mark.parametrize(
    ("identity", "fields"),
    [
        ({"leg": 1}, ["flight"]),
        ({"flight": None, "leg": {}}, ["flight", "leg"]),
        ({"at": "yesterday", "more": 1}, ["at", "more"]),
        ({"flight": float("nan"), "leg": float("inf")}, ["flight", "leg"]),
    ],
)
def test_each_fault_of_an_identity_is_named(identity, fields):
    assert [fault.field for fault in find_faults([{"miles": 5.0, **identity}], FEATURES, identity=COLUMNS)] == fields


def test_a_model_that_knows_of_no_identity_refuses_it():
    faults = find_faults([{"miles": 5.0, "at": AT}], FEATURES)
    assert [(fault.field, fault.found) for fault in faults] == [("at", "an unknown field")]


def test_a_missing_feature_is_not_made_up_for_by_an_identity():
    faults = find_faults([{"flight": "UA", "leg": 1, "at": AT}], FEATURES, identity=COLUMNS)
    assert [(fault.field, fault.found) for fault in faults] == [("miles", "nothing: the field is missing")]


def test_what_is_left_of_rows_is_features():
    rows = [{"miles": 1.0, "flight": 7, "leg": "a", "at": AT}, {"miles": 2.0}]
    identities = take_identities(rows, COLUMNS)
    assert rows == [{"miles": 1.0}, {"miles": 2.0}]
    assert identities.entities == ['[7, "a"]', ""]
    assert [at and at.isoformat() for at in identities.event_at] == ["2026-04-01T12:00:00+00:00", None]
